"""Every setting, with its meaning, unit and default.

Later wins: defaults < ``tarry.toml`` in the data directory < environment (``TARRY_SERVER__PORT=8780``) < command-line flags.
An unknown key is an error wherever it stands, so that a misspelt setting cannot be silently without effect.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, ValidationError

from tarry.core.errors import InvalidRequest
from tarry.core.invocation import PAYLOAD_BYTES_MAX
from tarry.core.placement import PlacementRules

ENV_PREFIX = "TARRY_"
DATA_DIR_VARIABLE = "TARRY_DATA_DIR"
"""What stands for a ``--data-dir`` that is not given. The command line reads it: which directory it is has to be known before its
``tarry.toml`` can be."""
_DELIMITER = "__"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _of_any_type(count: Any) -> Any:
    return count if isinstance(count, Mapping) else {"*": count}


def _own_address(network: str) -> str:
    if network in {"host", "none"} or ":" in network:
        raise ValueError("containers need addresses of their own: expected the name of a bridge network")
    return network


class ServerSettings(_Group):
    """``[server]``: where the one port is, and how it stops."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8780
    """TCP port; 0 lets the system pick one (it is written to ``server.json``)."""
    public_url: str | None = None
    """What absolute URLs that we hand out begin with; left out: scheme, host and port of the listener."""
    tls_cert: Path | None = None
    """PEM file with the certificate (chain); together with ``tls_key`` it switches to https."""
    tls_key: Path | None = None
    """PEM file with the private key."""
    drain_timeout_s: Annotated[float, Field(ge=0)] = 30.0
    """After SIGTERM, how long running invocations may take before they go back to the queue."""


class ScopeSettings(_Group):
    """``[scope]``: which account and region this data directory stands for; fixed at its first start."""

    region: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    """Region of ARNs and of credential scopes; left out: what the directory was made for, ``us-east-1`` for a new one."""
    account_id: Annotated[str, Field(pattern=r"^[0-9]{12}$")] | None = None
    """Account of ARNs, twelve digits; left out: what the directory was made for, ``123456789012`` for a new one."""


class QueueSettings(_Group):
    """``[queue]``: the invocation queue."""

    lease_s: Annotated[float, Field(ge=3)] = 30.0
    """How long a dead worker may hold an invocation; renewed every 10 s while it lives."""
    queued_max: Annotated[int, Field(ge=1)] = 10_000_000
    """Queued invocations of one endpoint beyond which new ones are refused as throttled."""
    disk_reserve_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """Free bytes on the disk of DIR below which new invocations are refused as throttled: the rest is for results."""
    input_bytes_max: Annotated[ByteSize, Field(ge=1)] = ByteSize(PAYLOAD_BYTES_MAX)
    """Input objects that are larger fail their requests, and no container sees them: bytes, or with a unit (``"2 GiB"``)."""


class RetentionSettings(_Group):
    """``[retention]``: how long what has ended is kept."""

    finished_days: Annotated[float, Field(ge=0, allow_inf_nan=True)] = 7.0
    """Days that the record of a finished invocation is kept; ``inf``: for ever. Objects in S3 are never removed."""
    logs_days: Annotated[float, Field(ge=0, allow_inf_nan=True)] = 30.0
    """Days that the log of an instance that has ended is kept after its last line; ``inf``: for ever."""


class EngineSettings(_Group):
    """``[engine]``: where instances run. What begins with ``docker_`` is for ``kind = "docker"`` alone."""

    kind: Literal["process", "docker"] = "process"
    """``process``: instances are processes of images that are directories; ``docker``: containers of real images."""
    ports: tuple[int, int] = (20000, 29999)
    """First and last port for model servers; outside the system's ephemeral range."""
    stop_grace_s: Annotated[float, Field(ge=0)] = 30.0
    """Between SIGTERM and SIGKILL."""
    unanswered_s: Annotated[float, Field(gt=0)] = 180.0
    """How long an instance may leave GET /ping unanswered before it is ended and another takes its place."""
    build_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """How long the environment of an image may take to be built; its endpoint fails then."""
    sandbox: Annotated[str, Field(pattern=r"^(auto|bubblewrap|none)$")] = "auto"
    """``bubblewrap``: instances run in it, and the server does not start without; ``auto``: where it can be used; ``none``."""
    user: str | None = None
    """Whom instances become in the sandbox of a server that is run by root; left out: root without its privileges."""
    processes_max: Annotated[int, Field(ge=1)] = 16384
    """Processes and threads that the user of a model server may have before it can start no more. The kernel spares root."""
    instance_policy: Path | None = None
    """JSON file with the policy of the keys that instances get (what IAM's policies are); left out: all of S3 and SNS."""
    log_max_bytes: Annotated[ByteSize, Field(ge=1024 * 1024)] = ByteSize(32 * 1024 * 1024)
    """How long the log of a container may become before its file is emptied: so much of it is kept besides. Bytes, or with a
    unit (``"100 MiB"``)."""
    memory_reserve: ByteSize = ByteSize(256 * 1024 * 1024)
    """Free memory of the machine below which no instance is placed: bytes, or with a unit (``"512 MiB"``)."""
    instances_max: Annotated[dict[str, Annotated[int, Field(ge=0)]], BeforeValidator(_of_any_type)] = Field(default_factory=dict)
    """How many instances may run at once: a number, or numbers by patterns of instance types (``"ml.g5.*" = 1``), of which the
    first that matches counts. What none matches has no limit."""
    capacity: Literal["measured", "strict"] = "measured"
    """``measured``: instances are placed by what the machine has free; ``strict``: besides, the vCPUs and the memory of their
    types may not be more than it has."""
    provision_timeout_s: Annotated[int, Field(ge=0)] = 300
    """How long room for an instance is waited for where its variant has no VariantInstanceProvisionTimeoutInSeconds."""
    docker_host: Annotated[str, Field(pattern=r"^unix:///.+")] | None = None
    """The daemon's socket; left out: ``DOCKER_HOST``, else ``unix:///var/run/docker.sock``. Podman's is understood, too."""
    docker_pull: Literal["always", "if-missing", "never"] = "if-missing"
    """When an instance's image is pulled before it starts."""
    docker_config: Path | None = None
    """Docker's ``config.json``, for logins at registries; left out: that of ``DOCKER_CONFIG``, else ``~/.docker/config.json``."""
    docker_network: Annotated[str, AfterValidator(_own_address)] | None = None
    """An existing network for containers, as it is; left out: ``tarry``, made so that they cannot reach one another."""
    docker_gpus: tuple[str, ...] = ()
    """The GPUs that containers may have, as NVIDIA numbers or names them. None: types with GPUs run on the CPU."""
    docker_read_only: bool = False
    """Whether a container can write to nothing but ``/tmp``. Images that install ``requirements.txt`` at start cannot live so."""
    docker_memory_max_bytes: Annotated[int, Field(ge=6 * 1024 * 1024)] | None = None
    """Memory of one container at most; left out: nine tenths of the machine's. Less where the instance type has less."""
    docker_pids_max: Annotated[int, Field(ge=1)] = 4096
    """Processes and threads of one container."""
    docker_ulimits: dict[str, Annotated[int, Field(ge=-1)]] = Field(default_factory=dict)
    """Limits of a container's processes (``nofile = 65536``), soft and hard; left out: the daemon's own."""
    docker_keep: bool = True
    """Whether instances run on when the server stops, for its next start to go on with. False: they are stopped."""

    @property
    def placement(self) -> PlacementRules:
        """What of these says where there is room, for whichever engine."""
        strict = self.capacity == "strict"
        return PlacementRules(memory_reserve_bytes=self.memory_reserve, instances_max=self.instances_max, strict=strict)


class ImageSettings(_Group):
    """``[images]``: what can be started."""

    directories: tuple[Path, ...] = ()
    """Directories of additional images, each with an ``image.toml``."""


class TopicSettings(_Group):
    """``[topics]``: the embedded topics."""

    ca_bundle: Path | None = None
    """PEM file with authorities that https subscribers' certificates are checked against, besides the system's."""


class LogSettings(_Group):
    """``[log]``: the server's own log, on standard error."""

    level: Annotated[str, Field(pattern=r"^(debug|info|warning|error)$")] = "info"
    """debug, info, warning or error."""


class Settings(_Group):
    """All settings of one server."""

    data_dir: Path
    """DIR: holds everything."""
    environments_dir: Path | None = None
    """Where the images' environments are kept; left out: ``DIR/environments``. Several servers may share it."""
    server: ServerSettings = ServerSettings()
    scope: ScopeSettings = ScopeSettings()
    queue: QueueSettings = QueueSettings()
    retention: RetentionSettings = RetentionSettings()
    engine: EngineSettings = EngineSettings()
    images: ImageSettings = ImageSettings()
    topics: TopicSettings = TopicSettings()
    log: LogSettings = LogSettings()


def load(data_dir: Path, flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Merge all sources for a data directory. ``flags`` is nested like the settings; None values count as not given.

    Errors: InvalidRequest naming the source, the key and what was expected.
    """
    file = data_dir / "tarry.toml"
    layers = [("tarry.toml", _read_toml(file)), ("the environment", _read_environ(environ)), ("the command line", _given(flags))]
    merged: dict[str, Any] = {}
    for source, values in layers:
        _check(source, values, data_dir)
        merged = _merge(merged, values)
    settings = Settings(**{**merged, "data_dir": data_dir})
    if (settings.server.tls_cert is None) != (settings.server.tls_key is None):
        raise InvalidRequest("server.tls_cert and server.tls_key go together: give both or neither.")
    return settings


def _check(source: str, values: Mapping[str, Any], data_dir: Path) -> None:
    if "data_dir" in values:
        raise InvalidRequest(f"Setting 'data_dir' from {source}: it is given as --data-dir or {DATA_DIR_VARIABLE}.")
    try:
        Settings(**{**values, "data_dir": data_dir})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(all)"
        what = "no such setting; docs/operations.md lists them all" if first["type"] == "extra_forbidden" else first["msg"]
        raise InvalidRequest(f"Setting {key!r} from {source}: {what} (got {first.get('input')!r}).") from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{file} is not valid TOML: {error}.") from None


def _read_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """TARRY_GROUP__KEY variables as nested values; one that fits no group is kept so that ``_check`` refuses it."""
    groups: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name == DATA_DIR_VARIABLE:
            continue
        group, _, key = name.removeprefix(ENV_PREFIX).lower().partition(_DELIMITER)
        parsed = _from_json(name, value) if value[:1] in ("[", "{") else value
        if key:
            groups.setdefault(group, {})[key] = parsed
        else:
            groups[group] = parsed
    return groups


def _from_json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise InvalidRequest(f"{name} is not valid JSON: {error}.") from None


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    nested = {key: _given(value) if isinstance(value, Mapping) else value for key, value in flags.items()}
    return {key: value for key, value in nested.items() if value not in (None, {})}


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged
