"""The loop that makes endpoints what their callers desire: observe, plan (pure), act.

It is woken by hints and looks again every second. It knows nothing but rows: stopped anywhere and started again, it goes on.
Long work (starting an instance, testing topics) is handed to tasks that write their result into a row.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, TypeVar

import structlog

from tarry.control.actions import Actions
from tarry.control.concurrency import Concurrency
from tarry.control.instance_keys import InstanceKeys
from tarry.control.instances import InstanceKeeper, InstanceLimits
from tarry.control.topic_tests import TopicTests
from tarry.core.deployment import Deployment, DeploymentState, Routing
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import Conflict, DependencyError, StorageFull, TarryError, Throttled
from tarry.core.history import InvocationRecord
from tarry.core.instance import ENDED, Instance, InstanceState
from tarry.core.invocation import TERMINAL, InvocationState
from tarry.core.planning import EndpointView, plan
from tarry.ports import (
    CHANNEL_ENDPOINTS,
    Alarms,
    AlarmState,
    Clock,
    Engine,
    EngineStatus,
    Ids,
    Images,
    ModelServer,
    Notifier,
    Replace,
    Store,
    Wakeups,
)

T = TypeVar("T", Deployment, Instance)

log = structlog.get_logger(__name__)

POLL_S = 1.0

_ENDPOINTS = tuple(status for status in EndpointStatus if status is not EndpointStatus.DELETED)
_DEPLOYMENTS = tuple(state for state in DeploymentState if state is not DeploymentState.STOPPED)
_UNFINISHED = tuple(state for state in InvocationState if state not in TERMINAL)


class _AlarmStates(TypedDict):
    """Two fields of a view."""

    ringing: frozenset[str]
    unread_alarms: frozenset[str]


class Reconciler:
    """Makes current match desired, for all endpoints."""

    def __init__(  # noqa: PLR0913, PLR0917 - it connects ports
        self,
        store: Store,
        engine: Engine,
        model_server: ModelServer,
        images: Images,
        notifier: Notifier,
        alarms: Alarms,
        keys: InstanceKeys,
        clock: Clock,
        ids: Ids,
        wakeups: Wakeups,
        limits: InstanceLimits | None = None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._alarms = alarms
        self._keys = keys
        self._clock = clock
        self._wakeups = wakeups
        self._limits = limits or InstanceLimits()
        self._keeper = InstanceKeeper(store, engine, model_server, images, keys, clock, wakeups, self._limits)
        self._topics = TopicTests(store, notifier, clock, wakeups)
        self._actions = Actions(store, self._keeper, self._topics, Concurrency(engine, images), clock, ids)

    async def run(self) -> None:
        """Reconcile until cancelled; ``close`` comes after it."""
        async with self._wakeups.listen(CHANNEL_ENDPOINTS) as hints:
            while True:
                try:
                    await self.reconcile()
                except TarryError as error:
                    log.warning("the endpoints could not be read, trying again", error=str(error))
                await hints.wait(POLL_S)

    async def close(self) -> None:
        """End the tasks that look after instances and topics. Instances run on until the engine is closed."""
        await self._keeper.close()
        await self._topics.close()

    async def take_over(self) -> None:
        """After a start, before anybody looks for work: instances that the engine does not know are Stopped.

        They ended with an earlier server, whose addresses may be somebody else's by now. Their keys are revoked.
        Errors: StorageFull, Throttled.
        """
        known = {status.instance_id for status in await self._engine.observe()}
        for row in await self._store.find(Instance, state=tuple(set(InstanceState) - ENDED)):
            if row.id not in known:
                await self._store.apply(Replace(replace(row, state=InstanceState.STOPPED, ended_at_us=self._clock.now_us())))
        await self._keys.sweep(known)

    async def reconcile(self) -> None:
        """One pass over all endpoints. What goes wrong with one of them does not hold up the others."""
        known = await self._engine.observe()
        for view in await self._observe(known):
            try:
                for action in plan(view):
                    await self._actions.carry_out(view, action)
            except Conflict:
                continue  # a row changed since it was read: the next pass plans with what it is now
            except (StorageFull, Throttled) as error:
                log.warning("an endpoint's rows could not be written yet", endpoint=view.endpoint.name, error=str(error))
            except Exception:
                log.exception("an endpoint could not be reconciled", endpoint=view.endpoint.name)

    async def _observe(self, known: Sequence[EngineStatus]) -> list[EndpointView]:
        """The engine was asked before: what it knows and no live row names was started by a row that is gone."""
        endpoints = await self._store.find(Endpoint, status=_ENDPOINTS)
        deployments = _by_endpoint(await self._store.find(Deployment, state=_DEPLOYMENTS))
        rows = await self._store.find(Instance, state=tuple(InstanceState))
        instances = _by_endpoint(rows)
        self._stop_strays(known, rows)
        busy = await self._busy(rows)
        running = frozenset(status.instance_id for status in known)
        routings = {routing.id: routing for routing in await self._store.find(Routing)}
        freed_at_us = max((row.ended_at_us or 0 for row in rows if not row.out_of_capacity), default=0)
        return [
            EndpointView(
                endpoint=endpoint,
                deployments=tuple(sorted(deployments[endpoint.id], key=lambda one: one.generation)),
                instances=tuple(instances[endpoint.id]),
                routing=routings.get(endpoint.id),
                now_us=self._clock.now_us(),
                attended=self._keeper.attended,
                running=running,
                busy=busy,
                **await self._alarm_states(deployments[endpoint.id]),
                unfinished=await self._unfinished(endpoint),
                freed_at_us=freed_at_us,
                provision_timeout_s=self._limits.provision_timeout_s,
            )
            for endpoint in endpoints
        ]

    def _stop_strays(self, known: Sequence[EngineStatus], rows: Iterable[Instance]) -> None:
        live = {row.id for row in rows if row.state not in ENDED}
        for status in known:
            if status.instance_id not in live and status.instance_id not in self._keeper.attended:
                log.warning("the engine runs an instance that no row knows of", instance_id=status.instance_id)
                self._keeper.stop(status.instance_id)

    async def _busy(self, rows: Iterable[Instance]) -> Mapping[str, int]:
        draining = [row.id for row in rows if row.state is InstanceState.DRAINING]
        if not draining:
            return {}
        found = await self._store.find(InvocationRecord, instance_id=draining, state=InvocationState.RUNNING)
        longest_s: dict[str, int] = defaultdict(int)
        for record in found:
            if record.instance_id is not None:
                longest_s[record.instance_id] = max(longest_s[record.instance_id], record.invocation.timeout_s)
        return longest_s

    async def _alarm_states(self, deployments: Sequence[Deployment]) -> _AlarmStates:
        """Those that watch a rollout: which are in ALARM, and which cannot be read, or are gone."""
        watched = [one.rollout.config.alarms for one in deployments if one.state is DeploymentState.SHIFTING]
        names = sorted({name for alarms in watched for name in alarms})
        if not names:
            return _AlarmStates(ringing=frozenset(), unread_alarms=frozenset())
        try:
            states = await self._alarms.states(names)
        except DependencyError as error:
            log.warning("the alarms of an update could not be read, it waits", alarms=names, error=str(error))
            return _AlarmStates(ringing=frozenset(), unread_alarms=frozenset(names))
        if gone := [name for name in names if name not in states]:
            log.warning("alarms of an update are gone, it waits until they are there again", alarms=gone)
        ringing = frozenset(name for name, state in states.items() if state is AlarmState.ALARM)
        return _AlarmStates(ringing=ringing, unread_alarms=frozenset(gone))

    async def _unfinished(self, endpoint: Endpoint) -> bool:
        if endpoint.status is not EndpointStatus.DELETING:
            return False
        return bool(await self._store.find(InvocationRecord, limit=1, endpoint_id=endpoint.id, state=_UNFINISHED))


def _by_endpoint(rows: Iterable[T]) -> dict[str, list[T]]:
    grouped: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        grouped[row.endpoint_id].append(row)
    return grouped
