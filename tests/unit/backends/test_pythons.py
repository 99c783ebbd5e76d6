"""Which Python of the machine it is, told by programs that claim to be one."""

import platform
import sys
from pathlib import Path

import pytest

from tarry.backends import pythons


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH and no version managers."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{tmp_path / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return tmp_path


def claims(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return path


async def test_the_servers_own_comes_first(machine: Path) -> None:
    own = ".".join(platform.python_version_tuple()[:2])
    claims(machine / "bin" / f"python{own}", f"echo {own}.99")
    found = await pythons.find(own)
    assert found == pythons.Interpreter(path=Path(sys.executable), version=platform.python_version())


async def test_what_does_not_run_or_is_another_version_is_passed_over(machine: Path) -> None:
    claims(machine / "shims" / "python3.7", "echo 3.7.1; exit 127")
    claims(machine / "bin" / "python3.7", "echo 3.70.1")
    claims(machine / "pyenv" / "versions" / "3.7.2" / "bin" / "python3.7", "echo 3.7.2")
    found = await pythons.find("3.7")
    assert found is not None
    assert (found.version, found.path.parts[-4:-2]) == ("3.7.2", ("versions", "3.7.2"))


async def test_uv_keeps_some_too(machine: Path) -> None:
    kept = claims(machine / "uv" / "cpython-3.7.3-linux-x86_64-gnu" / "bin" / "python3.7", "echo 3.7.3")
    assert await pythons.find("3.7") == pythons.Interpreter(path=kept, version="3.7.3")


@pytest.mark.usefixtures("machine")
async def test_none_is_none() -> None:
    assert await pythons.find("3.7") is None
