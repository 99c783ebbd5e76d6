"""Environments are built from a wheel made here, so that no package index is needed."""

import asyncio
import base64
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
from tests.support.model_objects import archive_of

from tarry.backends import environments as environments_module
from tarry.backends.environments import MARKER, Environments, Recipe
from tarry.core.errors import ImageBroken


@pytest.fixture(params=["uv", "pip"])
def builder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pip":
        monkeypatch.setattr(environments_module, "_working_uv", _none)
        return
    if asyncio.run(environments_module._working_uv()) is None:
        pytest.skip("uv is not installed")


async def _none() -> None:
    return None


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A lock file for one wheel with one module, ``tiny``."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": b"ANSWER = 42\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(body)},{len(body)}\n" for name, body in files.items()) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, body in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, body)
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"tiny @ {wheel.as_uri()} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return lock


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def folders(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()]


@pytest.mark.usefixtures("builder")
async def test_it_is_built_once_and_works(tmp_path: Path, requirements: Path) -> None:
    said: list[str] = []
    environments = Environments(tmp_path / "e", said.append)
    recipe = Recipe(requirements=requirements, checks=["import tiny"])
    first, second = await asyncio.gather(environments.provide("thing", recipe), environments.provide("thing", recipe))
    assert first == second == await environments.provide("thing", recipe)
    assert len([line for line in said if "building its environment" in line]) == 1
    assert "ready" in said[-1]
    process = await asyncio.create_subprocess_exec(str(first.python), "-c", "import tiny, sys; sys.exit(tiny.ANSWER)")
    assert await process.wait() == 42
    process = await asyncio.create_subprocess_exec(str(first.python), "-c", "import structlog", stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() != 0, "the server's packages must not be visible"


BACKEND = """
import tiny, zipfile
def build_wheel(directory, *_, **__):
    name = "built-1.0-py3-none-any.whl"
    info = "built-1.0.dist-info"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        wheel.writestr("built.py", f"ANSWER = {tiny.ANSWER + 1}")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


@pytest.mark.usefixtures("builder")
async def test_sources_are_built_with_what_the_wheels_brought(tmp_path: Path, requirements: Path) -> None:
    archive = tmp_path / "built-1.0.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
    }
    archive.write_bytes(archive_of({f"built-1.0/{name}": text.encode() for name, text in files.items()}))
    sources = tmp_path / "sources.txt"
    sources.write_text(f"built @ {archive.as_uri()} --hash=sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}\n")
    environments = Environments(tmp_path / "e")
    built = await environments.provide("thing", Recipe(requirements=requirements, sources=sources))
    process = await asyncio.create_subprocess_exec(str(built.python), "-c", "import built, sys; sys.exit(built.ANSWER)")
    assert await process.wait() == 43
    assert built != await environments.provide("thing", Recipe(requirements=requirements))


async def test_another_lock_file_is_another_environment(tmp_path: Path, requirements: Path) -> None:
    environments = Environments(tmp_path / "e")
    first = await environments.provide("thing", Recipe(requirements=requirements))
    requirements.write_text(requirements.read_text() + "# changed\n")
    assert await environments.provide("thing", Recipe(requirements=requirements)) != first


@pytest.mark.usefixtures("builder")
async def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path, requirements: Path) -> None:
    requirements.write_text(requirements.read_text().replace("sha256:", "sha256:0")[:-2])
    with pytest.raises(ImageBroken, match=r'(?si)environment of image "thing" could not be built: .*code.*hash'):
        await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements))
    assert folders(tmp_path / "e") == []


async def test_a_failed_check_is_a_failed_build(tmp_path: Path, requirements: Path) -> None:
    with pytest.raises(ImageBroken, match="No module named 'absent'"):
        await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements, checks=["import absent"]))
    assert folders(tmp_path / "e") == []


async def test_a_missing_lock_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageBroken, match=r"none\.txt"):
        await Environments(tmp_path / "e").provide("thing", Recipe(requirements=tmp_path / "none.txt"))


async def test_cancelling_ends_the_build(tmp_path: Path, requirements: Path) -> None:
    slow = f"import time, pathlib; pathlib.Path({str(tmp_path / 'here')!r}).touch(); time.sleep(600)"
    recipe = Recipe(requirements=requirements, checks=[slow])
    building = asyncio.create_task(Environments(tmp_path / "e").provide("thing", recipe))
    async with asyncio.timeout(60):
        while not (tmp_path / "here").exists():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.01)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert folders(tmp_path / "e") == []


async def test_a_killed_build_is_built_anew(tmp_path: Path, requirements: Path) -> None:
    """A server is killed in the middle of a build: its builders end with it, and the next server starts over."""
    pid_file = tmp_path / "pid"
    slow = f"import os, time, pathlib; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    code = (
        "import asyncio, sys; from pathlib import Path; from tarry.backends.environments import Environments, Recipe; "
        "asyncio.run(Environments(Path(sys.argv[1])).provide('thing', "
        "Recipe(requirements=Path(sys.argv[2]), checks=[sys.argv[3]])))"
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        str(tmp_path / "e"),
        str(requirements),
        slow,
        env={**os.environ},
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        while not (pid_file.exists() and pid_file.read_text()):  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.01)
    builder = psutil.Process(int(pid_file.read_text()))
    server.kill()
    await server.wait()
    [half] = folders(tmp_path / "e")
    (half / "half-built").touch()
    built = await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements))
    assert built.python.parents[1] == half
    assert (half / MARKER).exists()
    assert not (half / "half-built").exists()
    assert not builder.is_running() or builder.status() == psutil.STATUS_ZOMBIE
