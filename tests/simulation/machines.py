"""Model servers that do what each request's body says: answer, answer late, fail, break the connection, or kill their instance.

An instance is a machine of the world's: it lives apart from the server that asked for it, and where the engine's instances are
children of their server, it dies with it.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulation.loop import Part, task_number
from tests.simulation.weather import Gate

from tarry.core.errors import InstanceStartError, ModelResponseInvalid, ModelServerUnreachable
from tarry.core.invocation import INLINE_BYTES_MAX
from tarry.ports import EngineStatus, InstanceSpec, ModelRequest, ModelResponse, PingAnswer
from tarry.testing.engine import FakeEngine
from tarry.testing.modelserver import FakeAnswer, FakeModelServer

_INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a request asks of the model, as the JSON of its body. ``kills``: so many of its attempts kill their instance."""

    after_s: float = 0.1
    status: int = 200
    size: int = 40
    kills: int = 0
    drops: bool = False
    breaks: bool = False
    never: bool = False

    def body(self) -> bytes:
        """As a request's body."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


@dataclass(slots=True)
class Asked:
    """A request that a model server works on."""

    part: Part
    instance_id: str
    inference_id: str
    task: int
    """The number of the worker's task."""


@dataclass(slots=True)
class Machine:
    """One running instance."""

    instance_id: str
    address: str
    server: FakeModelServer = field(default_factory=FakeModelServer)
    in_flight: list[Asked] = field(default_factory=list)
    cause: str | None = None
    """Why it does not run any more."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, cause: str) -> None:
        """It runs no more; connections to it break."""
        if self.cause is None:
            self.cause = cause
            self.ended.set()


class Machines:
    """All machines of the world, by instance and by address."""

    def __init__(self) -> None:
        self.by_address: dict[str, Machine] = {}
        self.by_instance: dict[str, list[Machine]] = {}
        self._answers = itertools.count(1)
        self._tries: dict[str, int] = {}

    def start(self, instance_id: str, address: str) -> None:
        """A model server listens here from now on."""
        machine = Machine(instance_id, address)
        machine.server.answering = lambda request, body: self._answer(machine, request, body)
        self.by_address[address] = machine
        self.by_instance.setdefault(instance_id, []).append(machine)

    def running(self) -> list[Machine]:
        """Those that run."""
        return [machine for machine in self.by_address.values() if machine.cause is None]

    async def _answer(self, machine: Machine, request: ModelRequest, body: bytes) -> FakeAnswer:
        inference_id = request.headers[_INFERENCE_ID]
        wish = Wish(**json.loads(body))
        tries = self._tries[inference_id] = self._tries.get(inference_id, 0) + 1
        try:
            async with asyncio.timeout(None if wish.never else wish.after_s):
                await machine.ended.wait()
        except TimeoutError:
            if tries <= wish.kills:
                machine.end("poison")
        if machine.cause is not None:
            raise ModelServerUnreachable("The connection broke (simulated).")
        if wish.drops:
            raise ModelServerUnreachable("The model server closed the connection (simulated).")
        text = f"{inference_id} answer {next(self._answers)} ".encode()
        error = ModelResponseInvalid("Too few bytes came (simulated).") if wish.breaks else None
        return FakeAnswer(status=wish.status, content_type="text/plain", body=text.ljust(wish.size, b"."), error=error)


class SimulatedEngine:
    """ports.Engine over the shipped fake, with machines behind it."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._fake = FakeEngine()

    async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """See ports.Engine."""
        addresses = await self._fake.start(spec)
        for address in addresses:
            known = self._machines.by_address.get(address)
            if known is None or known.instance_id != spec.instance_id:
                self._machines.start(spec.instance_id, address)
        return addresses

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """See ports.Engine."""
        await self._fake.stop(instance_id, grace_s=grace_s)
        for machine in self._machines.by_instance.get(instance_id, ()):
            machine.end("stopped")

    async def observe(self) -> list[EngineStatus]:
        """See ports.Engine."""
        return [self._status(status) for status in await self._fake.observe()]

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """See ports.Engine."""
        return await self._fake.log_tail(instance_id, lines)

    async def end_all(self, cause: str) -> None:
        """The instances die with their server."""
        for status in await self._fake.observe():
            for machine in self._machines.by_instance.get(status.instance_id, ()):
                machine.end(cause)

    def _status(self, status: EngineStatus) -> EngineStatus:
        ended = any(machine.cause is not None for machine in self._machines.by_instance.get(status.instance_id, ()))
        return replace(status, exit_code=-9) if ended else status


class SimulatedModels:
    """ports.ModelServer as one part of the world has it; ``on_death`` hears of requests whose worker saw the instance die."""

    def __init__(self, machines: Machines, gate: Gate, on_death: Callable[[Asked], None] = lambda _: None) -> None:
        self._machines = machines
        self._gate = gate
        self._on_death = on_death
        self._broken: dict[asyncio.Task[Any] | None, Asked] = {}

    async def ping(self, address: str, *, timeout_s: float = 2.0) -> PingAnswer:
        """See ports.ModelServer."""

        async def look() -> bool:
            machine = self._machines.by_address.get(address)
            return machine is not None and machine.cause is None

        answers = await self._gate.call("models.ping", look, (address,))
        broken = self._broken.pop(asyncio.current_task(), None)
        if broken is not None and not answers:
            self._on_death(broken)
        return PingAnswer(answers)

    @asynccontextmanager
    async def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AsyncIterator[ModelResponse]:
        """See ports.ModelServer."""
        self._gate.require_life()
        await self._gate.way()
        machine = self._machines.by_address.get(address)
        if machine is None:
            raise ModelServerUnreachable("Nobody listens there (simulated).")
        asked = Asked(self._gate.part, machine.instance_id, request.headers[_INFERENCE_ID], task_number())
        try:
            async with self._invoke(machine, asked, request, timeout_s) as response:
                yield response
        except ModelServerUnreachable:
            self._broken[asyncio.current_task()] = asked
            raise

    @asynccontextmanager
    async def _invoke(
        self, machine: Machine, asked: Asked, request: ModelRequest, timeout_s: float
    ) -> AsyncIterator[ModelResponse]:
        if machine.cause is not None:
            raise ModelServerUnreachable("The model server takes no connections (simulated).")
        machine.in_flight.append(asked)
        self._gate.on_call(self._gate.part, "models.invoke", (machine, asked), {})
        try:
            async with machine.server.invoke(machine.address, request, timeout_s=timeout_s) as response:
                yield replace(response, chunks=self._chunks(machine, response.chunks))
        finally:
            machine.in_flight.remove(asked)

    async def _chunks(self, machine: Machine, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await self._gate.way()
            if machine.cause is not None:
                raise ModelServerUnreachable("The connection broke in the middle of the answer (simulated).")
            yield chunk


def unlucky_start() -> InstanceStartError:
    """The engine could not start it."""
    return InstanceStartError("The instance could not be started (simulated).")


LARGE = INLINE_BYTES_MAX + 1
"""Bytes of an answer that does not ride inline."""
