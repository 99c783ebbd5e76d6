"""HTTP in front of a model's Python code: a ping is answered whatever the code does, and a worker takes one request at a time.

The code runs in worker processes (``script_worker.py``), each with a model of its own, as many as SAGEMAKER_MODEL_SERVER_WORKERS
says. This process only carries bytes: it has no package but the standard library, answers /ping on threads of its own, waits for
a free worker, ends one that takes longer than SAGEMAKER_MODEL_SERVER_TIMEOUT, and replaces what has ended.
"""

import json
import math
import multiprocessing
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection

import overlay
import user_code

STARTED = b"started"
WORKERS_MAX, TIMEOUT_S_MAX = 1000, 1_000_000


class Ended(Exception):
    """A worker has ended, or was ended, while it had a request."""


class NotTaken(Exception):
    """A worker has ended before it took a request."""


class Worker:
    """One process with the model loaded. Errors of the constructor: user_code.Unusable.

    That it has ended is told by the process, not by the socket: a child that it has forked may hold the other end open.
    """

    def __init__(self, command):
        self._ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
            )
        self.connection = Connection(os.dup(self._ours.fileno()))
        self.watch = threading.Thread(target=self._hang_up_at_end, daemon=True)
        self.watch.start()
        try:
            started = self.connection.recv_bytes() == STARTED
        except (EOFError, OSError):
            started = False
        if not started:
            code = self.end()
            raise user_code.Unusable(f"The model could not be loaded (exit code {code}): what the code said stands above.")

    def _hang_up_at_end(self):
        """Whoever waits for the process reads what it has sent, and then its end."""
        self.process.wait()
        self._ours.shutdown(socket.SHUT_RDWR)
        self._ours.close()

    def ask(self, headers, body, timeout_s):
        """(status, content type, body). Errors: NotTaken, Ended, TimeoutError; the worker is of no use then."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self.connection.send_bytes(json.dumps(headers).encode())
            self._receive(deadline)
        except (EOFError, OSError) as error:
            raise (error if isinstance(error, TimeoutError) else NotTaken) from error
        try:
            self.connection.send_bytes(body)
            head = json.loads(self._receive(deadline))
            return head["status"], head["content_type"], self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise (error if isinstance(error, TimeoutError) else Ended) from error

    def _receive(self, deadline):
        if not self.connection.poll(None if deadline is None else max(0, deadline - time.monotonic())):
            raise TimeoutError
        return self.connection.recv_bytes()

    def end(self):
        """Kill it if it runs on; its exit code."""
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
            threading.Thread(target=self._keep_one, daemon=True).start()

    def ask(self, headers, body):
        """The answer of the next free worker. One that has ended before it took the request has no part in it."""
        while True:
            worker = self._free.get()
            try:
                answer = worker.ask(headers, body, self._timeout_s)
            except NotTaken:
                worker.end()
                continue
            except Ended:
                return problem(500, f"the process that worked on the request ended (exit code {worker.end()})")
            except TimeoutError:
                worker.process.kill()
                return problem(504, f"no answer within {self._timeout_s:g} seconds (SAGEMAKER_MODEL_SERVER_TIMEOUT)")
            self._free.put(worker)
            return answer

    def _keep_one(self):
        """A worker, and another one as soon as it has ended, whether it had a request or not."""
        while True:
            try:
                worker = Worker(self._command)
            except user_code.Unusable as error:
                give_up(error)
            self._free.put(worker)
            self.ready = True
            worker.watch.join()


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


def number(name, default, kind, low, high):
    """A variable of the instance. Errors: user_code.Unusable."""
    text = os.environ.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise user_code.Unusable(f"{name} must be a {'whole ' if kind is int else ''}number from {low} to {high}, got {text!r}.")
    return value


def main(worker_file, timeout_s=None, workers=None):
    """Serve until SIGTERM. ``worker_file`` is the image's own program; ``timeout_s`` its default, None: no limit."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the platform has let running requests end before
    try:
        timeout_s = number("SAGEMAKER_MODEL_SERVER_TIMEOUT", timeout_s or 0, float, 0, TIMEOUT_S_MAX) or None
        count = number("SAGEMAKER_MODEL_SERVER_WORKERS", workers or multiprocessing.cpu_count(), int, 1, WORKERS_MAX)
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
    Server((os.environ.get("SERVING_ADDRESS", "127.0.0.1"), port), Handler).serve_forever()
