"""A server that can be held at the named points of an invocation's life, then killed or paused by real signals."""

import contextlib
import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from tests.support.crash.points import Point
from tests.support.server_process import Process, ServerProcess

from tarry.backends.engines.processes import TOKEN_VARIABLE

ROOT = Path(__file__).parents[3]
WAIT_S_MAX = 60.0
POLL_S = 0.02
_MESSAGE_BYTES_MAX = 256


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that nothing announces (a row of another process, a process's state) by looking again and again."""
    deadline = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        select.select([], [], [], POLL_S)


class ForkServer:
    """The process that forks servers; see `fork_server`. A context: what still runs at its end is killed."""

    def __init__(self) -> None:
        self._ended: dict[int, int] = {}
        self._controls: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = (sys.executable, "-m", "tests.support.crash.fork_server", str(theirs.fileno()))
            self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._requests.settimeout(WAIT_S_MAX)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._requests, *self._controls):
            each.close()
        self._process.wait(WAIT_S_MAX)

    def fork(self, request: Mapping[str, Any], log: int) -> "Forked":
        """A new server process; its standard output and error go to ``log``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [log, theirs.fileno()])
            while (pid := self._receive()) is None:
                pass
        ours.settimeout(WAIT_S_MAX)
        self._controls.append(ours)
        return Forked(pid, self, ours)

    def status(self, pid: int, timeout_s: float | None) -> int | None:
        """The exit code of a process that was forked here, None if it still runs after this time."""
        self._requests.settimeout(timeout_s)
        try:
            while pid not in self._ended:
                self._receive()
        except (TimeoutError, BlockingIOError):
            return None
        finally:
            self._requests.settimeout(WAIT_S_MAX)
        return self._ended[pid]

    def _receive(self) -> int | None:
        """Take one message; the process id if one was started."""
        word, *numbers = self._requests.recv(_MESSAGE_BYTES_MAX).decode().split()
        if word == "started":
            return int(numbers[0])
        self._ended[int(numbers[0])] = int(numbers[1])
        return None


@dataclass(slots=True)
class Forked:
    """One forked server process, with its control socket."""

    pid: int
    parent: ForkServer
    control: socket.socket

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int, /) -> None:
        """Any signal; a process that has ended gets none."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self.parent.status(self.pid, 0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code."""
        code = self.parent.status(self.pid, timeout)
        if code is None:
            raise subprocess.TimeoutExpired("tarry serve", timeout or 0.0)
        self.control.close()
        return code


class HeldServer(ServerProcess):
    """`ServerProcess` with holds.

    ``separate_commits``, and what is held from the start on, may be changed between a kill and the next start.
    """

    def __init__(self, data_dir: Path, parent: ForkServer, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, settings=settings)
        self.separate_commits = False
        self.held_from_the_start: tuple[Point, ...] = ()
        self._parent = parent
        self._reached: Counter[Point] = Counter()

    def hold(self, point: Point) -> None:
        """From now on, the next caller at this point is held."""
        self._ask("hold", point)

    def wait_reached(self, point: Point, callers: int = 1) -> None:
        """Wait until so many callers are held there."""
        while self._reached[point] < callers:
            self._hear()

    def go(self, point: Point) -> None:
        """Let the caller go on; where none has come, nobody is held there any more."""
        self._ask("go", point)
        del self._reached[point]

    def stand_still(self) -> None:
        """SIGSTOP; all threads stand still when this returns."""
        pause(self._forked.pid)

    def resume(self) -> None:
        """SIGCONT."""
        self._forked.send_signal(signal.SIGCONT)

    def model_servers(self) -> dict[str, int]:
        """The processes of living model servers by instance id."""
        found = {}
        for child in psutil.Process(self._forked.pid).children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if token := child.environ().get(TOKEN_VARIABLE):
                    found[token.split("/")[1]] = child.pid
        return found

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What a query of the database answers, read beside the server."""
        with closing(sqlite3.connect(f"file:{self.data_dir / 'tarry.db'}?mode=ro", uri=True)) as connection:
            return connection.execute(query, parameters).fetchall()

    @property
    def _forked(self) -> Forked:
        assert isinstance(self.process, Forked)
        return self.process

    def _ask(self, word: str, point: Point) -> None:
        self._forked.control.send(f"{word} {point.name}".encode())
        while self._hear() != "done":
            pass

    def _hear(self) -> str:
        heard = self._forked.control.recv(_MESSAGE_BYTES_MAX).decode()
        assert heard, f"the server has ended:\n{self.log.read_text()}"
        word, _, name = heard.partition(" ")
        if name:
            self._reached[Point[name]] += 1
        return word

    def _spawn(self, extra: Mapping[str, str]) -> Process:
        request = {
            "arguments": self._arguments(),
            "environ": self._environ(extra),
            "holds": [point.name for point in self.held_from_the_start],
            "separate_commits": self.separate_commits,
        }
        self._reached.clear()
        with self.log.open("ab") as log:
            return self._parent.fork(request, log.fileno())


def pause(pid: int) -> None:
    """SIGSTOP, and wait until the process stands still."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, f"process {pid} to stand still")


def kill(pid: int) -> None:
    """SIGKILL, and wait until the process has ended: till then its sockets may still take a connection."""
    ended = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([ended], [], [], WAIT_S_MAX)[0], f"process {pid} did not end"
    finally:
        os.close(ended)


class Meeting:
    """Where the stub image waits in the middle of an inference; see its ``meet``."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(WAIT_S_MAX)
        self._guest: socket.socket | None = None
        self.port: int = self._listener.getsockname()[1]

    def wait_reached(self) -> None:
        """Wait until a request is in the model; nobody else is held here."""
        self._guest, _ = self._listener.accept()
        self._listener.close()

    def close(self) -> None:
        """Let it go on. Repeats change nothing."""
        self._listener.close()
        if self._guest is not None:
            self._guest.close()
