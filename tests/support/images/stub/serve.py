# mypy: ignore-errors
"""A model server for tests: it answers at once with what it was sent, unless told otherwise.

Wishes are a JSON object, merged from three places (later wins): the variable ``STUB_DEFAULT``, a JSON request body with the key
``"stub"`` (``{"stub": {"sleep": 1}}``), and the header ``X-Amzn-SageMaker-Custom-Attributes`` if it is a JSON object.

    sleep: seconds before the answer       status: HTTP status                 content_type: of the answer
    answer: text of the answer             upper: true: upper case             big: answer of so many bytes
    append: text after the answer          files: true: answer with {path: text} of all model data
    die: exit code, before the answer      half: true: headers, half a body, connection closed
    stall: true: headers, half a body, then nothing                            drip: seconds between single bytes
    lie: bytes added to Content-Length     chunked: true                       no_length: true: neither length nor chunks
    header_bytes: size of an extra header  close: true: ends the connection afterwards
    meet: port of 127.0.0.1: connects to it and goes on when that connection ends
    hang: true: from now on nothing is answered any more, GET /ping neither
    early: true (in the header): answers before it has read the body, and closes
    stamp: true: the answer stands between two copies of a token that no other answer has
    run: Python code: it is run, and the answer is its variable ``seen`` as JSON
    hog: takes so many MiB of memory before the answer

Variables: ``STUB_CRASH`` message: print it and exit 3 at start. ``STUB_PING`` ``never`` (no answer) or a status.
``STUB_LISTEN_AFTER_S`` seconds. ``STUB_IGNORE_TERM=1``. ``STUB_CHILD=1``: a child in a session of its own; its id is in the log.
``STUB_WORKERS_DIE`` message: /ping answers, but workers die with it as soon as they are started, so no request is answered.
``STUB_ON_TERM`` port: at SIGTERM it ``meet``s there, says "ended politely" and exits 0.
``STUB_HOST`` to listen on (127.0.0.1). ``STUB_HOG`` MiB of memory at start.
Other paths: GET /environment: the process environment as JSON. GET /files: {path: text} below the model directory.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FOREVER_S = 3600
hangs = threading.Event()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        if hangs.is_set():
            time.sleep(FOREVER_S)
        if self.path == "/ping":
            wish = os.environ.get("STUB_PING", "200")
            if wish == "never":
                time.sleep(FOREVER_S)
            return self.answer(b"", {"status": int(wish)})
        if self.path == "/environment":
            return self.answer(json.dumps(dict(os.environ)).encode(), {"content_type": "application/json"})
        if self.path == "/files":
            files = files_below(pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "model"))
            return self.answer(files, {"content_type": "application/json"})
        return self.answer(b"no such path\n", {"status": 404})

    def do_POST(self):
        from_header = wishes_of(self.headers.get("X-Amzn-SageMaker-Custom-Attributes"))
        if from_header.get("early"):
            self.close_connection = True
            return self.answer(from_header.get("answer", "").encode(), {**from_header, "content_type": "text/plain"})
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wishes = {**wishes_of(os.environ.get("STUB_DEFAULT")), **from_body(body), **from_header}
        if self.path != "/invocations":
            return self.answer(b"no such path\n", {"status": 404})
        if "meet" in wishes:
            meet(wishes["meet"])
        if wishes.get("hang"):
            hangs.set()
        if hangs.is_set() or "STUB_WORKERS_DIE" in os.environ:
            time.sleep(FOREVER_S)
        time.sleep(wishes.get("sleep", 0))
        if "hog" in wishes:
            take(wishes["hog"])
        if "die" in wishes:
            print("dying as asked", flush=True)
            os._exit(wishes["die"])
        wishes.setdefault("content_type", self.headers.get("Content-Type", "application/octet-stream"))
        if "big" in wishes:
            return self.big(wishes)
        return self.answer(answer_of(body, wishes), wishes)

    def head(self, wishes, size):
        head = f"HTTP/1.1 {wishes.get('status', 200)} Stub\r\nContent-Type: {wishes.get('content_type', 'text/plain')}\r\n"
        if wishes.get("chunked"):
            head += "Transfer-Encoding: chunked\r\n"
        elif not wishes.get("no_length"):
            head += f"Content-Length: {size + wishes.get('lie', 0)}\r\n"
        if "header_bytes" in wishes:
            head += f"X-Filler: {'x' * wishes['header_bytes']}\r\n"
        if wishes.get("close") or wishes.get("no_length"):
            head += "Connection: close\r\n"
            self.close_connection = True
        return head.encode() + b"\r\n"

    def answer(self, body, wishes):
        head = self.head(wishes, len(body))
        if wishes.get("half") or wishes.get("stall"):
            self.wfile.write(head + body[: len(body) // 2])
            self.close_connection = True
            if wishes.get("stall"):
                time.sleep(FOREVER_S)
        elif "drip" in wishes:
            self.wfile.write(head)
            for index in range(len(body)):
                self.wfile.write(body[index : index + 1])
                time.sleep(wishes["drip"])
        elif wishes.get("chunked"):
            middle = len(body) // 2
            pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
            self.wfile.write(head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")
        else:
            self.wfile.write(head + body)

    def big(self, wishes):
        left, block = wishes["big"], b"x" * 65536
        self.wfile.write(self.head(wishes, left))
        while left:
            self.wfile.write(block[: min(left, len(block))])
            left -= min(left, len(block))

    def log_message(self, format, *args):
        pass


def answer_of(body, wishes):
    if "answer" in wishes:
        body = wishes["answer"].encode()
    if "run" in wishes:
        variables = {}
        exec(wishes["run"], variables)
        body = json.dumps(variables["seen"]).encode()
    if wishes.get("files"):
        body = files_below(os.environ["SAGEMAKER_BASE_DIR"])
    body += wishes.get("append", "").encode()
    if wishes.get("upper"):
        body = body.upper()
    if wishes.get("stamp"):
        token = uuid.uuid4().hex.encode()
        body = token + body + token
    return body


def take(mebibytes):
    print(f"taking {mebibytes} MiB", flush=True)
    return b"x" * (mebibytes * 1024 * 1024)


def meet(port):
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.recv(1)
    except OSError:
        pass  # nobody waits there, or the one who waited has gone


def start_workers():
    while True:
        subprocess.run([sys.executable, "-c", "import os, sys; sys.exit(os.environ['STUB_WORKERS_DIE'])"], check=False)
        time.sleep(0.5)


def end_politely(number, frame):
    meet(int(os.environ["STUB_ON_TERM"]))
    print("ended politely", flush=True)
    os._exit(0)


def files_below(directory):
    root = pathlib.Path(directory)
    files = {str(file.relative_to(root)): file.read_text() for file in sorted(root.rglob("*")) if file.is_file()}
    return json.dumps(files).encode()


def wishes_of(text):
    try:
        wishes = json.loads(text or "{}")
    except ValueError:
        return {}
    return wishes if isinstance(wishes, dict) else {}


def from_body(body):
    if not body.startswith(b"{"):
        return {}
    try:
        return wishes_of(json.dumps(json.loads(body).get("stub", {})))
    except ValueError:
        return {}


def main():
    if "STUB_CRASH" in os.environ:
        print(os.environ["STUB_CRASH"], flush=True)
        sys.exit(3)
    if os.getpid() == 1:  # in a container: the kernel spares the first process what it has no handler for
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if os.environ.get("STUB_IGNORE_TERM"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "STUB_ON_TERM" in os.environ:
        signal.signal(signal.SIGTERM, end_politely)
    if os.environ.get("STUB_CHILD"):
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER_S})"], start_new_session=True)
        print(f"child {child.pid}", flush=True)
        threading.Thread(target=child.wait, daemon=True).start()
    if "STUB_WORKERS_DIE" in os.environ:
        threading.Thread(target=start_workers, daemon=True).start()
    if "STUB_HOG" in os.environ:
        take(int(os.environ["STUB_HOG"]))
    time.sleep(float(os.environ.get("STUB_LISTEN_AFTER_S", "0")))
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    print(f"stub model server on port {port}", flush=True)
    Server((os.environ.get("STUB_HOST", "127.0.0.1"), port), Handler).serve_forever()


if __name__ == "__main__":
    main()
