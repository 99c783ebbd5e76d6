"""An image may need another Python than the server's own: which of those on this machine it is.

Looked for, in this order: the server's interpreter; ``python3.N`` in each directory of the server's PATH; the places where pyenv
and uv keep theirs. What is found counts only when it runs and says that it is that version: a version manager's shim may stand in
for nothing.
"""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROBE = "import platform; print(platform.python_version())"
_PROBE_S_MAX = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python that runs. ``version`` has three parts, such as 3.11.7."""

    path: Path
    version: str


def own() -> Interpreter:
    """The one that runs this server."""
    return Interpreter(path=Path(sys.executable), version=platform.python_version())


async def at(path: Path) -> Interpreter | None:
    """The interpreter of this path, or None where there is none that runs."""
    version = await _version(path)
    return Interpreter(path=path, version=version) if version else None


async def find(minor: str) -> Interpreter | None:
    """The first interpreter of a version such as ``3.11``, or None."""
    if minor == ".".join(platform.python_version_tuple()[:2]):
        return own()
    for path in _candidates(minor):
        version = await _version(path)
        if version.startswith(f"{minor}."):
            return Interpreter(path=path, version=version)
    return None


def _candidates(minor: str) -> Iterator[Path]:
    name = f"python{minor}"
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        if directory and (found := shutil.which(name, path=directory)):
            yield Path(found)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    yield from sorted(pyenv.glob(f"{minor}.*/bin/{name}"))
    yield from sorted(uv.glob(f"cpython-{minor}.*/bin/{name}"))


async def _version(path: Path) -> str:
    """What it says of itself; empty if it does not run."""
    try:
        process = await asyncio.create_subprocess_exec(
            path, "-I", "-c", _PROBE,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_PROBE_S_MAX):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return said.decode("ascii", "replace").strip() if process.returncode == 0 else ""
