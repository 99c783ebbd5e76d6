"""The Docker engine. Its client library is an extra, so only a server that asks for the engine imports it."""

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.logs import LogFiles
from tarry.backends.engines.room import Room
from tarry.backends.engines.variables import GATEWAY, Cloud
from tarry.backends.model_data import ModelData
from tarry.core.errors import DependencyError, InvalidRequest
from tarry.ports import Engine, Images, InstanceLogs
from tarry.settings import EngineSettings, ServerSettings, Settings

log = structlog.get_logger(__name__)

DEFAULT_HOST = "unix:///var/run/docker.sock"
_SCHEME = "unix://"


async def open_docker(
    all_settings: Settings, root: Path, model_data: ModelData, region: str, public_url: str, resources: AsyncExitStack
) -> tuple[Images, Engine, InstanceLogs]:
    """The images, the engine and its logs; closed with ``resources``. ``public_url``: where this server is reached from here.

    Errors: InvalidRequest where the extra is not installed, the socket is not one, or no daemon answers there.
    """
    try:
        from tarry.backends.engines.docker import DockerEngine  # noqa: PLC0415 - needs the extra
        from tarry.backends.engines.docker_api import DockerApi  # noqa: PLC0415
        from tarry.backends.engines.docker_containers import DockerContainers  # noqa: PLC0415
        from tarry.backends.engines.docker_images import DockerImages, Logins  # noqa: PLC0415
        from tarry.backends.engines.docker_options import DockerOptions  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "aiodocker":
            raise
        raise InvalidRequest(
            '[engine] kind = "docker" needs the extra "docker", which is not installed: pip install "tarry[docker]" (in a clone: '
            "make install EXTRA=docker)."
        ) from None
    settings = all_settings.engine
    api = DockerApi(docker_host(settings, os.environ))
    images = DockerImages(api, settings.docker_pull, Logins(docker_config(settings, os.environ)), _say)
    options = DockerOptions(
        network=settings.docker_network,
        read_only=settings.docker_read_only,
        memory_max_bytes=settings.docker_memory_max_bytes,
        pids_max=settings.docker_pids_max,
        ulimits=settings.docker_ulimits,
    )
    logs = LogFiles(root, settings.log_max_bytes)
    containers = DockerContainers(api, images, model_data, PortRange(*settings.ports), logs, options)
    cloud = cloud_of_containers(all_settings.server, public_url)
    _say_where_containers_reach(all_settings.server, cloud)
    engine = DockerEngine(root, containers, region=region, cloud=cloud, gpus=settings.docker_gpus, room=Room(settings.placement))
    resources.push_async_callback(partial(engine.close, keep=settings.docker_keep, grace_s=settings.stop_grace_s))
    try:
        await engine.open()
    except DependencyError as error:
        raise InvalidRequest(f"{error} Start the daemon, or name its socket in [engine] docker_host.") from error
    return images, engine, logs


def cloud_of_containers(server: ServerSettings, public_url: str) -> Cloud | None:
    """Where containers reach this server; None where it listens for this machine alone, or its certificate has another name.

    Without ``server.public_url`` a server that listens everywhere is reached at the machine's address on their network.
    """
    if server.public_url is not None:
        return Cloud(endpoint_url=public_url, ca_bundle=server.tls_cert)
    address = _address(server.host)
    everywhere = address is not None and address.is_unspecified
    if _for_this_machine_alone(server.host) or (everywhere and server.tls_cert is not None):
        return None
    if everywhere:
        url = urlsplit(public_url)
        public_url = f"{url.scheme}://{GATEWAY}:{url.port}"
    return Cloud(endpoint_url=public_url, ca_bundle=server.tls_cert)


def _say_where_containers_reach(server: ServerSettings, cloud: Cloud | None) -> None:
    """Warn where models in containers will not reach S3 and SNS."""
    if cloud is None:
        log.warning(
            "models in containers cannot reach S3 and SNS of this server: "
            "it listens for this machine alone, or its certificate has another name",
            advice='server.host = "0.0.0.0", or an address of this machine that containers reach; with a certificate its name in '
            "server.public_url, too",
        )
    elif _for_this_machine_alone(server.host):
        log.warning(
            "models in containers are told server.public_url, but this server listens for this machine alone",
            advice='server.host = "0.0.0.0", unless something else passes on to it what comes there',
        )


def _for_this_machine_alone(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _say(line: str) -> None:
    log.info("image", progress=line)


def docker_host(settings: EngineSettings, environ: Mapping[str, str]) -> str:
    """The daemon's socket. Errors: InvalidRequest for a daemon on another machine, which could not see the model's files."""
    host = settings.docker_host or environ.get("DOCKER_HOST") or DEFAULT_HOST
    if not host.startswith(_SCHEME):
        raise InvalidRequest(
            f"The Docker engine needs a daemon that sees the data directory: expected {_SCHEME}/path/to/socket in [engine] "
            f"docker_host or DOCKER_HOST, got {host!r}."
        )
    return host


def docker_config(settings: EngineSettings, environ: Mapping[str, str]) -> Path:
    """The file with the logins at registries."""
    if settings.docker_config is not None:
        return settings.docker_config
    return Path(environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()) / "config.json"
