"""HTTP in front of a model's Python code: a ping is answered whatever the code does, and a worker takes one request at a time.

The code runs in worker processes (``script_worker.py``), each with a model of its own, as many as SAGEMAKER_MODEL_SERVER_WORKERS
says. This process only carries bytes: it has no package but the standard library, answers /ping on threads of its own, waits for
a free worker, ends one that takes longer than SAGEMAKER_MODEL_SERVER_TIMEOUT, and replaces what has ended.
"""

import json
import multiprocessing
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import overlay
import user_code

STARTED, FAILED = b"started", b"failed"


class Ended(Exception):
    """A worker has ended, or was ended, while it had a request."""


class Worker:
    """One process with the model loaded. Errors of the constructor: user_code.Unusable."""

    def __init__(self, command):
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
            )
        self.connection = Connection(ours.detach())
        try:
            started = self.connection.recv_bytes() == STARTED
        except (EOFError, OSError):
            started = False
        if not started:
            code = self.end()
            raise user_code.Unusable(f"The model could not be loaded (exit code {code}): what the code said stands above.")

    def ask(self, headers, body, timeout_s):
        """(status, content type, body). Errors: Ended, TimeoutError; the worker is of no use then."""
        try:
            self.connection.send_bytes(json.dumps(headers).encode())
            self.connection.send_bytes(body)
            if not self.connection.poll(timeout_s):
                raise TimeoutError
            head = json.loads(self.connection.recv_bytes())
            return head["status"], head["content_type"], self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Ended from error

    def end(self):
        """Kill it if it runs; its exit code."""
        self.connection.close()
        try:
            return self.process.wait(1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Workers:
    """All workers of an instance, and who of them is free."""

    def __init__(self, command, count, timeout_s):
        self._command = command
        self._timeout_s = timeout_s
        self._free = queue.SimpleQueue()
        self.ready = False
        for _ in range(count):
            threading.Thread(target=self._start, daemon=True).start()

    def ask(self, headers, body):
        """The answer of the next free worker."""
        worker = self._free.get()
        try:
            answer = worker.ask(headers, body, self._timeout_s)
        except Ended:
            return problem(500, f"the process that worked on the request ended (exit code {self._replace(worker)})")
        except TimeoutError:
            worker.process.kill()
            self._replace(worker)
            return problem(504, f"no answer within {self._timeout_s:g} seconds (SAGEMAKER_MODEL_SERVER_TIMEOUT)")
        self._free.put(worker)
        return answer

    def _replace(self, worker):
        code = worker.end()
        threading.Thread(target=self._start, daemon=True).start()
        return code

    def _start(self):
        try:
            worker = Worker(self._command)
        except user_code.Unusable as error:
            give_up(error)
        self._free.put(worker)
        self.ready = True


class Handler(BaseHTTPRequestHandler):
    """The two routes of the container contract."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    workers = None

    def do_GET(self):
        if self.path != "/ping":
            return self.answer(*problem(404, "there is only GET /ping and POST /invocations"))
        return self.answer(200 if self.workers.ready else 503, "text/plain", b"")

    def do_POST(self):
        body = self.body()
        if self.path != "/invocations":
            return self.answer(*problem(404, "there is only GET /ping and POST /invocations"))
        return self.answer(*self.workers.ask(dict(self.headers.items()), body))

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while True:
            size = int(self.rfile.readline(128).split(b";")[0], 16)
            pieces.append(self.rfile.read(size))
            self.rfile.readline(128)
            if size == 0:
                return b"".join(pieces)

    def answer(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        if self.path != "/ping":
            print(format % args, flush=True)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024


def problem(status, text):
    print(f"/invocations: {status} {text}", flush=True)
    return status, "text/plain", text.encode()


def give_up(error):
    """From any thread: an instance that cannot serve ends, so that the platform sees it and tells."""
    print(error, file=sys.stderr, flush=True)
    os._exit(1)


def main(worker_file, timeout_s=None, workers=None):
    """Serve until SIGTERM. ``worker_file`` is the image's own program; ``timeout_s`` its default, None: no limit."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the platform has let running requests end before
    timeout_s = float(os.environ.get("SAGEMAKER_MODEL_SERVER_TIMEOUT") or timeout_s or 0) or None
    count = int(os.environ.get("SAGEMAKER_MODEL_SERVER_WORKERS") or workers or multiprocessing.cpu_count())
    try:
        code = user_code.code_directory()
        user_code.check(code)
        python = overlay.make()
        overlay.enter(python)
        user_code.install_requirements(code, python)
    except user_code.Unusable as error:
        give_up(error)
    Handler.workers = Workers([python, "-u", worker_file, code], count, timeout_s)
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    print(f"Serving {user_code.program()} from {code} with {count} workers.", flush=True)
    Server(("127.0.0.1", port), Handler).serve_forever()
