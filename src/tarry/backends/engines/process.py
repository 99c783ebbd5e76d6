"""Model servers as plain processes of this machine: nothing to install, gone when the server is gone.

Each instance has a directory of its own (home, temporary files, ``opt/ml`` with its model), an environment built from nothing, a
port, a log file, a session of processes and, where there is bubblewrap, a sandbox. Three things keep it from outliving its
server: the kernel kills the first process when the server dies, the engine ends the whole tree when that process ends, and a
token in the environment, which names this data directory, lets the next start find what still survived. Nothing without that
token is ever touched.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.containers import Containers, Place, RunningProcess
from tarry.backends.engines.homes import Home, Sandbox
from tarry.backends.engines.logs import LogFiles
from tarry.backends.engines.owner import TOKEN_FILE, read_or_make_token
from tarry.backends.engines.processes import end_carriers
from tarry.backends.engines.room import Room
from tarry.backends.engines.sandbox import NoSandbox
from tarry.backends.engines.starts import Starts
from tarry.backends.engines.variables import Cloud
from tarry.backends.engines.volumes import CHANNELS, MODEL, instance_home, lay_out
from tarry.backends.images import ImageCatalogue, PreparedImage
from tarry.backends.model_data import ModelData
from tarry.backends.trees import discard_tree
from tarry.core.errors import InstanceStartError
from tarry.core.keys import HIDDEN
from tarry.core.placement import Machine
from tarry.ports import ContainerSpec, EngineStatus, InstanceSpec

log = structlog.get_logger(__name__)


class ProcessEngine:
    """ports.Engine on processes. ``start`` before use, ``close`` at the end; both belong to the server's main thread."""

    def __init__(  # noqa: PLR0913 - it connects parts
        self,
        directory: Path,
        *,
        images: ImageCatalogue,
        model_data: ModelData,
        ports: PortRange,
        region: str,
        cloud: Cloud | None = None,
        sandbox: Sandbox | None = None,
        room: Room | None = None,
        logs: LogFiles | None = None,
        processes_max: int | None = None,
    ) -> None:
        """``directory`` is the server's data directory: ``instances/``, ``logs/`` and ``engine-token`` are kept in it.

        ``processes_max``: of all processes and threads of the user that instances are.
        """
        self._directory = directory
        self._images = images
        self._model_data = model_data
        self._room = room or Room()
        self._logs = logs or LogFiles(directory)
        self._sandbox = sandbox or NoSandbox()
        self._cloud = cloud
        self._containers = Containers(ports, self._logs, self._sandbox, region, cloud, processes_max)
        self._token = ""
        self._starts = Starts()
        self._running: dict[str, tuple[RunningProcess, ...]] = {}

    async def open(self) -> None:
        """End what an earlier server of this directory left running, and remove its instance directories."""
        self._token = read_or_make_token(self._directory / TOKEN_FILE)
        ended = await end_carriers(self._token)
        if ended:
            log.warning("ended processes that an earlier server left behind", pids=ended)
        await asyncio.to_thread(discard_tree, self._directory / "instances")
        await self._model_data.start()

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Stop all instances, at once."""
        ids = {*self._starts.ids, *self._running}
        await asyncio.gather(*(self.stop(instance_id, grace_s=grace_s) for instance_id in ids))

    async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """See ports.Engine. Returns when the instance's own processes listen on the address, or have ended."""
        running = self._running.get(spec.instance_id)
        if running is not None and _exit_code(running) is None:
            return _addresses(running)
        if spec.instance_id not in self._starts.ids:
            self._room.take(spec.instance_id, spec.instance_type)
        try:
            return await self._starts.run(spec.instance_id, lambda: self._start(spec), lambda: self._started(spec.instance_id))
        except asyncio.CancelledError:
            await self.stop(spec.instance_id, grace_s=0.0)
            raise

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """See ports.Engine. An instance that is being started is stopped too."""
        await self._starts.end(instance_id)
        running = self._running.get(instance_id)
        if running is not None:
            await asyncio.gather(*(self._containers.end(one, grace_s) for one in running))
            await self._forget(instance_id)

    async def observe(self) -> list[EngineStatus]:
        """See ports.Engine."""
        return [
            EngineStatus(
                instance_id=instance_id,
                addresses=_addresses(running),
                exit_code=_exit_code(running),
                ended=_ended(running),
                running_s=time.monotonic() - max(one.started_at for one in running),
                cause=_cause(running),
            )
            for instance_id, running in self._running.items()
        ]

    async def recognise(self, port: int) -> bool:
        """Whether a connection that has just been made to an address' port is to that address' container. Errors: OSError."""
        return await self._containers.recognise(port)

    async def measure(self) -> Machine:
        """See ports.Engine."""
        return self._room.measure()

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """See ports.Engine."""
        tail = await asyncio.to_thread(self._logs.tail, instance_id, lines)
        return tuple(re.sub(rf"\b{self._token}/[\w/.-]*", HIDDEN, line) for line in tail)

    async def _start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """All containers or none: what has been started is ended again when another one cannot be."""
        if spec.instance_id in self._running:
            await self._clear(spec.instance_id)
            self._room.occupy(spec.instance_id, spec.instance_type)
        home = instance_home(self._directory, spec.instance_id)
        started: list[RunningProcess] = []
        try:
            await asyncio.to_thread(discard_tree, home)
            for index, container in enumerate(spec.containers):
                place = await self._prepare(spec, container, index, home)
                started.append(await self._containers.start(place))
        except BaseException as error:
            await asyncio.shield(self._undo(started, home))
            if isinstance(error, OSError):
                raise InstanceStartError(f"The instance could not be started: {error}.") from error
            raise
        self._running[spec.instance_id] = tuple(started)
        ports = [running.ports[0] for running in started]
        log.info("instance started", instance=spec.instance_id, endpoint=spec.endpoint_name, ports=ports)
        return _addresses(started)

    async def _clear(self, instance_id: str) -> None:
        """Clear away an instance one of whose containers has ended, before it is started again."""
        await asyncio.gather(*(self._containers.end(one, 0.0) for one in self._running[instance_id]))
        await self._forget(instance_id)

    async def _undo(self, started: Sequence[RunningProcess], home: Path) -> None:
        await asyncio.gather(*(self._containers.end(running, 0.0) for running in started))
        for running in started:
            self._containers.release(running)
        await asyncio.to_thread(discard_tree, home)

    async def _prepare(self, spec: InstanceSpec, container: ContainerSpec, index: int, home: Path) -> Place:
        """The image's environment and the model data of one container. Each has a home of its own."""
        image = await self._images.prepare(container.image)
        place = Place(
            instance=spec,
            container=container,
            image=image,
            home=Home(
                root=home / str(index),
                needed=self._needed(image),
                sealed=_model_directories(container),
                names=tuple(one.hostname for one in spec.containers if one.hostname is not None),
            ),
            token=f"{self._token}/{spec.instance_id}/{index}/{secrets.token_hex(8)}",  # no other instance can know it
        )
        await asyncio.to_thread(self._sandbox.make, place.home)
        await lay_out(self._model_data, container, place.home.base, spec.model_data_timeout_s)
        await asyncio.to_thread(self._sandbox.hand_over, place.home)
        return place

    def _needed(self, image: PreparedImage) -> tuple[Path, ...]:
        certificate = None if self._cloud is None else self._cloud.ca_bundle
        return image.needed if certificate is None else (*image.needed, certificate)

    def _started(self, instance_id: str) -> None:
        if instance_id not in self._running:
            self._room.give_back(instance_id)

    async def _forget(self, instance_id: str) -> None:
        for running in self._running.pop(instance_id, ()):
            self._containers.release(running)
        self._room.give_back(instance_id)
        await asyncio.to_thread(discard_tree, instance_home(self._directory, instance_id))


def _addresses(running: Sequence[RunningProcess]) -> tuple[str, ...]:
    return tuple(one.address for one in running)


def _exit_code(running: Sequence[RunningProcess]) -> int | None:
    """None while all containers run."""
    ended = [one.exit_code for one in running if one.exit_code is not None]
    return ended[0] if ended else None


def _ended(running: Sequence[RunningProcess]) -> int | None:
    """Which container has ended, the first of them."""
    return next((index for index, one in enumerate(running) if one.exit_code is not None), None)


def _cause(running: Sequence[RunningProcess]) -> str | None:
    """What else is known of the end of that one."""
    ended = _ended(running)
    return None if ended is None else running[ended].cause


def _model_directories(container: ContainerSpec) -> tuple[str, ...]:
    """Those that are filled from S3.

    AWS: an endpoint's model directory is read-only (autogluon/autogluon#3064, aws/sagemaker-python-sdk#5698).
    """
    names = (MODEL if container.model_data is not None else None, CHANNELS if container.additional_model_data else None)
    return tuple(name for name in names if name is not None)
