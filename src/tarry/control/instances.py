"""Looking after instances: one task each, from a Pending row to a dead process, so that no minute-long start blocks anyone.

The task starts the instance, waits for /ping, marks the row InService and watches until the end. It only ever writes its own
row; what follows from a row is the plan's business. A task that ends in a bug leaves the row as it was: the next pass
finds it unattended and looks after it again.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack

import structlog

from tarry.control.engine_statuses import EngineStatuses
from tarry.control.instance_keys import InstanceKeys
from tarry.core.catalog import Container
from tarry.core.deployment import Deployment
from tarry.core.endpoint import Endpoint
from tarry.core.errors import (
    Bug,
    Conflict,
    ImageBroken,
    ImageNotFound,
    InstanceStartError,
    InsufficientCapacity,
    ModelDataError,
    StorageFull,
    Throttled,
)
from tarry.core.instance import TRANSITIONS, Instance, InstanceState, explain_failure, ping_failure
from tarry.ports import (
    CHANNEL_ENDPOINTS,
    Clock,
    ContainerSpec,
    Engine,
    Images,
    InstanceSpec,
    ModelServer,
    PingAnswer,
    Replace,
    Store,
    Wakeups,
)

log = structlog.get_logger(__name__)

PING_TIMEOUT_S = 2.0  # AWS: each attempt may take at most 2 s (your-algorithms-inference-code)
STARTUP_PING_EVERY_S = 0.5
SAY_EVERY_S = 20.0
TELL_EVERY_S = 5.0
WATCH_EVERY_S = 2.0
LOOK_EVERY_S = STARTUP_PING_EVERY_S
SILENT_PINGS = 3
"""OURS: after so many pings in a row without 200 an instance gets no new work until it answers."""
LOG_LINES = 200
STORE_PAUSE_S = 1.0

START_ERRORS = (ImageNotFound, ImageBroken, ModelDataError, InstanceStartError)


def instance_spec(endpoint: Endpoint, deployment: Deployment, instance: Instance) -> InstanceSpec:
    """What the engine needs to start this instance. Errors: Bug where the deployment has no such variant."""
    for deployed in deployment.variants:
        if deployed.variant.name == instance.variant_name:
            model = deployed.model_for(instance.instance_type)
            # AWS: then a container has no credentials (SageMaker developer guide, "run in internet-free mode").
            isolated = model.network_isolation or deployment.config.network_isolation
            return InstanceSpec(
                instance_id=instance.id,
                endpoint_name=endpoint.name,
                variant_name=instance.variant_name,
                instance_type=instance.instance_type,
                containers=_container_specs(model.containers),
                model_data_timeout_s=deployed.variant.model_data_timeout_s,
                startup_timeout_s=deployed.variant.startup_timeout_s,
                role_arn=None if isolated else model.execution_role_arn,
                network_isolation=isolated,
            )
    raise Bug(f"Deployment {deployment.id} has no variant {instance.variant_name!r}.")


def _container_specs(containers: Sequence[Container]) -> tuple[ContainerSpec, ...]:
    if len(containers) == 1:
        return (_container_spec(containers[0], None),)
    # AWS: a container without a name gets one by its position (ContainerDefinition, API reference); OURS: this one.
    return tuple(_container_spec(one, one.hostname or f"container-{number}") for number, one in enumerate(containers, 1))


def _ping_failure(spec: InstanceSpec, container: int) -> str:
    return ping_failure(spec.endpoint_name, spec.variant_name, spec.instance_id, spec.containers[container].hostname)


def _unhealthy(answers: Sequence[PingAnswer]) -> str | None:
    """What the first of the containers that is not healthy answered; None: all are."""
    return next((one.said for one in answers if not one.healthy), None)


def _container_spec(container: Container, hostname: str | None) -> ContainerSpec:
    return ContainerSpec(
        image=container.image,
        hostname=hostname,
        model_data=container.model_data,
        additional_model_data=container.additional_model_data,
        environment=container.environment,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLimits:
    """How long is waited for an instance, in seconds."""

    unanswered_s: float = 180.0
    """AWS: one that leaves /ping unanswered for about 3 minutes is replaced (async-inference-troubleshooting, FAQ)."""
    stop_grace_s: float = 30.0
    """AWS: between SIGTERM and SIGKILL (your-algorithms-inference-code)."""
    provision_timeout_s: int = 300
    """For room, where the variant does not say. AWS: the least that a variant may say (ProductionVariant, API reference)."""


@dataclass(frozen=True, slots=True)
class _Death:
    """Why an instance is no more, and which of its containers ended first."""

    cause: str
    container: int = 0


class InstanceChanges(TypedDict, total=False):
    """What may change in an instance's row together with its state."""

    addresses: tuple[str, ...]
    ready_at_us: int
    unanswered_since_us: int | None
    ping_answer: str | None
    ended_at_us: int
    failure_reason: str
    out_of_capacity: bool


class InstanceKeeper:
    """The tasks that look after the instances of this process."""

    def __init__(  # noqa: PLR0913, PLR0917 - it connects ports
        self,
        store: Store,
        engine: Engine,
        model_server: ModelServer,
        images: Images,
        keys: InstanceKeys,
        clock: Clock,
        wakeups: Wakeups,
        limits: InstanceLimits,
    ) -> None:
        self._keys = keys
        self._store = store
        self._engine = engine
        self._model_server = model_server
        self._images = images
        self._clock = clock
        self._wakeups = wakeups
        self._statuses = EngineStatuses(engine, clock)
        self._limits = limits
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()

    @property
    def attended(self) -> frozenset[str]:
        """Ids of the instances that are looked after now, ending ones too."""
        return frozenset(self._tasks)

    def attend(self, instance: Instance, spec: InstanceSpec) -> None:
        """Look after an instance, from whatever state its row is in. Repeats change nothing."""
        if instance.id not in self._tasks:
            self._spawn(instance.id, self._keep(instance, spec))

    def stop(self, instance_id: str) -> None:
        """End an instance, also in the middle of its start; then its row is Stopped. Repeats change nothing."""
        if instance_id not in self._stopping:
            self._stopping.add(instance_id)
            self._spawn(instance_id, self._end(instance_id, self._tasks.get(instance_id)))

    async def close(self) -> None:
        """End all tasks; starts under way leave nothing behind, running instances go on until the engine is closed."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, instance_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"instance {instance_id}")
        self._tasks[instance_id] = task
        task.add_done_callback(lambda done: self._forget(instance_id, done))

    def _forget(self, instance_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(instance_id) is task:
            del self._tasks[instance_id]
            self._stopping.discard(instance_id)
            self._wakeups.notify(CHANNEL_ENDPOINTS)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("looking after an instance ended in an error", exc_info=error, instance_id=instance_id)

    # ------------------------------------------------------------------------------------------------------ one instance

    async def _keep(self, instance: Instance, spec: InstanceSpec) -> None:
        started = instance.state in (InstanceState.IN_SERVICE, InstanceState.DRAINING)
        addresses = instance.addresses if started else await self._start(instance, spec)
        if addresses is not None:
            cause = await self._watch(instance, addresses)
            await self._fail(instance.id, cause)

    async def _start(self, instance: Instance, spec: InstanceSpec) -> tuple[str, ...] | None:
        """Bring an instance to InService; its addresses, or None where it failed or is not wanted any more."""
        if instance.state is InstanceState.PENDING and not await self._move(instance.id, InstanceState.STARTING):
            return None
        try:
            for container in spec.containers:
                await self._images.check(container.image)
            addresses = await self._engine.start(await self._with_credentials(spec))
        except InsufficientCapacity as error:
            log.info(
                "there is no room for an instance, its pools are asked again",
                endpoint=spec.endpoint_name,
                variant=spec.variant_name,
                instance_type=spec.instance_type,
                reason=str(error),
            )
            await self._keys.revoke(instance.id)
            changes = InstanceChanges(ended_at_us=self._clock.now_us(), failure_reason=str(error), out_of_capacity=True)
            await self._move(instance.id, InstanceState.FAILED, **changes)
            return None
        except START_ERRORS as error:
            await self._fail(instance.id, str(error))
            return None
        except Exception as error:
            # A bug: the endpoint has to end and to say so, instead of trying the same for ever.
            log.exception("an instance could not be started", instance_id=instance.id)
            await self._fail(
                instance.id, f"Request to service failed: {type(error).__name__} while starting; see the server's log."
            )
            return None
        cause = await self._await_health(spec, addresses)
        if cause is not None:
            await self._fail(instance.id, cause)
            return None
        ready = await self._move(
            instance.id, InstanceState.IN_SERVICE, addresses=addresses, ready_at_us=self._clock.now_us(), ping_answer=None
        )
        return addresses if ready else None

    async def _with_credentials(self, spec: InstanceSpec) -> InstanceSpec:
        if spec.role_arn is None:
            return spec
        return replace(spec, credentials=await self._keys.make(spec.instance_id, spec.role_arn))

    async def _await_health(self, spec: InstanceSpec, addresses: Sequence[str]) -> str | None:
        """None as soon as /ping answers 200 in all containers, else why it never will."""
        started_at = self._clock.monotonic()
        status = await self._statuses.of(spec.instance_id, after=started_at)
        # One window for all: the engine has waited until the containers listened.
        deadline = started_at + spec.startup_timeout_s - (status.running_s if status is not None else 0.0)
        say_at, tell_at = started_at + SAY_EVERY_S, started_at + TELL_EVERY_S
        silent, told, answer = 0, None, None
        while self._clock.monotonic() < deadline:
            if (death := await self._death(spec.instance_id, started_at)) is not None:
                return f"{_ping_failure(spec, death.container)} {death.cause}"
            answers = await self._answers(addresses)
            if (answer := _unhealthy(answers)) is None:
                return None
            silent = next(place for place, one in enumerate(answers) if not one.healthy)
            if answer != told and self._clock.monotonic() >= tell_at and await self._write(spec.instance_id, ping_answer=answer):
                tell_at, told = self._clock.monotonic() + TELL_EVERY_S, answer
            if self._clock.monotonic() >= say_at:
                say_at += SAY_EVERY_S
                self._say_waiting(spec, await self._last_lines(spec.instance_id, 1))
            await self._clock.sleep(STARTUP_PING_EVERY_S)
        last = f" It last answered: {answer}" if answer else ""
        return f"{_ping_failure(spec, silent)} GET /ping did not answer 200 within {spec.startup_timeout_s} s.{last}"

    @staticmethod
    def _say_waiting(spec: InstanceSpec, last_line: tuple[str, ...]) -> None:
        """People who wait for an endpoint see that, and why, it is not there yet."""
        log.info(
            "an instance does not answer GET /ping with 200 yet",
            endpoint=spec.endpoint_name,
            instance_id=spec.instance_id,
            startup_timeout_s=spec.startup_timeout_s,
            last_log_line=last_line[0] if last_line else None,
        )

    async def _watch(self, instance: Instance, addresses: Sequence[str]) -> str:
        """Returns when the instance is no use any more, with the cause. Its row tells when it is silent."""
        answered_at, missed = self._clock.monotonic(), 0
        told_silent = instance.unanswered_since_us is not None
        looked_at = answered_at
        while True:
            await self._clock.sleep(max(looked_at + WATCH_EVERY_S - self._clock.monotonic(), 0.0))
            looked_at = self._clock.monotonic()
            if (death := await self._death(instance.id)) is not None:
                return death.cause
            if (answer := _unhealthy(await self._answers(addresses))) is None:
                answered_at, missed = self._clock.monotonic(), 0
            else:
                missed += 1
            silent_s = self._clock.monotonic() - answered_at
            # Not the time alone: this process may have been paused itself.
            if missed >= SILENT_PINGS and silent_s >= self._limits.unanswered_s:
                return f"The model server did not answer GET /ping with 200 for {self._limits.unanswered_s:g} s. Last: {answer}"
            silent = missed > 0 if told_silent else missed >= SILENT_PINGS
            if silent != told_silent and await self._tell(instance.id, silent_s if silent else None, answer):
                told_silent = silent

    async def _tell(self, instance_id: str, silent_s: float | None, answer: str | None) -> bool:
        """Write into the row since when it is silent, or that it is not; false where that did not go, now."""
        since_us = None if silent_s is None else self._clock.now_us() - int(silent_s * 1_000_000)
        if not await self._write(instance_id, unanswered_since_us=since_us, ping_answer=answer):
            return False
        if silent_s is None:
            log.info("an instance answers GET /ping again", instance_id=instance_id)
        else:
            log.warning(
                "an instance does not answer GET /ping: it gets no new work until it does, and is replaced in the end",
                instance_id=instance_id,
                silent_s=round(silent_s),
                replaced_after_s=self._limits.unanswered_s,
            )
        self._wakeups.notify(CHANNEL_ENDPOINTS)
        return True

    async def _write(self, instance_id: str, **changes: Unpack[InstanceChanges]) -> bool:
        """Change the row but not its state; false where that did not go, now."""
        row = await self._store.get(Instance, instance_id)
        if row is None:
            return False
        try:
            await self._store.apply(Replace(replace(row, **changes)))
        except (Conflict, StorageFull, Throttled):
            return False
        return True

    async def _answers(self, addresses: Sequence[str]) -> list[PingAnswer]:
        """What each of the containers answers to /ping."""
        return [await self._model_server.ping(address, timeout_s=PING_TIMEOUT_S) for address in addresses]

    async def _death(self, instance_id: str, started_at: float = 0.0) -> _Death | None:
        """How an instance has ended since it was started, if it has; a death may be noticed LOOK_EVERY_S later."""
        status = await self._statuses.of(instance_id, after=max(started_at, self._clock.monotonic() - LOOK_EVERY_S))
        if status is None:
            return _Death("The engine does not know the instance any more.")
        if status.exit_code is None:
            return None
        how = f"was ended by signal {-status.exit_code}" if status.exit_code < 0 else f"ended with exit code {status.exit_code}"
        return _Death(f"The model server {how}. {status.cause or ''}".rstrip(), status.ended or 0)

    async def _fail(self, instance_id: str, cause: str) -> None:
        reason = explain_failure(cause, await self._last_lines(instance_id, LOG_LINES))
        log.warning("an instance failed", instance_id=instance_id, cause=cause)
        await self._move(
            instance_id, InstanceState.FAILED, ended_at_us=self._clock.now_us(), failure_reason=reason
        )  # first the row, so that it gets no more work while it ends
        # Neither waits for the other: what its code has written down must be of no use, and a full disk must not keep it running.
        await asyncio.gather(self._keys.revoke(instance_id), self._engine.stop(instance_id, grace_s=self._limits.stop_grace_s))

    async def _last_lines(self, instance_id: str, count: int) -> tuple[str, ...]:
        """Of its log, for others to read."""
        return await self._keys.hide(instance_id, await self._engine.log_tail(instance_id, count))

    async def _end(self, instance_id: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            before.cancel()
            await asyncio.wait({before})
        await self._engine.stop(instance_id, grace_s=self._limits.stop_grace_s)
        await self._keys.revoke(instance_id)
        await self._move(instance_id, InstanceState.STOPPED, ended_at_us=self._clock.now_us())

    async def _move(self, instance_id: str, state: InstanceState, **changes: Unpack[InstanceChanges]) -> bool:
        """Change the row's state, as often as it takes; false where the row's own state does not allow it any more."""
        while True:
            row = await self._store.get(Instance, instance_id)
            if row is None or state not in TRANSITIONS[row.state]:
                return False
            try:
                await self._store.apply(Replace(replace(row, state=state, **changes)))
            except Conflict:
                continue
            except (StorageFull, Throttled) as error:
                log.warning("an instance's row could not be written yet", instance_id=instance_id, error=str(error))
                await self._clock.sleep(STORE_PAUSE_S)
                continue
            return True
