"""Environments are built from a wheel made here, so that no package index is needed."""

import asyncio
import base64
import hashlib
import json
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.support.model_objects import archive_of

from tarry.backends import environments as environments_module
from tarry.backends import pythons
from tarry.backends.environments import MARKER, BuildRules, Environments, Recipe
from tarry.core.errors import ImageBroken


@pytest.fixture(params=["uv", "pip"])
def builder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pip":
        monkeypatch.setattr(environments_module, "_working_uv", _none)
        return
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # that of requirements/dev.txt
    assert asyncio.run(environments_module._working_uv()) is not None


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


def source_archive(directory: Path, backend: str) -> Path:
    """A project ``built`` with a build backend of its own."""
    archive = directory / "built-1.0.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
    }
    archive.write_bytes(archive_of({f"built-1.0/{name}": text.encode() for name, text in files.items()}))
    return archive


@pytest.mark.usefixtures("builder")
async def test_sources_are_built_with_what_the_wheels_brought(tmp_path: Path, requirements: Path) -> None:
    archive = source_archive(tmp_path, BACKEND)
    sources = tmp_path / "sources.txt"
    sources.write_text(f"built @ {archive.as_uri()} --hash=sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}\n")
    environments = Environments(tmp_path / "e")
    built = await environments.provide("thing", Recipe(requirements=requirements, sources=sources))
    process = await asyncio.create_subprocess_exec(str(built.python), "-c", "import built, sys; sys.exit(built.ANSWER)")
    assert await process.wait() == 43
    assert built != await environments.provide("thing", Recipe(requirements=requirements))


@pytest.mark.usefixtures("builder")
async def test_wheels_that_were_brought_along_are_found(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/images.md says for a machine that cannot reach PyTorch's index: the variables reach the builders."""
    for name, value in (("FIND_LINKS", str(tmp_path)), ("NO_INDEX", "1")):
        monkeypatch.setenv(f"PIP_{name}", value)
        monkeypatch.setenv(f"UV_{name}", value)
    requirements.write_text(f"tiny==1.0 {requirements.read_text().split()[-1]}\n")
    recipe = Recipe(requirements=requirements, checks=["import tiny"])
    assert (await Environments(tmp_path / "e").provide("thing", recipe)).python.exists()


@pytest.mark.usefixtures("builder")
async def test_a_lock_file_of_wheels_runs_no_code_of_source_archives(tmp_path: Path, requirements: Path) -> None:
    needs_nothing = BACKEND.replace("import tiny, zipfile", "import zipfile").replace("{tiny.ANSWER + 1}", "43")
    digest = hashlib.sha256(source_archive(tmp_path, needs_nothing).read_bytes()).hexdigest()
    requirements.write_text(f"{requirements.read_text()}--no-index\n--find-links {tmp_path}\nbuilt==1.0 --hash=sha256:{digest}\n")
    with pytest.raises(ImageBroken, match="built"):
        await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements))


@pytest.mark.usefixtures("builder")
async def test_a_lock_file_has_hashes_for_all_or_is_refused(tmp_path: Path, requirements: Path) -> None:
    line = requirements.read_text()
    other = tmp_path / "other-1.0-py3-none-any.whl"
    with zipfile.ZipFile(tmp_path / "tiny-1.0-py3-none-any.whl") as tiny, zipfile.ZipFile(other, "w") as wheel:
        for name in tiny.namelist():
            wheel.writestr(name.replace("tiny", "other"), tiny.read(name).replace(b"tiny", b"other"))
    requirements.write_text(f"{line}other @ {other.as_uri()}\n")
    with pytest.raises(ImageBroken, match=r"(?i)hash"):
        await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements))


@pytest.mark.parametrize("builder", ["pip"], indirect=True)
@pytest.mark.usefixtures("builder")
async def test_the_builders_know_the_package_index_and_no_secret_of_the_server(
    tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source archive's own code runs in them."""
    for name in ("AWS_SECRET_ACCESS_KEY", "TARRY_SERVER__PORT", "PYTHONPATH", "VIRTUAL_ENV", "PIP_RETRIES", "NO_PROXY"):
        monkeypatch.setenv(name, "1")
    tell = f"import json, os, pathlib; pathlib.Path({str(tmp_path / 'told')!r}).write_text(json.dumps(dict(os.environ)))"
    await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements, checks=[tell]))
    told = json.loads((tmp_path / "told").read_text())
    assert {"PIP_RETRIES", "NO_PROXY", "PATH"} <= set(told)
    assert not [name for name in told if name.startswith(("AWS_", "TARRY_", "VIRTUAL_ENV"))]
    assert "PYTHONPATH" not in told


async def test_the_builders_hold_the_lock_themselves(tmp_path: Path, requirements: Path) -> None:
    """They may outlive a server for a moment, and nobody must build in the same place meanwhile."""
    holds = "import glob, os; assert any(os.path.realpath(one).endswith('.lock') for one in glob.glob('/proc/self/fd/*'))"
    await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements, checks=[holds]))


async def test_it_is_told_whether_it_stands(tmp_path: Path, requirements: Path) -> None:
    """Also while another server builds it: this one asks no more than the lock."""
    environments, other = Environments(tmp_path / "e"), Environments(tmp_path / "e")
    here, go = tmp_path / "here", tmp_path / "go"
    wait = (
        f"import time, pathlib; pathlib.Path({str(here)!r}).touch()\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.01)"
    )
    recipe = Recipe(requirements=requirements, checks=[wait])
    assert (await other.look("thing", recipe))[1] == "not built"
    building = asyncio.create_task(environments.provide("thing", recipe))
    async with asyncio.timeout(60):
        while not here.exists():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.01)
    assert (await other.look("thing", recipe))[1] == "being built"
    go.touch()
    built = await building
    assert await other.look("thing", recipe) == (built.python.parents[1], "ready")


async def test_all_of_it_is_on_disk_before_it_counts(tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[bool] = []
    monkeypatch.setattr(os, "sync", lambda: counted.append(any((tmp_path / "e").glob(f"*/{MARKER}"))))
    await Environments(tmp_path / "e").provide("thing", Recipe(requirements=requirements))
    assert counted == [False]


async def test_another_python_is_another_environment(tmp_path: Path, requirements: Path) -> None:
    """Also where it has the same path: a newer version that was installed over the old one."""
    own = pythons.own()
    others = [own, replace(own, version="3.99.1"), replace(own, path=Path("/usr/bin/env"))]
    looked = [await Environments(tmp_path).look("thing", Recipe(requirements=requirements, interpreter=one)) for one in others]
    assert len({folder for folder, _ in looked}) == 3


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


async def test_what_a_build_says_of_its_token_is_not_quoted(tmp_path: Path, requirements: Path) -> None:
    tell = "import os; raise SystemExit(os.environ['_TARRY_INSTANCE'])"
    with pytest.raises(ImageBroken, match=r"(?s)code 1.*\(token\)") as failed:
        await Environments(tmp_path / "e", rules=BuildRules(owner="mine")).provide(
            "thing", Recipe(requirements=requirements, checks=[tell])
        )
    assert "mine" not in str(failed.value)


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


@pytest.fixture
def hanging(tmp_path: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The first step of its build never ends, and has a child in a session of its own, whose id is in the file ``pid``."""
    monkeypatch.setattr(environments_module, "_working_uv", _none)
    program = tmp_path / "python"
    pid = "echo $$ > new; mv new pid; exec sleep 600"
    program.write_text(f"#!/bin/sh\necho busy\ncd {tmp_path}\nsetsid sh -c '{pid}'\n")
    program.chmod(0o755)
    return Recipe(requirements=requirements, interpreter=replace(pythons.own(), path=program))


async def child_of(tmp_path: Path) -> psutil.Process:
    async with asyncio.timeout(60):
        while not (tmp_path / "pid").exists():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.01)
    return psutil.Process(int((tmp_path / "pid").read_text()))


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


async def test_a_build_has_a_limit_and_all_of_it_ends_there(tmp_path: Path, hanging: Recipe) -> None:
    environments = Environments(tmp_path / "e", rules=BuildRules(timeout_s=3))
    building = asyncio.create_task(environments.provide("thing", hanging))
    child = await child_of(tmp_path)
    with pytest.raises(ImageBroken, match=r"(?s)\"thing\" could not be built within 3 seconds \(engine\.build_timeout_s\).*busy"):
        await building
    assert has_ended(child)
    assert folders(tmp_path / "e") == []


async def test_waiting_for_another_build_has_the_limit_too(tmp_path: Path, hanging: Recipe) -> None:
    building = asyncio.create_task(Environments(tmp_path / "e").provide("thing", hanging))
    child = await child_of(tmp_path)
    with pytest.raises(ImageBroken, match=r"(?s)within 0\.1 seconds.*another build of it is running"):
        await Environments(tmp_path / "e", rules=BuildRules(timeout_s=0.1)).provide("thing", hanging)
    assert not has_ended(child), "it is the other one's"
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert has_ended(child)


async def test_what_a_build_leaves_running_ends_with_it(tmp_path: Path, requirements: Path) -> None:
    """Else it would hold the lock. Its token begins with the owner's: the next start of a server that is killed finds it."""
    leave = (
        "import os, pathlib, subprocess; one = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=-3, stderr=-3); "
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(one.pid)); "
        "assert os.environ['_TARRY_INSTANCE'].startswith('mine/build/')"
    )
    recipe = Recipe(requirements=requirements, checks=[leave])
    await Environments(tmp_path / "e", rules=BuildRules(owner="mine")).provide("thing", recipe)
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid) or has_ended(psutil.Process(pid))


async def test_a_place_that_cannot_be_is_told(requirements: Path) -> None:
    with pytest.raises(ImageBroken, match=r"environments directory .*/here cannot be made: Not a directory"):
        await Environments(requirements / "here").provide("thing", Recipe(requirements=requirements))


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
