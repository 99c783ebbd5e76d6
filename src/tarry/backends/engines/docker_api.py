"""The Docker daemon as the engine speaks to it: few calls, each with a time limit, errors translated once.

All dictionaries of Docker's API end here. Podman's compatible socket answers the same calls.
"""

import asyncio
import base64
import contextlib
import json
import math
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog
from aiodocker import Docker, DockerError

from tarry.core.errors import InstanceStartError

log = structlog.get_logger(__name__)

SCHEME = "unix://"
_BASE = "http://docker"  # HTTP wants some name
_CALL_S = 120.0
_CONNECT_S = 5.0
_PULL_SILENCE_S = 300.0
_NEVER = "0001-01-01T00:00:00Z"  # Docker's word for: has not happened
_NO_CONNECTION = 900  # aiodocker's number for it, among those of HTTP


class DockerAway(InstanceStartError):
    """The daemon does not answer. It may be back in a moment."""


class DockerRefused(InstanceStartError):
    """The daemon has answered with an error: ``status`` is that of HTTP, 0 where it came in the middle of an answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """What the daemon says of itself and of its machine.

    ``reaches_containers``: their own addresses can be reached from here. ``limits_memory``: it can hold containers to a limit.
    """

    name: str
    podman: bool
    reaches_containers: bool
    limits_memory: bool
    cpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """One container, as ``docker inspect`` shows it. ``port`` is where its server is published, ``ip`` its own address.

    ``started_at``: seconds since the epoch; None: it never was.
    """

    id: str
    labels: Mapping[str, str]
    started_at: float | None
    running: bool
    exit_code: int
    out_of_memory: bool
    memory_bytes: int
    port: int | None
    ip: str | None


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Something that a container has written, and when: nanoseconds since the epoch."""

    at_ns: int
    content: bytes


class DockerApi:
    """One connection pool to one daemon. ``close`` at the end; made and used on one event loop."""

    def __init__(self, host: str) -> None:
        """``host`` is ``unix:///path``."""
        self.host = host
        # No limit: every running container holds two connections, for its end and for its log.
        self._connector = aiohttp.UnixConnector(host.removeprefix(SCHEME), limit=0)
        limits = aiohttp.ClientTimeout(total=_CALL_S, sock_connect=_CONNECT_S)
        self._docker = Docker(_BASE, connector=self._connector, timeout=limits)
        self._making_networks = asyncio.Lock()
        self._away = False

    async def close(self) -> None:
        """Close all connections."""
        await self._docker.close()
        await self._connector.close()

    # ------------------------------------------------------------------------------------------------------- the daemon

    async def daemon(self) -> Daemon:
        """Errors: DockerAway, DockerRefused, as for everything below."""
        with self._translated():
            version, info = await self._docker.version(), await self._docker.system.info()
        components = {str(one.get("Name")) for one in version.get("Components") or ()}
        system = str(info.get("OperatingSystem"))
        rootless = any("rootless" in str(option) for option in info.get("SecurityOptions") or ())
        podman = "Podman Engine" in components
        return Daemon(
            name=f"{'Podman' if podman else 'Docker'} {version.get('Version')}",
            podman=podman,
            reaches_containers=not rootless and "Docker Desktop" not in system,
            limits_memory=bool(info.get("MemoryLimit")),
            cpus=int(info["NCPU"]),
            memory_bytes=int(info["MemTotal"]),
        )

    # ------------------------------------------------------------------------------------------------------- containers

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        """Create a container from a configuration of Docker's API; its id."""
        with self._translated():
            return (await self._docker.containers.create(dict(config), name=name)).id

    async def start(self, container_id: str) -> None:
        """Start a container that has been created."""
        with self._translated():
            await self._docker.containers.container(container_id).start()

    async def find(self, labels: Mapping[str, str]) -> list[ContainerFacts]:
        """All containers with these labels, ended ones too."""
        with self._translated():
            listed = await self._docker.containers.list(all=True, filters=_having(labels))
        found = []
        for one in listed:
            with _unless_gone():
                found.append(await self.inspect(one.id))
        return found

    async def inspect(self, container_id: str) -> ContainerFacts:
        """Errors: DockerRefused (404) for one that is gone."""
        with self._translated():
            shown = await self._docker.containers.container(container_id).show()
        return _facts(shown)

    async def wait(self, container_id: str) -> None:
        """Returns when the container does not run any more."""
        with self._translated():
            await self._docker.containers.container(container_id).wait()

    async def stop(self, container_id: str, grace_s: float) -> None:
        """SIGTERM, SIGKILL after the grace; returns when it has ended. One that has ended, or is gone, is no error."""
        limit = aiohttp.ClientTimeout(total=grace_s + _CALL_S, sock_connect=_CONNECT_S)
        with self._translated(), _unless_gone():
            await self._docker.containers.container(container_id).stop(t=math.ceil(grace_s), timeout=limit)

    async def remove(self, container_id: str) -> None:
        """Remove a container, with its own volumes, at once. One that is gone is no error."""
        with self._translated(), _unless_gone():
            await self._docker.containers.container(container_id).delete(force=True, v=True)

    async def output(self, container_id: str, since_ns: int) -> AsyncGenerator[LogPiece]:
        """What the container writes, from a moment on, until it ends or the daemon goes away."""
        since = f"{since_ns // 10**9}.{since_ns % 10**9:09}"
        asked = {"stdout": "1", "stderr": "1", "follow": "1", "timestamps": "1", "since": since}
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        async with self._stream("GET", f"containers/{container_id}/logs", params=asked, timeout=limit) as response:
            # Docker's own framing: which of the two outputs, three unused bytes, the length; then the piece.
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    header = await response.content.readexactly(8)
                    yield _log_piece(await response.content.readexactly(int.from_bytes(header[4:])))

    # ----------------------------------------------------------------------------------------------- images and networks

    async def has_image(self, reference: str) -> bool:
        """Whether the daemon has an image of this name. The reference has been checked."""
        try:
            with self._translated():
                await self._docker.images.inspect(reference)
        except DockerRefused as error:
            if error.status == 404:
                return False
            raise
        return True

    async def pull(self, reference: str, login: Mapping[str, str] | None) -> AsyncGenerator[Mapping[str, Any]]:
        """Pull an image; yields the daemon's words about it. The reference has a tag or a digest."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_PULL_SILENCE_S)
        headers = {} if login is None else {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}
        asked = {"fromImage": reference}
        async with self._stream("POST", "images/create", params=asked, headers=headers, timeout=limit) as response:
            async for line in response.content:
                said = json.loads(line)
                if "error" in said:
                    raise DockerRefused(0, str(said["error"]))
                yield said

    async def gateway(self, network: str) -> str | None:
        """The address that this machine has on a network; None where it has none, or there is no such network."""
        for one in await self._networks_named(network):
            return next((pool["Gateway"] for pool in one["IPAM"].get("Config") or () if pool.get("Gateway")), None)
        return None

    async def make_network(self, config: Mapping[str, Any], *, way_out: str) -> None:
        """Make a network, unless there is one of this name that is as this one would be.

        Errors: DockerRefused where there is another: who made it may have put anybody there. ``way_out`` says what to do then.
        """
        async with self._making_networks:  # an older daemon would make two of one name, and then find neither
            if not await self._has_network(config, way_out):
                with self._translated():
                    try:
                        await self._docker.networks.create({"CheckDuplicate": True, **config})
                        return
                    except DockerError as error:
                        if error.status != 409:
                            raise
                await self._has_network(config, way_out)  # somebody else was faster

    async def _has_network(self, config: Mapping[str, Any], way_out: str) -> bool:
        name = config["Name"]
        found = await self._networks_named(name)
        if differences := [said for one in found for said in _differences(one, config)]:
            raise DockerRefused(
                409, f"A Docker network {name} exists that is not this server's: {', '.join(differences)}. {way_out}"
            )
        return bool(found)

    async def _networks_named(self, name: str) -> list[Mapping[str, Any]]:
        with self._translated():
            found = await self._docker.networks.list(filters={"name": [name]})  # also those whose name has it as a part
        return [one for one in found if one["Name"] == name]

    async def networks(self, labels: Mapping[str, str]) -> list[str]:
        """The names of all networks with these labels."""
        with self._translated():
            found = await self._docker.networks.list(filters=_having(labels))
        return [str(one["Name"]) for one in found]

    async def remove_network(self, name: str) -> None:
        """Remove a network that nobody is on. One that is gone is no error."""
        with self._translated(), _unless_gone():
            await (await self._docker.networks.get(name)).delete()

    # ----------------------------------------------------------------------------------------------------------- errors

    @asynccontextmanager
    async def _stream(self, method: str, path: str, **more: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        """An answer that goes on for long. aiodocker would leave its connection open where nobody waits for the end."""
        with self._translated():
            version = self._docker.api_version  # known since the first call
            async with self._docker.session.request(method, f"{_BASE}/{version}/{path}", **more) as response:
                if response.status >= 400:
                    raise DockerRefused(response.status, str((await response.json()).get("message")))
                yield response

    @contextmanager
    def _translated(self) -> Iterator[None]:
        who = f"Docker daemon at {self.host}"
        try:
            yield
            self._say_away(None)
        except DockerError as error:
            if error.status == _NO_CONNECTION:
                self._say_away(_reason(error))
                raise DockerAway(f"The {who} does not answer ({_reason(error)}): is it running, and may we open it?") from error
            self._say_away(None)
            raise DockerRefused(error.status, error.message) from error
        except TimeoutError as error:
            raise DockerAway(f"The {who} does not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise DockerAway(f"The connection to the {who} broke.") from error

    def _say_away(self, reason: str | None) -> None:
        """Once in the log that the daemon is away, and once that it is there again."""
        if reason is not None and not self._away:
            log.warning(
                "the Docker daemon does not answer: instances start and stop when it does, those that ended with it get no work",
                host=self.host,
                reason=reason,
            )
        elif reason is None and self._away:
            log.info("the Docker daemon answers again", host=self.host)
        self._away = reason is not None


@contextmanager
def _unless_gone() -> Iterator[None]:
    """What is about a thing that is not there any more, or on its way out, is done."""
    try:
        yield
    except (DockerError, DockerRefused) as error:
        if error.status not in (404, 409):
            raise


def _having(labels: Mapping[str, str]) -> dict[str, list[str]]:
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """In what a network is not as it was wanted."""
    for name, expected in wanted.items():
        if isinstance(expected, Mapping):
            yield from _differences(found.get(name) or {}, expected)
        elif found.get(name) != expected:
            yield f"{name} is {found.get(name, 'not set')} (expected {expected})"


def _reason(error: DockerError) -> str:
    cause = error.__context__
    return str(getattr(cause, "strerror", None) or cause or error.message).rstrip(".")


def _facts(shown: Mapping[str, Any]) -> ContainerFacts:
    state, host, networks = shown["State"], shown["HostConfig"], shown["NetworkSettings"].get("Networks") or {}
    ports = [
        int(one["HostPort"]) for bound in (host.get("PortBindings") or {}).values() for one in bound or () if one["HostPort"]
    ]
    addresses = [one["IPAddress"] for one in networks.values() if one.get("IPAddress")]
    return ContainerFacts(
        id=shown["Id"],
        labels=shown["Config"].get("Labels") or {},
        started_at=None if state["StartedAt"] == _NEVER else _moment_ns(state["StartedAt"]) / 10**9,
        running=bool(state["Running"]),
        exit_code=int(state["ExitCode"]),
        out_of_memory=bool(state["OOMKilled"]),
        memory_bytes=int(host.get("Memory") or 0),
        port=ports[0] if ports else None,
        ip=addresses[0] if addresses else None,
    )


def _log_piece(piece: bytes) -> LogPiece:
    """``2026-11-23T10:00:00.123456789Z the line``: each piece begins with its time, also one in the middle of a long line."""
    stamp, _, content = piece.partition(b" ")
    try:
        return LogPiece(_moment_ns(stamp.decode("ascii", "replace")), content)
    except ValueError:
        return LogPiece(0, piece)


def _moment_ns(text: str) -> int:
    """Nanoseconds since the epoch; ``datetime`` alone would keep microseconds. Errors: ValueError."""
    moment = datetime.fromisoformat(text)
    fraction = text.partition(".")[2].rstrip("Z").partition("+")[0]
    seconds = int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())
    return seconds * 10**9 + int(fraction.ljust(9, "0")[:9])
