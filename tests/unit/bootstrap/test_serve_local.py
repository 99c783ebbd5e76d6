"""`tarry serve-local`: when its time begins, and what it takes from a data directory."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.model_objects import archive_of
from tests.support.server_process import STUB_IMAGE

from tarry.backends.engines.processes import carriers
from tarry.backends.images import ImageCatalogue
from tarry.bootstrap import serve_local as local
from tarry.core.errors import InvalidRequest

PROGRAM = """
import json, os, sys
print(json.dumps({"port": os.environ["SAGEMAKER_BIND_TO_PORT"], "seen": os.path.exists(sys.argv[1])}), flush=True)
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """With an image that tells its port, and whether it sees a file of the directory."""
    image = tmp_path / "images" / "telling"
    image.mkdir(parents=True)
    shutil.copy(STUB_IMAGE / "serve.py", image / "stub.py")
    (image / "serve.py").write_text(PROGRAM)
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "credentials").write_text("secret")
    command = json.dumps(["{python}", "{image}/serve.py", str(directory / "credentials"), "{image}/stub.py"])
    (image / "image.toml").write_text(f'repositories = ["telling"]\ntags = ["*"]\ncommand = {command}\n')
    return directory


def configure(data_dir: Path, engine: str = "") -> None:
    images = json.dumps([str(data_dir.parent / "images" / "telling")])
    (data_dir / "tarry.toml").write_text(f"[images]\ndirectories = {images}\n[engine]\n{engine}\n")


async def served(data_dir: Path, **more: Any) -> local.Report:
    archive = data_dir.parent / "model.tar.gz"
    archive.write_bytes(archive_of({"weights": b"w"}))
    wanted = local.Wanted(
        archive=archive, image="telling:1", environment={}, environments_dir=data_dir.parent / "environments",
        data_dir=data_dir, **more,
    )  # fmt: skip
    return await local.serve_local(wanted, lambda _: None)


async def test_building_an_environment_does_not_count_as_starting(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: the time for /ping begins when the model server is started."""
    passed_s = 0.0
    clock = time.monotonic
    prepare = ImageCatalogue.prepare

    async def slowly(self: ImageCatalogue, reference: str) -> Any:
        nonlocal passed_s
        passed_s = 3600.0
        return await prepare(self, reference)

    monkeypatch.setattr(ImageCatalogue, "prepare", slowly)
    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: clock() + passed_s))
    configure(data_dir)
    report = await served(data_dir, startup_timeout_s=480)
    assert report.healthy_s is not None
    assert report.listened_s <= report.healthy_s < 480


async def test_the_ports_of_a_data_directory_count(data_dir: Path) -> None:
    configure(data_dir, "ports = [19000, 19100]\nsandbox = 'none'")
    told = json.loads((await served(data_dir)).log[0])
    assert 19000 <= int(told["port"]) <= 19100
    assert told["seen"], "without a sandbox nothing is hidden"


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
async def test_a_sandbox_hides_the_data_directory(data_dir: Path) -> None:
    configure(data_dir, "sandbox = 'bubblewrap'")
    assert not json.loads((await served(data_dir)).log[0])["seen"]


async def test_a_sandbox_that_is_asked_for_has_to_be_there(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(data_dir, "sandbox = 'bubblewrap'")
    monkeypatch.setenv("PATH", str(data_dir))
    with pytest.raises(InvalidRequest, match=r"\[engine\] sandbox is bubblewrap, but bubblewrap \(bwrap\) is not installed"):
        await served(data_dir)


async def test_a_user_that_is_asked_for_has_to_be_there(data_dir: Path) -> None:
    configure(data_dir, "user = 'nobody-of-this-name'")
    with pytest.raises(InvalidRequest, match="this machine has no user 'nobody-of-this-name'"):
        await served(data_dir)


async def test_sigterm_ends_the_instance_and_leaves_no_directory(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(data_dir)
    place, started = tmp_path / "t", asyncio.Event()
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))

    async def never(*_: Any) -> bool:
        started.set()
        await asyncio.get_running_loop().create_future()
        return False

    monkeypatch.setattr(local, "_healthy", never)
    serving = asyncio.create_task(served(data_dir))
    await started.wait()
    [directory] = place.iterdir()
    token = (directory / "engine-token").read_text()
    assert carriers(token)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert carriers(token) == []
    assert list(place.iterdir()) == []
