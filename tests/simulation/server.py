"""One server of the simulation: the product's own parts, connected as ``bootstrap`` does, each port behind a gate.

It has two parts that can be taken apart: control (the reconciler) and delivery (intake and commands, slots, sweeper, dispatcher,
retention). A crash takes both at once; a delivery process that is superseded runs on for a while beside its successor.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tests.simulation.durable import SCOPE, Durable, Opened, Terms
from tests.simulation.gated import MANNERS, Gated, GatedControl, GatedObjects, GatedQueue
from tests.simulation.judge import Judge
from tests.simulation.loop import Part
from tests.simulation.machines import Machines, SimulatedEngine, SimulatedModels
from tests.simulation.weather import Gate, StormyWakeups, Weather

from tarry.bootstrap.build import Tarry
from tarry.control.commands import Commands
from tarry.control.context import Context
from tarry.control.instance_keys import InstanceKeys
from tarry.control.invocations import InvocationPorts
from tarry.control.reconciler import Reconciler
from tarry.control.retention import Retention
from tarry.core.invocation import InvokeRequest
from tarry.core.names import S3Location
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.dispatcher import Dispatcher
from tarry.delivery.intake import Intake
from tarry.delivery.settlement import Settlement
from tarry.delivery.slots import Slots
from tarry.delivery.sweeper import Sweeper
from tarry.delivery.worker import Worker
from tarry.ports import Engine, InvocationQueue, InvocationRecords, Notifier, Outbox, QueueControl, Store
from tarry.testing.alarms import FakeAlarms
from tarry.testing.images import FakeImages
from tarry.testing.instance_logs import FakeInstanceLogs
from tarry.testing.keyring import FakeKeyring
from tarry.testing.metrics import FakeMetrics
from tarry.testing.notifier import FakeNotifier

T = TypeVar("T")

DAY_S = 86_400


class ServerGone(Exception):
    """The server died, or was never there: whoever called it does not know what became of the call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything outside of a server. ``set_wall`` sets the wall clock forward or back, in seconds."""

    durable: Durable
    judge: Judge
    machines: Machines
    notifier: FakeNotifier
    weather: Weather
    terms: Terms
    set_wall: Callable[[float], None]
    on_call: Callable[[Part, str, tuple[Any, ...], Mapping[str, Any]], None]
    on_change: Callable[[Part], None]

    def gate(self, part: Part) -> Gate:
        """The gate of a part."""
        return Gate(part, self.weather, self.terms.chance, self.on_call, self.on_change, MANNERS)


class Server:
    """One server process, from its start to its end."""

    def __init__(self, number: int, world: World, engine: SimulatedEngine, *, engine_survives: bool) -> None:
        self.control = Part(f"control {number}")
        self.delivery = Part(f"delivery {number}")
        self.engine = engine
        self._engine_survives = engine_survives
        self._world = world
        self._tarry: Tarry | None = None

    # -------------------------------------------------------------------------------------------------- its life

    async def start(self) -> None:
        """Open what is durable, connect everything, start the loops. Errors: StorageFull, Throttled; ServerGone."""
        await self._within(self.delivery, self._start())

    async def stop(self, drain_s: float) -> None:
        """What SIGTERM does. Errors: ServerGone."""
        for part in (self.control, self.delivery):
            part.leaving = True
        await self._within(self.delivery, self._stop(drain_s))
        for part in (self.control, self.delivery):
            part.left = True
            part.kill()

    async def crash(self) -> None:
        """What SIGKILL does: from now on nothing that it does reaches anybody."""
        self.control.kill()
        self.delivery.kill()
        if not self._engine_survives:
            await self.engine.end_all("its server died")

    def hold(self) -> None:
        """What SIGSTOP does."""
        self.control.hold()
        self.delivery.hold()

    def let_go(self) -> None:
        """What SIGCONT does."""
        self.control.let_go()
        self.delivery.let_go()

    @property
    def broken(self) -> BaseException | None:
        """The bug that ended one of its loops."""
        failed = None if self._tarry is None else self._tarry.failed
        return failed.exception() if failed is not None and failed.done() and not failed.cancelled() else None

    # ----------------------------------------------------------------------------------------- what callers ask of it

    async def invoke(self, request: InvokeRequest) -> str:
        """InvokeEndpointAsync; the invocation's id. Errors: those of Intake, ServerGone."""
        self._require_door()
        return (await self._within(self.delivery, self._intake.invoke(request))).invocation.id

    async def ask(self, command: Callable[[Commands], Coroutine[Any, Any, T]]) -> T:
        """A command. Errors: the command's, ServerGone."""
        self._require_door()
        return await self._within(self.delivery, command(self._commands))

    async def put_input(self, key: str, body: bytes) -> None:
        """Store an object that requests may name."""
        await self._within(self.delivery, self._opened.put_input(key, body))

    async def read(self, uri: str) -> bytes:
        """The object at this URI."""

        async def read() -> bytes:
            async with self._opened.objects.open(S3Location.parse(uri)) as found:
                return b"".join([chunk async for chunk in found.chunks])

        return await self._within(self.delivery, read())

    def _require_door(self) -> None:
        if self._tarry is None or self.delivery.dead or self.delivery.leaving:
            raise ServerGone

    @staticmethod
    async def _within(part: Part, work: Coroutine[Any, Any, T]) -> T:
        task = part.spawn(work)
        await asyncio.wait({task})
        if task.cancelled():
            raise ServerGone
        return task.result()

    # ------------------------------------------------------------------------------------------------ how it is built

    async def _start(self) -> None:
        world = self._world
        wakeups = StormyWakeups(world.weather, world.terms.chance)
        async with AsyncExitStack() as resources:
            opened = self._opened = await world.durable.open_delivery(self.delivery, wakeups)
            resources.push_async_callback(opened.close)
            if not self._engine_survives:
                resources.push_async_callback(self._stop_engine)
            reconciler = self._control(await world.durable.open_store(self.control, wakeups), wakeups)
            resources.push_async_callback(reconciler.close)
            tarry = self._deliver(opened, wakeups, reconciler, resources.pop_all())
        await tarry.start()
        self._tarry = tarry

    def _control(self, store: Store, wakeups: StormyWakeups) -> Reconciler:
        world, gate = self._world, self._world.gate(self.control)
        return Reconciler(
            cast("Store", Gated("store", store, gate)),
            cast("Engine", Gated("engine", self.engine, gate)),
            SimulatedModels(world.machines, gate),
            FakeImages(),
            cast("Notifier", Gated("notifier", world.notifier, gate)),
            FakeAlarms(),
            InstanceKeys(FakeKeyring(), world.terms.clock),
            world.terms.clock,
            world.terms.ids,
            wakeups,
        )

    def _deliver(self, opened: Opened, wakeups: StormyWakeups, reconciler: Reconciler, resources: AsyncExitStack) -> Tarry:
        world, gate, ledger = self._world, self._world.gate(self.delivery), self._world.judge.ledger
        clock, ids, metrics = world.terms.clock, world.terms.ids, FakeMetrics()
        store = cast("Store", Gated("store", opened.store, gate))
        queue = cast("InvocationQueue", GatedQueue(opened.queue, gate, ledger))
        outbox = cast("Outbox", Gated("outbox", opened.outbox, gate))
        records = cast("InvocationRecords", Gated("records", opened.records, gate))
        control = cast("QueueControl", GatedControl(opened.control, gate, ledger))
        notifier = cast("Notifier", Gated("notifier", world.notifier, gate))
        objects = GatedObjects(opened.objects, gate, ledger)
        models = SimulatedModels(world.machines, gate, ledger.died)
        invocations = InvocationPorts(queue=queue, records=records, control=control, wakeups=wakeups)
        self._commands = Commands(
            Context(store=store, clock=clock, ids=ids, scope=SCOPE, objects=opened.objects), FakeAlarms(), invocations
        )
        endpoints = EndpointDirectory(store, clock, wakeups, SCOPE.region)
        self._intake = Intake(endpoints, queue, clock, ids)
        settlement = Settlement(queue, objects, records, clock, metrics)
        worker = Worker(queue, objects, models, records, settlement, clock)

        async def reconcile() -> None:
            await self.control.spawn(reconciler.run())

        slots = Slots(store, queue, worker, models, clock, wakeups, world.terms.lease_s)
        loops: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "endpoints": endpoints.run,
            "reconciler": reconcile,
            "slots": slots.run,
            "sweeper": Sweeper(queue, settlement, clock, wakeups, slots.renew).run,
            "retention": Retention(
                store, control, FakeInstanceLogs(), clock, finished_days=world.terms.finished_s / DAY_S, logs_days=1.0
            ).run,
            "dispatcher": Dispatcher(outbox, notifier, metrics, clock, wakeups).run,
        }
        return Tarry(cast("Any", None), self._commands, reconciler, slots, loops, resources)

    async def _stop(self, drain_s: float) -> None:
        if self._tarry is not None:
            await self._tarry.drain(drain_s)
            await self._tarry.close()

    async def _stop_engine(self) -> None:
        for status in await self.engine.observe():
            await self.engine.stop(status.instance_id)
