"""Which networks containers join, of a daemon that is told by a socket which answers like one."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support.engines import spec

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.docker_api import Daemon, DockerApi, DockerRefused
from tarry.backends.engines.docker_containers import DockerContainers
from tarry.backends.engines.docker_images import DockerImages
from tarry.backends.engines.docker_options import DockerOptions, isolated_network_config, shared_network_config
from tarry.backends.engines.logs import LogFiles
from tarry.backends.model_data import ModelData

OWNER = "0123456789"
DAEMON = Daemon(name="Docker", podman=False, reaches_containers=True, limits_memory=True, cpus=16, memory_bytes=2**30)
SHARED = shared_network_config(DAEMON)
ISOLATED = isolated_network_config(OWNER, "i-1")


class Networks:
    """The networks of a daemon. ``late`` is made by somebody else between a look and a creation."""

    def __init__(self, *known: dict[str, Any]) -> None:
        self.known = list(known)
        self.made: list[str] = []
        self.late: dict[str, Any] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        """Answer what aiodocker asks."""
        if request.path.endswith("/version"):
            return web.json_response({"Version": "28.1", "ApiVersion": "1.49"})
        if request.method == "GET":
            [name] = json.loads(request.query["filters"])["name"]
            return web.json_response([one for one in self.known if name in one["Name"]])
        if self.late is not None:
            self.known.append(self.late)
            return web.json_response({"message": f"network with name {self.late['Name']} already exists"}, status=409)
        wanted = await request.json()
        self.known.append(wanted)
        self.made.append(wanted["Name"])
        return web.json_response({"Id": "1"}, status=201)

    @asynccontextmanager
    async def served(self, directory: Path, options: DockerOptions | None = None) -> AsyncIterator[DockerContainers]:
        """The containers of a data directory, on this daemon."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(directory / "docker.sock")).start()
        api = DockerApi(f"unix://{directory}/docker.sock")
        try:
            yield containers(api, directory, options or DockerOptions())
        finally:
            await api.close()
            await runner.cleanup()


def containers(api: DockerApi, directory: Path, options: DockerOptions) -> DockerContainers:
    unused: Any = None
    images: DockerImages = unused
    model_data: ModelData = unused
    return DockerContainers(api, images, model_data, PortRange(20000, 20009), LogFiles(directory), options)


async def test_it_is_made_once(tmp_path: Path) -> None:
    networks = Networks({**SHARED, "Name": "tarry-of-somebody", "Labels": None, "Options": None})
    async with networks.served(tmp_path) as one:
        for _ in range(2):
            await one.make_network(OWNER, spec(), DAEMON)
            await one.make_network(OWNER, replace(spec(), network_isolation=True), DAEMON)
    assert networks.made == ["tarry", ISOLATED["Name"]]


@pytest.mark.parametrize(
    ("differs", "said"),
    [
        ({"Labels": None}, r"tarry.network is not set \(expected shared\)"),
        ({"Options": {}}, r"com.docker.network.bridge.enable_icc is not set \(expected false\)"),
        (
            {"Options": {"com.docker.network.bridge.enable_icc": "true"}},
            r"com.docker.network.bridge.enable_icc is true \(expected false\)",
        ),
        ({"Driver": "macvlan"}, r"Driver is macvlan \(expected bridge\)"),
        ({"Internal": True}, r"Internal is True \(expected False\)"),
    ],
    ids=["not labelled", "no options", "open", "driver", "internal"],
)
async def test_one_of_its_name_that_is_not_ours_is_refused(tmp_path: Path, differs: dict[str, Any], said: str) -> None:
    way_out = "docker network rm tarry.*engine.docker_network"
    for networks in (Networks({**SHARED, **differs}), Networks()):
        networks.late = None if networks.known else {**SHARED, **differs}
        async with networks.served(tmp_path) as one:
            with pytest.raises(DockerRefused, match=f"network tarry exists.*{said}.*{way_out}"):
                await one.make_network(OWNER, spec(), DAEMON)
        assert networks.made == []


async def test_what_another_server_makes_meanwhile_is_joined(tmp_path: Path) -> None:
    networks = Networks()
    networks.late = dict(SHARED)
    async with networks.served(tmp_path) as one:
        await one.make_network(OWNER, spec(), DAEMON)


@pytest.mark.parametrize("differs", [{"Internal": False}, {"Labels": {"tarry.owner": "another"}}], ids=["not internal", "owner"])
async def test_an_isolated_instance_joins_no_other_network(tmp_path: Path, differs: dict[str, Any]) -> None:
    async with Networks({**ISOLATED, **differs}).served(tmp_path) as one:
        with pytest.raises(DockerRefused, match=f"expected.*docker network rm {ISOLATED['Name']}$"):
            await one.make_network(OWNER, replace(spec(), network_isolation=True), DAEMON)


async def test_a_network_of_the_operators_is_joined_as_it_is(tmp_path: Path) -> None:
    networks = Networks({**SHARED, "Labels": None})
    async with networks.served(tmp_path, DockerOptions(network="mine")) as one:
        await one.make_network(OWNER, spec(), DAEMON)
    assert networks.made == []


async def test_with_podman_a_network_of_ours_has_no_option_to_look_at(tmp_path: Path) -> None:
    podman = replace(DAEMON, podman=True)
    async with Networks(dict(shared_network_config(podman))).served(tmp_path) as one:
        await one.make_network(OWNER, spec(), podman)
