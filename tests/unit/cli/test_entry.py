"""What starts the command line."""

import errno
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


def test_output_that_cannot_be_written_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tarry", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "tarry: The output could not be written: No space left on device.\n"


def test_a_closed_output_is_no_error() -> None:
    command = ["sh", "-c", f"exec {sys.executable} -m tarry --help >&-"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_error_of_the_system_is_not_taken_for_one_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", "x")

    monkeypatch.setattr(tarry.cli.main, "main", fail)
    with pytest.raises(FileNotFoundError):
        entry.main()
