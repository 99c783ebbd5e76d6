"""What is read of a daemon, told by a socket that answers like one."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tarry.backends.engines.docker_api import Daemon, DockerApi, DockerAway

DOCKER = {"Version": "28.1", "ApiVersion": "1.49", "Components": [{"Name": "Engine"}]}
INFO = {
    "OperatingSystem": "Debian",
    "SecurityOptions": ["name=seccomp,profile=builtin"],
    "MemoryLimit": True,
    "NCPU": 4,
    "MemTotal": 8,
}


async def daemon(directory: Path, version: dict[str, Any], info: dict[str, Any]) -> Daemon:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(version if request.path.endswith("/version") else info)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(directory / "docker.sock")).start()
    api = DockerApi(f"unix://{directory}/docker.sock")
    try:
        return await api.daemon()
    finally:
        await api.close()
        await runner.cleanup()


async def test_what_a_daemon_is(tmp_path: Path) -> None:
    assert await daemon(tmp_path, DOCKER, INFO) == Daemon(
        name="Docker 28.1", podman=False, reaches_containers=True, limits_memory=True, cpus=4, memory_bytes=8
    )


@pytest.mark.parametrize(
    "differs",
    [{"SecurityOptions": ["name=seccomp", "name=rootless"]}, {"OperatingSystem": "Docker Desktop"}],
    ids=["rootless", "desktop"],
)
async def test_the_networks_of_a_daemon_without_root_or_in_a_machine_of_its_own_are_out_of_reach(
    tmp_path: Path, differs: dict[str, Any]
) -> None:
    assert not (await daemon(tmp_path, DOCKER, {**INFO, **differs})).reaches_containers


async def test_podman_is_known_by_its_component(tmp_path: Path) -> None:
    found = await daemon(
        tmp_path,
        {"Version": "5.4", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]},
        {**INFO, "SecurityOptions": None},
    )
    assert (found.name, found.podman, found.reaches_containers) == ("Podman 5.4", True, True)


async def test_that_the_daemon_is_away_is_told_once_and_that_it_is_back(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(DOCKER if request.path.endswith("/version") else INFO)

    api = DockerApi(f"unix://{tmp_path}/docker.sock")
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(DockerAway):
                    await api.daemon()
            await web.UnixSite(runner, str(tmp_path / "docker.sock")).start()
            for _ in range(2):
                await api.daemon()
    finally:
        await api.close()
        await runner.cleanup()
    assert [one["event"].partition(":")[0] for one in logs] == [
        "the Docker daemon does not answer",
        "the Docker daemon answers again",
    ]
