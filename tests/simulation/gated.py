"""Ports behind a gate, and what the ledger hears of their answers."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tests.simulation.ledger import Ledger
from tests.simulation.machines import unlucky_start
from tests.simulation.weather import Gate, Manners, full, throttled, topic_unreachable

from tarry.core.errors import TarryError
from tarry.core.invocation import Invocation, InvocationState
from tarry.core.names import S3Location
from tarry.ports import Back, Lease, ListedObject, ObjectStore, OpenObject, Staged

_WRITE = Manners(errors=(full, throttled), durable=True, grows=True)
_STORE_WRITE = Manners(errors=(full, throttled), grows=True, on_store=True)
MANNERS: Mapping[str, Manners] = {
    "store.apply": _WRITE,
    "queue": _WRITE,
    "queue.finish": replace(_WRITE, repeats=True),
    "control": _WRITE,
    "outbox.due": Manners(),
    "outbox": _WRITE,
    "objects.open": Manners(errors=(throttled,), on_store=True),
    "objects.stage": _STORE_WRITE,
    "objects.publish": replace(_STORE_WRITE, late=(throttled,), repeats=True),
    "objects.discard": _STORE_WRITE,
    "notifier.publish": Manners(errors=(topic_unreachable,), late=(topic_unreachable,), on_topic=True, repeats=True),
    "engine.start": Manners(errors=(unlucky_start,)),
}


class Gated:
    """A port whose methods are all plain coroutines. Methods that the port gains later pass the gate too."""

    def __init__(self, port: str, inner: Any, gate: Gate) -> None:
        self._port = port
        self._inner = inner
        self._gate = gate

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return partial(self._call, method)

    async def _call(self, method: str, *args: Any, **options: Any) -> Any:
        effect = partial(getattr(self._inner, method), *args, **options)
        return await self._gate.call(f"{self._port}.{method}", effect, args, options)


class GatedQueue(Gated):
    """ports.InvocationQueue; the ledger hears of what was refused."""

    def __init__(self, inner: Any, gate: Gate, ledger: Ledger) -> None:
        super().__init__("queue", inner, gate)
        self._ledger = ledger

    async def put(self, invocation: Invocation, body: bytes | None, **options: Any) -> Invocation:
        """See ports.InvocationQueue."""
        try:
            return cast("Invocation", await self._call("put", invocation, body, **options))
        except TarryError:
            self._ledger.put_refused(invocation.id)
            raise

    async def release(self, lease: Lease, back: Back) -> None:
        """See ports.InvocationQueue."""
        try:
            await self._call("release", lease, back)
        except TarryError:
            self._ledger.could_not_release(lease)
            raise


class GatedControl(Gated):
    """ports.QueueControl; the ledger hears of what will be stopped."""

    def __init__(self, inner: Any, gate: Gate, ledger: Ledger) -> None:
        super().__init__("control", inner, gate)
        self._ledger = ledger

    async def stop(self, id: str) -> InvocationState | None:
        """See ports.QueueControl."""
        state = cast("InvocationState | None", await self._call("stop", id))
        if state is not None:
            self._ledger.will_stop(id, state)
        return state


class GatedObjects:
    """ports.ObjectStore; the ledger hears of what was staged."""

    def __init__(self, inner: ObjectStore, gate: Gate, ledger: Ledger) -> None:
        self._inner = inner
        self._gate = gate
        self._ledger = ledger

    def open(self, location: S3Location) -> AbstractAsyncContextManager[OpenObject]:
        """See ports.ObjectStore."""
        return self._open(location)

    @asynccontextmanager
    async def _open(self, location: S3Location) -> AsyncIterator[OpenObject]:
        async with AsyncExitStack() as stack:
            opened = await self._gate.call(
                "objects.open", partial(stack.enter_async_context, self._inner.open(location)), (location,)
            )
            yield replace(opened, chunks=self._read(opened.chunks))

    def list(self, prefix: S3Location) -> AsyncIterator[ListedObject]:
        """See ports.ObjectStore."""
        return self._inner.list(prefix)

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        """See ports.ObjectStore."""
        body: list[bytes] = []

        async def stage() -> Staged:
            noted = _noted(chunks, body)
            staged = await self._inner.stage(location, content_type=content_type, metadata=metadata, chunks=noted)
            self._ledger.staged(staged, b"".join(body))
            return staged

        return await self._gate.call("objects.stage", stage, (location,))

    async def publish(self, staged: Staged) -> None:
        """See ports.ObjectStore."""
        await self._gate.call("objects.publish", partial(self._inner.publish, staged), (staged,))

    async def discard(self, staged: Staged) -> None:
        """See ports.ObjectStore."""
        await self._gate.call("objects.discard", partial(self._inner.discard, staged), (staged,))

    async def _read(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await self._gate.way()
            yield chunk


async def _noted(chunks: AsyncIterator[bytes], body: list[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        body.append(chunk)
        yield chunk
