"""Model servers as containers of a Docker daemon (or of Podman's compatible socket): real images, limits that hold.

Containers outlive this server. Their labels say which data directory and which start of which instance they belong to, so a
later server takes them over as they are, removes what an interrupted start has left, and never touches anything else. What the
engine knows of them it keeps in memory, by one watch each: a daemon that is away holds nobody up. Meanwhile instances serve on,
and starts and stops wait for it.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from tarry.backends.engines.docker_containers import DockerContainers, RunningContainer
from tarry.backends.engines.docker_gpus import Gpus
from tarry.backends.engines.docker_options import OWNER_LABEL, PlacedContainer
from tarry.backends.engines.owner import TOKEN_FILE, read_or_make_token
from tarry.backends.engines.room import Room
from tarry.backends.engines.starts import Starts
from tarry.backends.engines.variables import Cloud
from tarry.backends.engines.volumes import instance_home
from tarry.backends.trees import discard_tree
from tarry.core.errors import InstanceStartError
from tarry.core.placement import Machine
from tarry.ports import EngineStatus, InstanceSpec

log = structlog.get_logger(__name__)

_UNDO_S = 30.0


class DockerEngine:
    """ports.Engine on a Docker daemon. ``open`` before use, ``close`` at the end; both belong to the server's main thread."""

    def __init__(
        self,
        directory: Path,
        containers: DockerContainers,
        *,
        region: str,
        cloud: Cloud | None = None,
        gpus: Sequence[str] = (),
        room: Room | None = None,
    ) -> None:
        """``directory`` is the server's data directory, which the daemon has to see under the same path.

        ``cloud`` is where containers reach this server, with GATEWAY for the machine's address on their network; None: nowhere.
        """
        self._directory = directory
        self._containers = containers
        self._region = region
        self._cloud = cloud
        self._room = room or Room()
        self._gpus = Gpus(gpus)
        self._owner = ""
        self._starts = Starts()
        self._running: dict[str, tuple[RunningContainer, ...]] = {}
        self._ends: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Take over the instances of an earlier server of this directory.

        Errors: DockerAway, DockerRefused: without a daemon that answers nothing can be known of them.
        """
        self._owner = read_or_make_token(self._directory / TOKEN_FILE)
        self._running = dict(await self._containers.open(self._owner))
        for instance_id, running in self._running.items():
            labels = running[0].watch.labels
            self._room.occupy(instance_id, labels.instance_type)
            self._gpus.occupy(instance_id, labels.gpus)
            log.info("taken over a running instance", instance=instance_id, endpoint=labels.endpoint_name)
        await asyncio.to_thread(self._clear_homes)

    async def close(self, *, keep: bool, grace_s: float = 10.0) -> None:
        """End all starts. With ``keep`` instances run on, without it they are stopped, as far as the daemon answers."""
        await asyncio.gather(*(self._starts.end(instance_id) for instance_id in self._starts.ids))
        if not keep:
            ends = [self._end(instance_id, grace_s) for instance_id in list(self._running)]
            if ends:
                await asyncio.wait(ends, timeout=grace_s + _UNDO_S)
        for end in list(self._ends.values()):
            end.cancel()
        await asyncio.gather(*self._ends.values(), return_exceptions=True)
        if self._running:
            log.info("instances run on in their containers", count=len(self._running), label=f"{OWNER_LABEL}={self._owner}")
        await asyncio.gather(*(one.watch.close() for running in self._running.values() for one in running))
        await self._containers.close()

    async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """See ports.Engine. Returns when the containers have been started: nobody else can be reached at their addresses."""
        running = self._running.get(spec.instance_id)
        if running is not None and _ended(running) is None:
            return _addresses(running)
        if spec.instance_id not in self._starts.ids:
            self._room.take(spec.instance_id, spec.instance_type)
        try:
            return await self._starts.run(spec.instance_id, lambda: self._start(spec), lambda: self._started(spec.instance_id))
        except asyncio.CancelledError:
            await self.stop(spec.instance_id, grace_s=0.0)
            raise

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """See ports.Engine. An instance that is being started is stopped too. A daemon that is away is waited for."""
        await self._starts.end(instance_id)
        if instance_id in self._running:
            await asyncio.shield(self._end(instance_id, grace_s))

    async def observe(self) -> list[EngineStatus]:
        """See ports.Engine. The daemon is not asked: while it is away, nothing is known to have changed."""
        return [_status(instance_id, running) for instance_id, running in self._running.items()]

    async def measure(self) -> Machine:
        """See ports.Engine."""
        return self._room.measure()

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """See ports.Engine."""
        return await asyncio.to_thread(self._containers.log_tail, instance_id, lines)

    async def _start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """All containers or none: what has been started is removed again when another one cannot be."""
        home = instance_home(self._directory, spec.instance_id)
        daemon = await self._containers.daemon(within_s=spec.startup_timeout_s)
        await asyncio.shield(self._end(spec.instance_id, 0.0))  # what is left of an earlier start, also one that was cut short
        started: list[RunningContainer] = []
        try:
            await self._containers.make_network(self._owner, spec, daemon)
            place = PlacedContainer(
                instance=spec,
                index=0,
                owner=self._owner,
                attempt=secrets.token_hex(8),
                home=home,
                region=self._region,
                cloud=await self._containers.cloud_of(self._cloud, spec),
                gpus=self._gpus.take(spec.instance_id, spec.instance_type),
            )
            for index in range(len(spec.containers)):
                placed = replace(place, index=index, home=home / str(index))
                started.append(await self._containers.start(placed, daemon))
        except BaseException as error:
            # One that cannot be undone now goes on being undone: a daemon that went away is waited for.
            await asyncio.wait({self._end(spec.instance_id, 0.0, started)}, timeout=_UNDO_S)
            if isinstance(error, OSError):
                raise InstanceStartError(f"The instance could not be started: {error}.") from error
            raise
        self._running[spec.instance_id] = tuple(started)
        log.info("instance started", instance=spec.instance_id, endpoint=spec.endpoint_name, addresses=_addresses(started))
        return _addresses(started)

    def _started(self, instance_id: str) -> None:
        """A start or an end is over: what the instance has taken is given back, unless it runs."""
        if instance_id not in self._running:
            self._room.give_back(instance_id)
            self._gpus.give_back(instance_id)

    def _end(self, instance_id: str, grace_s: float, started: Sequence[RunningContainer] = ()) -> "asyncio.Task[None]":
        """The task that ends an instance; there is one at a time, and it goes on when nobody waits for it any more."""
        task = self._ends.get(instance_id)
        if task is None:
            running = self._running.get(instance_id, tuple(started))
            task = asyncio.create_task(self._end_all(instance_id, running, grace_s), name=f"end {instance_id}")
            self._ends[instance_id] = task
            task.add_done_callback(lambda done: self._has_ended(instance_id, done))
        return task

    def _has_ended(self, instance_id: str, task: "asyncio.Task[None]") -> None:
        self._ends.pop(instance_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an instance's containers could not be removed", instance=instance_id, error=str(error))

    async def _end_all(self, instance_id: str, running: Sequence[RunningContainer], grace_s: float) -> None:
        await self._containers.end(self._owner, instance_id, running, grace_s)
        self._running.pop(instance_id, None)
        if instance_id not in self._starts.ids:
            self._started(instance_id)
        await asyncio.to_thread(discard_tree, instance_home(self._directory, instance_id))

    def _clear_homes(self) -> None:
        for home in (self._directory / "instances").glob("*"):
            if home.name not in self._running:
                discard_tree(home)


def _addresses(running: Sequence[RunningContainer]) -> tuple[str, ...]:
    return tuple(one.address for one in running)


def _ended(running: Sequence[RunningContainer]) -> int | None:
    """Which container has ended, the first of them; None while all run."""
    return next((index for index, one in enumerate(running) if one.watch.end is not None), None)


def _status(instance_id: str, running: Sequence[RunningContainer]) -> EngineStatus:
    ended = _ended(running)
    end = None if ended is None else running[ended].watch.end
    return EngineStatus(
        instance_id=instance_id,
        addresses=_addresses(running),
        exit_code=None if end is None else end.exit_code,
        ended=ended,
        running_s=time.monotonic() - max(one.started_at for one in running),
        cause=None if end is None else end.cause,
    )
