"""The containers of instances: started one by one, found again after a restart, stopped and removed with all that is theirs.

Everything is known by labels, so nothing here depends on what this process remembers.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.docker_api import ContainerFacts, Daemon, DockerApi, DockerAway, DockerRefused
from tarry.backends.engines.docker_images import DockerImages
from tarry.backends.engines.docker_options import (
    INSTANCE_LABEL,
    NETWORK,
    OWNER_LABEL,
    PORT,
    DockerOptions,
    Labels,
    PlacedContainer,
    container_config,
    isolated_network,
    isolated_network_config,
    shared_network_config,
)
from tarry.backends.engines.docker_watch import RETRY_S, Watch
from tarry.backends.engines.logs import LogFiles
from tarry.backends.engines.variables import GATEWAY, Cloud
from tarry.backends.engines.volumes import lay_out
from tarry.backends.model_data import ModelData
from tarry.core.errors import InstanceStartError
from tarry.ports import InstanceSpec

log = structlog.get_logger(__name__)

T = TypeVar("T")

_PORT_TRIES = 5
_PORT_WORDS = ("port is already allocated", "address already in use")
_LAST_WORDS_S = 10.0
_NOBODY = "http://127.0.0.1:0"
"""The address of a container that has ended and has none of its own: nobody can be asked there."""


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """A container that has been started, and where its server is; ``port``: published there, None: not published.

    ``started_at``: on the monotonic clock.
    """

    watch: Watch
    address: str
    port: int | None
    started_at: float


class DockerContainers:
    """Starts, finds and ends the containers of one data directory."""

    def __init__(
        self,
        api: DockerApi,
        images: DockerImages,
        model_data: ModelData,
        ports: PortRange,
        logs: LogFiles,
        options: DockerOptions,
    ) -> None:
        self._api = api
        self._images = images
        self._model_data = model_data
        self._ports = ports
        self._logs = logs
        self._options = options

    async def open(self, owner: str) -> Mapping[str, tuple[RunningContainer, ...]]:
        """Look who answers, and take over. Errors: DockerAway, DockerRefused."""
        daemon = await self.daemon()
        log.info("the Docker daemon answers", daemon=daemon.name, host=self._api.host)
        if not daemon.limits_memory:
            log.warning("the Docker daemon cannot limit memory here: a container may take all that the machine has")
        await self._model_data.start()
        return await self._take_over(owner)

    async def close(self) -> None:
        """Close the connections to the daemon."""
        await self._api.close()

    def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """The last lines that an instance has written; blocks."""
        return self._logs.tail(instance_id, lines)

    async def daemon(self, within_s: float = 0.0) -> Daemon:
        """What the daemon says of itself; one that is away is waited for. Errors: DockerAway."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                return await self._api.daemon()
            except DockerAway as error:
                if time.monotonic() >= deadline:
                    raise
                log.warning("waiting for the Docker daemon", error=str(error))
            await asyncio.sleep(RETRY_S)

    # ------------------------------------------------------------------------------------------------------------- start

    async def cloud_of(self, cloud: Cloud | None, spec: InstanceSpec) -> Cloud | None:
        """Where S3 and SNS are for an instance, whose network has been made; None where it cannot reach them."""
        if cloud is None or spec.network_isolation:
            return None
        if GATEWAY not in cloud.endpoint_url:
            return cloud
        gateway = await self._api.gateway(self._options.network or NETWORK)
        return None if gateway is None else replace(cloud, endpoint_url=cloud.endpoint_url.replace(GATEWAY, gateway))

    async def make_network(self, owner: str, spec: InstanceSpec, daemon: Daemon) -> None:
        """The network that an instance's containers are going to join. Errors: InstanceStartError."""
        if not spec.network_isolation:
            if self._options.network is None:
                await self._api.make_network(
                    shared_network_config(daemon),
                    way_out=f"Remove it (docker network rm {NETWORK}), and it is made anew; "
                    "or name in engine.docker_network the network that containers are to join.",
                )
            return
        if not daemon.reaches_containers:
            # OURS: an isolated container has no published port, and AWS never runs without root.
            raise InstanceStartError(
                f"EnableNetworkIsolation is not possible here: {daemon.name} runs without root or in a machine of its own, where "
                "the addresses of isolated containers cannot be reached."
            )
        config = isolated_network_config(owner, spec.instance_id)
        await self._api.make_network(config, way_out=f"Remove it: docker network rm {config['Name']}")

    async def start(self, place: PlacedContainer, daemon: Daemon) -> RunningContainer:
        """Start one container, once its image and model data are there. It may have ended when this returns.

        Errors: ImageNotFound, ImageBroken, ModelDataError, InstanceStartError, OSError. What is left then is ``remove``'s.
        """
        await self._images.provide(place.container.image)
        await asyncio.to_thread(place.home.mkdir, parents=True)
        await lay_out(self._model_data, place.container, place.home, place.instance.model_data_timeout_s)
        if place.instance.network_isolation:
            return await self._run(place, daemon)
        for _ in range(_PORT_TRIES):
            ports = self._ports.take()
            try:
                return await self._run(replace(place, port=ports[0]), daemon)
            except BaseException as error:
                self._ports.give_back(ports)
                if not (isinstance(error, InstanceStartError) and any(words in str(error) for words in _PORT_WORDS)):
                    raise
            log.warning("a port was taken by somebody else", port=ports[0], instance=place.instance.instance_id)
        raise InstanceStartError(f"{_PORT_TRIES} ports in a row were taken by other programs while the container started.")

    async def _run(self, place: PlacedContainer, daemon: Daemon) -> RunningContainer:
        try:
            container_id = await _to_its_end(self._api.create(place.name, container_config(place, self._options, daemon)))
            try:
                await _to_its_end(self._api.start(container_id))
            except DockerRefused:
                await self._api.remove(container_id)
                raise
            facts = await self._api.inspect(container_id)
        except DockerRefused as error:
            raise _cannot_start(place, error) from error
        return self._watched(facts)

    def _watched(self, facts: ContainerFacts) -> RunningContainer:
        labels = Labels.read(facts.labels)
        age_s = time.time() - (facts.started_at or time.time())
        return RunningContainer(
            Watch(self._api, self._logs, facts.id, labels), _address(facts), facts.port, time.monotonic() - age_s
        )

    # -------------------------------------------------------------------------------------------------------- take over

    async def _take_over(self, owner: str) -> Mapping[str, tuple[RunningContainer, ...]]:
        """The instances of an earlier server, by id, also those that have ended since: that has to be told.

        What an interrupted start has left is removed, and so are networks of instances that are gone.
        """
        by_instance: dict[str, list[ContainerFacts]] = defaultdict(list)
        for facts in await self._api.find({OWNER_LABEL: owner}):
            by_instance[facts.labels.get(INSTANCE_LABEL, "")].append(facts)
        found: dict[str, tuple[RunningContainer, ...]] = {}
        for instance_id, containers in by_instance.items():
            whole = _one_whole_start(containers)
            if whole is None:
                log.warning("removing what an interrupted start has left", instance=instance_id)
                await asyncio.gather(*(self._api.remove(facts.id) for facts in containers))
                continue
            found[instance_id] = tuple(self._watched(facts) for facts in whole)
            for facts in whole:
                if facts.port is not None:
                    self._ports.occupy(facts.port)
        wanted = {isolated_network(owner, instance_id) for instance_id in found}
        for name in await self._api.networks({OWNER_LABEL: owner}):
            if name not in wanted:
                await self._api.remove_network(name)
        return found

    # --------------------------------------------------------------------------------------------------------------- end

    async def end(self, owner: str, instance_id: str, running: Sequence[RunningContainer], grace_s: float) -> None:
        """SIGTERM, SIGKILL after the grace, then remove all that is the instance's; a daemon that is away is waited for."""
        while True:
            try:
                await self._end(owner, instance_id, running, grace_s)
                break
            except DockerAway as error:
                log.warning("an instance's end waits for the Docker daemon", instance=instance_id, error=str(error))
            await asyncio.sleep(RETRY_S)
        for one in running:
            await one.watch.close()
            if one.port is not None:
                self._ports.give_back(range(one.port, one.port + 1))

    async def _end(self, owner: str, instance_id: str, running: Sequence[RunningContainer], grace_s: float) -> None:
        containers = await self._api.find({OWNER_LABEL: owner, INSTANCE_LABEL: instance_id})
        await asyncio.gather(*(self._api.stop(facts.id, grace_s) for facts in containers))
        if running:  # their last words are on the way
            await asyncio.wait([asyncio.create_task(one.watch.ended.wait()) for one in running], timeout=_LAST_WORDS_S)
        await asyncio.gather(*(self._api.remove(facts.id) for facts in containers))
        await self._api.remove_network(isolated_network(owner, instance_id))


def _one_whole_start(containers: Sequence[ContainerFacts]) -> Sequence[ContainerFacts] | None:
    """The containers in their order, if they are all that one start was to make, and each has been started."""
    try:
        labels = {facts.id: Labels.read(facts.labels) for facts in containers}
    except (KeyError, ValueError):
        return None  # of a version that wrote other labels
    ordered = sorted(containers, key=lambda facts: labels[facts.id].index)
    first = labels[ordered[0].id]
    complete = [labels[facts.id].index for facts in ordered] == list(range(first.count))
    together = len({one.attempt for one in labels.values()}) == 1
    return ordered if complete and together and all(facts.started_at is not None for facts in ordered) else None


def _address(facts: ContainerFacts) -> str:
    if facts.port is not None:
        return f"http://127.0.0.1:{facts.port}"
    return _NOBODY if facts.ip is None else f"http://{facts.ip}:{PORT}"


def _cannot_start(place: PlacedContainer, error: DockerRefused) -> InstanceStartError:
    # AWS: the first two sentences (sagemaker-python-sdk#4615, comfyui-on-amazon-sagemaker#2); OURS: the daemon's words.
    hint = ""
    if "bind source path does not exist" in str(error):
        hint = " The Docker daemon has to see the server's data directory under the same path."
    return InstanceStartError(
        f"CannotStartContainerError. Please ensure the model container for variant {place.instance.variant_name} starts "
        f"correctly when invoked with 'docker run <image> serve'. The Docker daemon said: {str(error).strip().rstrip('.')}.{hint}"
    )


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """A request to the daemon is not taken back by hanging up: who is cancelled hears first what has become of it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()
        raise
