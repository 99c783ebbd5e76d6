"""What people see at the command line."""

import subprocess
import sys
from pathlib import Path

import pytest


def _tarry(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "tarry", *arguments], capture_output=True, text=True, check=False)


def test_help_shows_the_defaults() -> None:
    said = _tarry("serve", "--help").stdout
    for default in ("127.0.0.1", "8780", "us-east-1", "123456789012", "[default: 30]"):
        assert default in said


def test_an_error_is_one_line_with_the_next_step(tmp_path: Path) -> None:
    done = _tarry("images", "build", "nobody/knows:1", "--environments", str(tmp_path))
    assert done.returncode == 1
    assert "nobody/knows" in done.stderr
    assert "tarry images add nobody/knows DIRECTORY" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_server_env_says_how_to_start_one(tmp_path: Path) -> None:
    done = _tarry("env", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert f"tarry serve --data-dir {tmp_path}" in done.stderr
    shell = ["sh", "-c", 'eval "$1"', "sh", done.stdout]
    assert subprocess.run(shell, check=False).returncode == 1  # a script with set -e stops there


def test_without_a_directory_it_says_how_the_shell_can_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TARRY_DATA_DIR", raising=False)
    done = _tarry("endpoints")
    assert done.returncode == 2
    assert 'eval "$(tarry env --data-dir DIR)"' in " ".join(done.stderr.split())


def test_version() -> None:
    assert _tarry("version").stdout.startswith("tarry ")
