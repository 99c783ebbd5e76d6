# mypy: ignore-errors
"""A model server for large payloads: it hashes what comes in and makes what goes out, and holds neither.

What to do comes as a JSON object in the header ``X-Amzn-SageMaker-Custom-Attributes``:

    sha256: of the request, in hex; another one is answered with status 422
    seed, size: the answer is ``Pattern(seed, size)``, see pattern.py
    status: of the answer, 200 if left out
    chunked: true: in chunks, without a Content-Length
"""

import hashlib
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pattern import BLOCK_BYTES, Pattern


class Server(ThreadingHTTPServer):
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        wishes = json.loads(self.headers["X-Amzn-SageMaker-Custom-Attributes"])
        found = self.digest(int(self.headers["Content-Length"]))
        if found != wishes["sha256"]:
            return self.answer(422, iter([f"expected {wishes['sha256']}, got {found}".encode()]), 2 * 64 + 15)
        answer = Pattern(wishes["seed"], wishes["size"])
        return self.answer(wishes.get("status", 200), answer.blocks(), None if wishes.get("chunked") else wishes["size"])

    def digest(self, left):
        digest = hashlib.sha256()
        while left:
            piece = self.rfile.read(min(left, BLOCK_BYTES))
            if not piece:
                raise ConnectionError("the request ended early")
            digest.update(piece)
            left -= len(piece)
        return digest.hexdigest()

    def answer(self, status, blocks, size):
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        if size is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size))
        self.end_headers()
        for block in blocks:
            self.wfile.write(block if size is not None else b"%x\r\n%s\r\n" % (len(block), block))
        if size is None:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format, *args):
        pass


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
