"""What a server asked of the kernel, in order: its system calls on files and connections, from strace's log.

Every string of the log is in hexadecimal, so that a call can be taken apart without knowing how it looks. A call of one thread
may be interrupted in the log by calls of others: it has the line at which it began and the one at which it had ended.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.support.server_process import Process, ServerProcess

OPEN = ("open", "openat", "openat2", "creat")
WRITE = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg")
TRUNCATE = ("truncate", "ftruncate")
NAME = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat")
SYNC = ("fsync", "fdatasync")
UNKNOWN = ("fallocate", "copy_file_range", "sendfile", "link", "linkat", "symlink", "symlinkat", "sync_file_range", "msync")
"""Calls that change files and that the model of the disk does not know: none of them may touch DIR unnoticed."""
CALLS = (*OPEN, *WRITE, *TRUNCATE, *NAME, *SYNC, *UNKNOWN)
STRING_BYTES_MAX = 16 * 1024 * 1024

_STRACE = ("strace", "-f", "-qq", "-yy", "-xx", "-s", str(STRING_BYTES_MAX), "--seccomp-bpf", "-e", "signal=none")
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+|\?)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*(?:->[^>]*)?)>(?=[,)]|$| )")


def _why_not() -> str | None:
    """Why nothing can be traced here."""
    if shutil.which("strace") is None:
        return "strace is not installed (Debian: apt-get install strace)"
    tried = subprocess.run([*_STRACE, "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else None


_WHY_NOT = _why_not()
needs_strace = pytest.mark.skipif(_WHY_NOT is not None, reason=_WHY_NOT or "")


@dataclass(slots=True)
class Call:
    """One system call. ``begin`` and ``end`` are lines of the log; ``end`` is None where the process died in it."""

    name: str
    arguments: str
    begin: int
    end: int | None = None
    result: int = 0
    _data: bytes | None = None

    @property
    def strings(self) -> list[bytes]:
        """Its strings, in order: names of files, or the bytes of a write."""
        return [_unhex(found) for found in _STRING.findall(self.arguments)]

    @property
    def descriptors(self) -> list[str]:
        """What its descriptors stand for, in order: paths, or connections as ``TCP:[ours->theirs]``."""
        return [_readable(found) for found in _DESCRIPTOR.findall(self.arguments)]

    @property
    def descriptor(self) -> str:
        """What its first argument, a descriptor, stands for."""
        found = _DESCRIPTOR.match(self.arguments)
        return _readable(found[1]) if found else ""

    @property
    def number(self) -> int:
        """Its last argument, a number: the offset of a pwrite, the size of a truncate."""
        return int(self.arguments.rsplit(", ", 1)[1])

    @property
    def data(self) -> bytes:
        """What a write has written."""
        if self._data is None:
            data = b"".join(self.strings)
            self._data = data if self.end is None else data[: self.result]
        return self._data


def parse(log: Path, first_line: int = 0) -> list[Call]:
    """The calls of a log, in the order in which they began. Lines are counted from ``first_line``."""
    calls: list[Call] = []
    running: dict[str, Call] = {}
    with log.open(encoding="ascii") as lines:
        for number, line in enumerate(lines, first_line):
            found = _LINE.match(line)
            if found is None:
                continue
            thread, resumed, name, rest = found.groups()
            if resumed:
                call = running.pop(thread)
            else:
                call = Call(name, rest, number)
                calls.append(call)
            if rest.endswith("<unfinished ...>\n"):
                call.arguments = rest.removesuffix(" <unfinished ...>\n")
                running[thread] = call
                continue
            result = _RESULT.search(rest)
            if result is None or result[1] == "?":  # killed in the middle
                continue
            call.end = number
            call.result = int(result[1])
            if not resumed:
                call.arguments = rest[: result.start()]
            elif not rest.startswith(")"):
                call.arguments += rest[: result.start()]
    return calls


class TracedServer(ServerProcess):
    """`tarry serve` under strace. ``kill`` and ``stop`` mean the server; strace ends with it, its log complete."""

    def __init__(self, data_dir: Path, trace: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, settings=settings)
        self.trace = trace

    def _spawn(self, extra: Mapping[str, str]) -> Process:
        command = (*_STRACE, "-e", f"trace={','.join(CALLS)}", "-o", str(self.trace))
        with self.log.open("ab") as log:
            program = (sys.executable, "-m", "tarry", *self._arguments())
            strace = subprocess.Popen(
                [*command, *program], env=self._environ(extra), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return _Traced(strace)


class _Traced:
    """Signals go to the server, waiting is for strace."""

    def __init__(self, strace: "subprocess.Popen[bytes]") -> None:
        self._strace = strace
        self.pid = strace.pid

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int, /) -> None:
        for child in psutil.Process(self.pid).children():
            os.kill(child.pid, sig)

    def poll(self) -> int | None:
        return self._strace.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._strace.wait(timeout)


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _readable(text: str) -> str:
    return _unhex(text).decode() if text.startswith("\\x") else text
