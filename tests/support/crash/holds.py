"""Inside the server: holds whoever comes to a named point, when a test has asked for it.

The product knows nothing of this: its functions are wrapped from outside before it starts. A test sends ``hold NAME``; the
next caller at that point (at ACCEPTED: every one) sends ``reached NAME`` and stays there until ``go NAME``.
"""

import asyncio
import socket
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from types import ModuleType
from typing import Any

from tests.support.crash.points import Point

from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Accepting
from tarry.backends.database.queue_decisions import Deciding
from tarry.bootstrap import build
from tarry.core.names import S3Location
from tarry.core.planning import fleet
from tarry.delivery import instance_slots
from tarry.delivery.slots import Slots
from tarry.embedded.buckets.store import EmbeddedObjectStore
from tarry.embedded.topics.deliveries import Deliveries
from tarry.embedded.topics.notifier import EmbeddedNotifier
from tarry.embedded.topics.pusher import Pusher
from tarry.ports import OpenObject, Staged

MESSAGE_BYTES_MAX = 256

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]


class Holds:
    """Which points are held, told over a socket of whole messages (SOCK_SEQPACKET)."""

    def __init__(self, control: socket.socket, wanted: Collection[Point] = ()) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._wanted = set(wanted)
        self._gates: dict[Point, list[Future[None]]] = defaultdict(list)
        threading.Thread(target=self._listen, name="holds", daemon=True).start()

    def hold(self, point: Point) -> None:
        """Hold the calling thread, if this point is wanted."""
        gate = self._taken(point)
        if gate is not None:
            gate.result()

    async def hold_task(self, point: Point) -> None:
        """Hold the calling task, if this point is wanted; the event loop goes on."""
        gate = self._taken(point)
        if gate is not None:
            await asyncio.shield(asyncio.wrap_future(gate))

    def is_held(self, point: Point) -> bool:
        """Whether somebody is, or would be, held at a point."""
        with self._lock:
            return point in self._wanted or bool(self._gates.get(point))

    def _taken(self, point: Point) -> "Future[None] | None":
        with self._lock:
            if point not in self._wanted:
                return None
            if point is not Point.ACCEPTED:
                self._wanted.remove(point)
            gate: Future[None] = Future()
            self._gates[point].append(gate)
            self._control.send(f"reached {point.name}".encode())  # locked: no answer to a later `go` may overtake it
        return gate

    def _listen(self) -> None:
        while message := self._control.recv(MESSAGE_BYTES_MAX):
            word, _, name = message.decode().partition(" ")
            point = Point[name]
            with self._lock:
                if word == "hold":
                    self._wanted.add(point)
                else:
                    self._wanted.discard(point)
                gates = self._gates.pop(point, []) if word == "go" else []
            for gate in gates:
                gate.set_result(None)
            self._control.send(b"done")


def install(holds: Holds, *, separate_commits: bool) -> None:
    """Put the holds into the program. ``separate_commits``: decide, publish, finish and announce as stores of others need it."""
    _wrap(Accepting, "accept", _after_in_thread(holds, Point.INSERTED))
    _wrap(SqlInvocationQueue, "claim", _claims(holds))
    _wrap(EmbeddedObjectStore, "open", _opens(holds))
    _wrap(EmbeddedObjectStore, "stage", _stages(holds))
    _wrap(SqlInvocationQueue, "decide", _before(holds, Point.STAGED))
    _wrap(Deciding, "decide", _after_in_thread(holds, Point.DECIDING))
    _wrap(EmbeddedObjectStore, "publish", _before(holds, Point.DECIDED))
    _wrap(SqlInvocationQueue, "finish", _before(holds, Point.PUBLISHED))
    _wrap(EmbeddedNotifier, "publish", _before(holds, Point.FINISHED))
    _wrap(SqlOutbox, "done", _before(holds, Point.HANDED_OVER))
    _wrap(Pusher, "_post", _before(holds, Point.PUSHING))
    _wrap(Deliveries, "record", _before(holds, Point.PUSHED))
    _wrap(SqlInvocationQueue, "release", _before(holds, Point.GIVING_BACK))
    _wrap(Slots, "_renew_or_say_why", _before(holds, Point.RENEWING))
    _wrap(Slots, "renew", _not_while(holds, Point.RENEWING))
    # Instances that tests kill are replaced soon, however many there were; and an attempt that is held keeps its slot.
    _replace(fleet, "BACKOFF_S_MAX", 1)
    _replace(instance_slots, "SETTLING_FACTOR", 1)
    if separate_commits:
        _replace(build, "publish_in_transaction", None)
        _replace(build, "announce_in_transaction", None)


def _replace(owner: ModuleType, name: str, value: object) -> None:
    assert hasattr(owner, name)
    setattr(owner, name, value)


def _wrap(owner: type, name: str, wrapper: Wrapper) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(wrapper(original)))


def _before(holds: Holds, point: Point) -> Wrapper:
    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        async def held(*args: Any, **named: Any) -> Any:
            await holds.hold_task(point)
            return await original(*args, **named)

        return held

    return wrapper


def _not_while(holds: Holds, point: Point) -> Wrapper:
    """The sweeper renews what its process holds; while the renewals are held, it is like one of another process."""

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        async def unless_held(*args: Any, **named: Any) -> Any:
            return None if holds.is_held(point) else await original(*args, **named)

        return unless_held

    return wrapper


def _after_in_thread(holds: Holds, point: Point) -> Wrapper:
    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        def held(*args: Any, **named: Any) -> Any:
            result = original(*args, **named)
            holds.hold(point)
            return result

        return held

    return wrapper


def _claims(holds: Holds) -> Wrapper:
    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        async def claim(*args: Any, **named: Any) -> Any:
            await holds.hold_task(Point.ACCEPTED)
            claims = await original(*args, **named)
            if claims:
                await holds.hold_task(Point.CLAIMED)
            return claims

        return claim

    return wrapper


def _opens(holds: Holds) -> Wrapper:
    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        @asynccontextmanager
        async def open_object(self: EmbeddedObjectStore, location: S3Location) -> AsyncIterator[OpenObject]:
            async with original(self, location) as opened:
                yield replace(opened, chunks=_held_after_one(holds, Point.DOWNLOADING, opened.chunks))

        return open_object

    return wrapper


def _stages(holds: Holds) -> Wrapper:
    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        async def stage(
            self: EmbeddedObjectStore,
            location: S3Location,
            *,
            content_type: str,
            metadata: Mapping[str, str],
            chunks: AsyncIterator[bytes],
        ) -> Staged:
            held = _held_after_one(holds, Point.STAGING, chunks)
            staged: Staged = await original(self, location, content_type=content_type, metadata=metadata, chunks=held)
            return staged

        return stage

    return wrapper


async def _held_after_one(holds: Holds, point: Point, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
        await holds.hold_task(point)
