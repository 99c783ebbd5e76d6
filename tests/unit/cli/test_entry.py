"""What starts the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import tarry.cli.main
from tarry import __main__ as entry


def test_ctrl_c_says_nothing_even_while_the_command_line_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [sys.executable, "-m", "tarry", "version"], capture_output=True, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_tarry_is_this_program(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr(tarry.cli.main, "main", lambda: called.append(True))
    entry.main()
    assert called == [True]
