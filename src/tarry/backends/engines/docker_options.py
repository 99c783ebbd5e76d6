"""What a container is allowed and given: pure, from an instance's specification to a configuration of Docker's API.

The container contract asks for little: ``serve`` as the argument, port 8080, the model in ``/opt/ml/model``. All the rest is
taken away where no model server needs it. Not taken away: being root and writing to one's own file system, which AWS's images do
(they install ``requirements.txt`` at start, and write their configuration into ``/etc``).

AWS: developer guide, "Custom Inference Code with Hosting Services".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from tarry.backends.engines.docker_api import Daemon
from tarry.backends.engines.variables import Cloud, server_variables
from tarry.backends.engines.volumes import CHANNELS, MODEL
from tarry.core.instance_types import instance_type
from tarry.ports import ContainerSpec, InstanceSpec

PORT = 8080
NETWORK = "tarry"
OWNER_LABEL = "tarry.owner"
INSTANCE_LABEL = "tarry.instance"
NETWORK_LABEL = "tarry.network"

_BASE = "/opt/ml"
_CA_BUNDLE = Path("/opt/tarry/ca-bundle.pem")
_MEMORY_SHARE = 0.9
"""Of the machine's memory: what an instance may have at most, so that the kernel ends it and not the rest of the machine."""
_SHARED_MEMORY_SHARE = 0.5
"""Of the instance's memory. OURS: Docker's 64 MB are too little for PyTorch's workers; AWS does not say what it gives."""
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID")
"""What a root that installs packages, serves, and steps down to another user needs."""
_LOG_CONFIG = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
_NO_COMMUNICATION = {"com.docker.network.bridge.enable_icc": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerOptions:
    """What an operator chooses for all containers; see ``EngineSettings`` for each."""

    network: str | None = None
    read_only: bool = False
    memory_max_bytes: int | None = None
    pids_max: int = 4096
    ulimits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedContainer:
    """One container of an instance: which, where on this machine, and with what. ``port`` is None where it is not published."""

    instance: InstanceSpec
    index: int
    owner: str
    attempt: str
    home: Path
    region: str
    port: int | None = None
    gpus: tuple[str, ...] = ()
    cloud: Cloud | None = None
    """Where S3 and SNS are for the container; None: it cannot reach them."""

    @property
    def container(self) -> ContainerSpec:
        """Its specification."""
        return self.instance.containers[self.index]

    @property
    def name(self) -> str:
        """The container's name in Docker."""
        return f"tarry-{self.owner[:8]}-{self.instance.instance_id}-{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a container's labels say: whose it is, and which container of which start of which instance."""

    instance_id: str
    instance_type: str
    endpoint_name: str
    variant_name: str
    hostname: str | None
    index: int
    count: int
    attempt: str
    gpus: tuple[str, ...]

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> Self:
        """Errors: KeyError, ValueError where another version has written others."""
        return cls(
            instance_id=labels[INSTANCE_LABEL],
            instance_type=labels["tarry.instance-type"],
            endpoint_name=labels["tarry.endpoint"],
            variant_name=labels["tarry.variant"],
            hostname=labels["tarry.hostname"] or None,
            index=int(labels["tarry.container"]),
            count=int(labels["tarry.containers"]),
            attempt=labels["tarry.attempt"],
            gpus=tuple(filter(None, labels["tarry.gpus"].split(","))),
        )


def labels_of(place: PlacedContainer) -> Mapping[str, str]:
    """The labels of a container."""
    spec = place.instance
    return {
        OWNER_LABEL: place.owner,
        INSTANCE_LABEL: spec.instance_id,
        "tarry.instance-type": spec.instance_type,
        "tarry.endpoint": spec.endpoint_name,
        "tarry.variant": spec.variant_name,
        "tarry.hostname": place.container.hostname or "",
        "tarry.container": str(place.index),
        "tarry.containers": str(len(spec.containers)),
        "tarry.attempt": place.attempt,
        "tarry.gpus": ",".join(place.gpus),
    }


def container_config(place: PlacedContainer, options: DockerOptions, daemon: Daemon) -> Mapping[str, Any]:
    """The configuration that a container is created from. Errors: InstanceStartError for variables that cannot be."""
    variables = server_variables(
        place.container.environment,
        cloud=None if place.cloud is None else replace(place.cloud, ca_bundle=_CA_BUNDLE if place.cloud.ca_bundle else None),
        credentials=place.instance.credentials,
        region=place.region,
        port=PORT,
    )
    config: dict[str, Any] = {
        "Image": place.container.image,
        "Cmd": ["serve"],
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "Labels": dict(labels_of(place)),
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "StopSignal": "SIGTERM",  # AWS: whatever the image names (your-algorithms-inference-code)
        "HostConfig": _host_config(place, options, daemon),
    }
    if place.container.hostname is not None:
        config["Hostname"] = place.container.hostname
    return config


def isolated_network(owner: str, instance_id: str) -> str:
    """The name of the network of an instance that may speak to nobody."""
    return f"tarry-{owner[:8]}-{instance_id}"


def isolated_network_config(owner: str, instance_id: str) -> Mapping[str, Any]:
    """A network without a way out. One for each instance: its addresses stay its own until the network is removed."""
    return {"Name": isolated_network(owner, instance_id), "Driver": "bridge", "Internal": True, "Labels": {OWNER_LABEL: owner}}


def shared_network_config(daemon: Daemon) -> Mapping[str, Any]:
    """The network of all others, of every server on the daemon. Podman does not know the option."""
    return {
        "Name": NETWORK,
        "Driver": "bridge",
        "Internal": False,
        "Options": {} if daemon.podman else _NO_COMMUNICATION,
        "Labels": {NETWORK_LABEL: "shared"},
    }


def memory_bytes(name: str, options: DockerOptions, daemon: Daemon) -> int:
    """The memory limit of an instance type: its own, and never all that the machine has.

    OURS: a type that only a newer botocore knows is bounded by the machine alone.
    """
    most = options.memory_max_bytes or int(daemon.memory_bytes * _MEMORY_SHARE)
    known = instance_type(name)
    return most if known is None or known.memory_gib is None else min(int(known.memory_gib * 2**30), most)


def _host_config(place: PlacedContainer, options: DockerOptions, daemon: Daemon) -> dict[str, Any]:
    spec = place.instance
    memory = memory_bytes(spec.instance_type, options, daemon)
    host: dict[str, Any] = {
        "Memory": memory,
        "MemorySwap": memory,  # no swap: who wants more is ended, and told so
        "PidsLimit": options.pids_max,
        "ShmSize": int(memory * _SHARED_MEMORY_SHARE),
        "CapDrop": ["ALL"],
        "CapAdd": list(_CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "Init": False,  # AWS: none is put before the image's program (your-algorithms-inference-code)
        "ReadonlyRootfs": options.read_only,
        "Mounts": _mounts(place),
        "LogConfig": _LOG_CONFIG,
        "RestartPolicy": {"Name": "no"},
        "Ulimits": [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in options.ulimits.items()],
    }
    known = instance_type(spec.instance_type)
    if known is not None and known.vcpus < daemon.cpus:
        host["NanoCpus"] = known.vcpus * 10**9
    if options.read_only:
        host["Tmpfs"] = {"/tmp": "rw,exec,nosuid,nodev,mode=1777"}  # noqa: S108 - inside the container
    if place.gpus:
        host["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(place.gpus), "Capabilities": [["gpu"]]}]
    return host | _network(place, options)


def _network(place: PlacedContainer, options: DockerOptions) -> dict[str, Any]:
    if place.port is None:
        return {"NetworkMode": isolated_network(place.owner, place.instance.instance_id)}
    return {
        "NetworkMode": options.network or NETWORK,
        "PortBindings": {f"{PORT}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(place.port)}]},
    }


def _mounts(place: PlacedContainer) -> Sequence[Mapping[str, Any]]:
    """Read-only, since the files are shared with other instances. Without model data the image's own directory stays visible."""
    wanted: list[tuple[Path, str]] = []
    if place.container.model_data is not None:
        wanted.append((place.home / MODEL, f"{_BASE}/{MODEL}"))
    if place.container.additional_model_data:
        wanted.append((place.home / CHANNELS, f"{_BASE}/{CHANNELS}"))
    if place.cloud is not None and place.cloud.ca_bundle is not None:
        wanted.append((place.cloud.ca_bundle.absolute(), str(_CA_BUNDLE)))
    return [{"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True} for source, target in wanted]
