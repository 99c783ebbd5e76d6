"""A Docker engine on a temporary directory and the tests' own daemon."""

from collections.abc import Sequence
from pathlib import Path

from tests.support.model_objects import ModelObjects

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.docker import DockerEngine
from tarry.backends.engines.docker_api import DockerApi
from tarry.backends.engines.docker_containers import DockerContainers
from tarry.backends.engines.docker_images import DockerImages, Logins, PullPolicy
from tarry.backends.engines.docker_options import DockerOptions
from tarry.backends.engines.logs import LogFiles
from tarry.backends.engines.room import Room
from tarry.backends.model_data import ModelData


def docker_engine(
    directory: Path,
    host: str,
    *,
    objects: ModelObjects | None = None,
    options: DockerOptions | None = None,
    policy: PullPolicy = "if-missing",
    ports: PortRange | None = None,
    gpus: Sequence[str] = (),
    room: Room | None = None,
) -> DockerEngine:
    """An engine that has not been opened yet."""
    api = DockerApi(host)
    images = DockerImages(api, policy, Logins(directory / "config.json"), lambda _: None)
    model_data = ModelData(objects or ModelObjects(), directory / "models")
    containers = DockerContainers(
        api, images, model_data, ports or PortRange(20000, 29999), LogFiles(directory), options or DockerOptions()
    )
    return DockerEngine(directory, containers, region="eu-central-1", gpus=gpus, room=room)
