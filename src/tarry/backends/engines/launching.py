"""Starting programs that end with this server: ``launcher.py`` in front of each, and what it has to become behind a descriptor.

A model server in a sandbox has the launcher twice: in front of bubblewrap, and inside, where it becomes the user and gets the
model's variables.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whom a program becomes: the numbers of a user, its group, and all its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program with its variables; ``command[0]`` is a path, or is looked up in its PATH.

    ``processes_max``: of all processes and threads of its user, beyond which it can start no more. The kernel spares root.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    user: User | None = None
    ignored: Sequence[signal.Signals] = ()
    processes_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A program that another one starts: ``wrapper`` reads ``arguments`` from ``--args FD``, then gets the program's command."""

    wrapper: Path
    arguments: Sequence[str]
    interpreter: Path
    """Runs the launcher inside."""
    launcher: Path
    """The launcher's path inside."""


@dataclass(slots=True)
class _Descriptors:
    """Files in memory that a child reads once."""

    numbers: list[int] = field(default_factory=list)

    def add(self, content: bytes) -> int:
        number = os.memfd_create("tarry")
        self.numbers.append(number)
        os.write(number, content)
        os.lseek(number, 0, os.SEEK_SET)
        return number


async def launch(
    program: Program, *, marks: Mapping[str, str], wrapped: Wrapped | None = None, keep: Sequence[int] = (), **options: Any
) -> asyncio.subprocess.Process:
    """Start a program that the kernel kills when this server dies.

    ``marks`` are the only variables of the processes before the program's own; ``keep`` are the only descriptors that it inherits
    above 2, unless it is wrapped. The rest are options of ``asyncio.create_subprocess_exec``. Errors: OSError.
    """
    with _descriptors() as descriptors:
        first = program
        if wrapped is not None:
            first = _around(program, wrapped, descriptors, marks)
        wish = descriptors.add(_wish(first, (*descriptors.numbers, *keep)))
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(wish),
            stdin=asyncio.subprocess.DEVNULL, env=dict(marks), pass_fds=(*descriptors.numbers, *keep), **options,
        )  # fmt: skip


def _around(program: Program, wrapped: Wrapped, descriptors: _Descriptors, marks: Mapping[str, str]) -> Program:
    """The wrapper as a program. SIGTERM for the group is meant for what is inside: the wrapper goes when that has gone."""
    inside, arguments = descriptors.add(_wish(program)), descriptors.add(_nul_separated(wrapped.arguments))
    again = (str(wrapped.interpreter), "-I", "-S", str(wrapped.launcher), "0", str(inside))
    command = (str(wrapped.wrapper), "--args", str(arguments), "--", *again)
    return Program(command=command, environment=marks, ignored=(signal.SIGTERM,))


def _wish(program: Program, kept: Sequence[int] = ()) -> bytes:
    user = program.user
    return json.dumps(
        {
            "command": list(program.command),
            "environment": dict(program.environment),
            "user": None if user is None else {"uid": user.uid, "gid": user.gid, "groups": list(user.groups)},
            "ignored": list(program.ignored),
            "processes_max": program.processes_max,
            "kept": list(kept),
        }
    ).encode()


def _nul_separated(arguments: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(argument) + b"\0" for argument in arguments)


@contextlib.contextmanager
def _descriptors() -> Iterator[_Descriptors]:
    descriptors = _Descriptors()
    try:
        yield descriptors
    finally:
        for number in descriptors.numbers:
            os.close(number)
