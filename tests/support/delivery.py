"""Delivery with fakes behind every port, on a clock that only moves when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.support import entities

from tarry.core.endpoint import Endpoint
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance
from tarry.core.invocation import Invocation, InvocationState
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.dispatcher import Dispatcher
from tarry.delivery.intake import Intake
from tarry.delivery.settlement import Settlement
from tarry.delivery.slots import Slots
from tarry.delivery.sweeper import Sweeper
from tarry.delivery.work import Work
from tarry.delivery.worker import Attempted, Worker
from tarry.ports import Add, Claim, Outgoing, Replace
from tarry.testing.clock import FakeClock
from tarry.testing.ids import FakeIds
from tarry.testing.invocations import FakeInvocationRecords, FakeQueueControl
from tarry.testing.metrics import FakeMetrics
from tarry.testing.modelserver import FakeAnswer, FakeModelServer
from tarry.testing.notifier import FakeNotifier
from tarry.testing.objects import FakeObjectStore
from tarry.testing.outbox import FakeOutbox
from tarry.testing.queue import FakeInvocationQueue
from tarry.testing.store import FakeStore
from tarry.testing.wakeups import FakeWakeups

ADDRESS = "http://model:1"


class World:
    """One endpoint with one instance, and everything of delivery connected to fakes."""

    def __init__(self) -> None:
        self.clock, self.ids, self.wakeups, self.metrics = FakeClock(), FakeIds(), FakeWakeups(), FakeMetrics()
        self.store = FakeStore()
        self.outbox = FakeOutbox(self.clock)
        self.queue = FakeInvocationQueue(self.store, self.outbox, self.clock, self.ids, self.wakeups)
        self.records = FakeInvocationRecords(self.queue, self.store, self.outbox)
        self.control = FakeQueueControl(self.queue, self.wakeups)
        self.objects, self.models, self.notifier = (
            FakeObjectStore(),
            FakeModelServer(),
            FakeNotifier("arn:t", "arn:ok", "arn:error"),
        )
        self.objects.create_bucket("b")
        self.settlement = Settlement(self.queue, self.objects, self.records, self.clock, self.metrics)
        self.worker = Worker(self.queue, self.objects, self.models, self.records, self.settlement, self.clock)
        self.directory = EndpointDirectory(self.store, self.clock, self.wakeups, "us-east-1")
        self.intake = Intake(self.directory, self.queue, self.clock, self.ids)
        self.slots = Slots(self.store, self.queue, self.worker, self.models, self.clock, self.wakeups, lease_s=30.0)
        self.sweeper = Sweeper(self.queue, self.settlement, self.clock, self.wakeups, self.slots.renew)
        self.dispatcher = Dispatcher(self.outbox, self.notifier, self.metrics, self.clock, self.wakeups)
        self.instance = entities.instance(addresses=(ADDRESS,))

    async def deploy(self, **endpoint: Any) -> "World":
        """An endpoint in service with one instance."""
        values = {"active_deployment_id": "d", **endpoint}
        await self.store.apply(
            Add(entities.endpoint(**values)), Add(entities.deployment()), Add(self.instance), Add(entities.routing())
        )
        return self

    async def put(self, id: str = "1", body: bytes = b"input", **over: Any) -> Invocation:
        """A queued invocation whose input lies in S3."""
        invocation = entities.invocation(id, **over)
        self.objects.put(f"s3://b/in/{id}", body, "text/csv")
        await self.queue.put(invocation, None)
        return invocation

    async def claim(self) -> Claim:
        """The next claim of the instance."""
        (claim,) = await self.queue.claim(await self.current_instance(), 1)
        return claim

    async def attempt(self) -> Attempted:
        """Claim the next invocation and work on it."""
        return await self.worker.attempt(Work(await self.claim()), self.instance)

    async def record(self, id: str = "1") -> InvocationRecord:
        """The record of an invocation."""
        record = await self.store.get(InvocationRecord, id)
        assert record is not None
        return record

    async def state(self, id: str = "1") -> InvocationState:
        """The state of an invocation."""
        return (await self.record(id)).state

    async def announced(self) -> list[Outgoing]:
        """What waits in the outbox."""
        return await self.outbox.due(1000)

    async def current_instance(self) -> Instance:
        """The instance as stored."""
        stored = await self.store.get(Instance, self.instance.id)
        assert stored is not None
        return stored

    async def set_endpoint(self, **over: Any) -> None:
        """Change the endpoint."""

        stored = await self.store.get(Endpoint, "endpoint-e")
        assert stored is not None
        await self.store.apply(Replace(replace(stored, **over)))

    async def set_instance(self, **over: Any) -> None:
        """Change the instance."""

        await self.store.apply(Replace(replace(await self.current_instance(), **over)))
        self.wakeups.notify("endpoints")

    def answer(self, **answer: Any) -> None:
        """What the model answers from now on."""

        async def answering(request: Any, body: bytes) -> FakeAnswer:
            return FakeAnswer(**answer)

        self.models.answering = answering

    @asynccontextmanager
    async def running(self, loop: Callable[[], Any]) -> AsyncIterator[None]:
        """A loop in the background."""
        task = asyncio.create_task(loop())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def settle_down(turns: int = 200) -> None:
    """Let every task that can run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)
