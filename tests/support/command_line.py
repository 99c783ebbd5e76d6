"""`tarry` commands against a running server: between pipes, within this process, on a terminal."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from tests.support.server_process import ServerProcess
from tests.support.terminal import Terminal

from tarry.cli.main import main


def environ_of(server: ServerProcess) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TARRY_"))}
    return {**kept, "TARRY_DATA_DIR": str(server.data_dir)}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tarry", *map(str, arguments)]


def piped(server: ServerProcess, *arguments: str | Path, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """A command as a process between pipes."""
    return subprocess.run(command(*arguments), capture_output=True, check=False, input=given, env=environ_of(server))


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def tarry(server: ServerProcess, *arguments: str | Path) -> Done:
    """A command within this process, which starts a hundred times as fast; what it says goes into no terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        patch.dict(os.environ, environ_of(server), clear=True),
        patch.object(sys, "argv", ["tarry", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    said = (stream.buffer.getvalue().decode() for stream in (out, err))
    return Done(int(ended.value.code or 0), *said)


def told(server: ServerProcess, *arguments: str | Path) -> Any:
    """What a script is told."""
    done = tarry(server, *arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def terminal(server: ServerProcess, *arguments: str | Path) -> Terminal:
    """A command on a terminal."""
    return Terminal(command(*arguments), environ_of(server))
