"""The durable world in the shipped fakes."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from tests.simulation.durable import E, Opened, Row, Shelf, Terms, at_once
from tests.simulation.loop import Part

from tarry.core.endpoint import Endpoint
from tarry.core.invocation import InvocationState
from tarry.ports import Listener, Store, Wakeups
from tarry.testing.invocations import FakeInvocationRecords, FakeQueueControl
from tarry.testing.outbox import FakeOutbox
from tarry.testing.queue import FakeInvocationQueue
from tarry.testing.store import FakeStore


class _Everybody:
    """The fakes are shared, so what one process changes is hinted to all."""

    def __init__(self) -> None:
        self.listening: list[Wakeups] = []

    def notify(self, channel: str) -> None:
        for wakeups in self.listening:
            wakeups.notify(channel)

    def listen(self, channel: str) -> AbstractAsyncContextManager[Listener]:
        raise NotImplementedError(channel)


class FakeDurable:
    """See Durable. With ``one_commit`` decisions are published in their own commit, as where objects lie in the same database."""

    def __init__(self, terms: Terms, *, one_commit: bool) -> None:
        self.one_commit = one_commit
        self._on_commit = terms.on_commit
        self._epoch = 0
        self._numbers: dict[str, int] = {}
        self._hints = _Everybody()
        self._shelf = Shelf()
        self._store = FakeStore(self._hints)
        self._outbox = FakeOutbox(terms.clock)
        self._queue = FakeInvocationQueue(self._store, self._outbox, terms.clock, terms.ids, self._hints)
        self._queue.lease_s = terms.lease_s
        self._queue.queued_max = terms.queued_max
        if one_commit:
            self._queue.publish = lambda staged, _now_us: at_once(self._shelf.store.publish(staged))

    async def open_store(self, part: Part, wakeups: Wakeups) -> Store:
        """See Durable."""
        return self._store

    async def open_delivery(self, part: Part, wakeups: Wakeups) -> Opened:
        """See Durable."""
        self._queue.new_epoch()
        self._epoch += 1
        self._on_commit(part)
        self._hints.listening.append(wakeups)

        async def close() -> None:
            self._hints.listening.remove(wakeups)

        return Opened(
            store=self._store,
            queue=self._queue,
            outbox=self._outbox,
            records=FakeInvocationRecords(self._queue, self._store, self._outbox),
            control=FakeQueueControl(self._queue, self._hints),
            objects=self._shelf.store,
            put_input=self._shelf.put_input,
            close=close,
        )

    def rows(self) -> Mapping[str, Row]:
        """See Durable."""
        return {
            name: Row(
                invocation=row.invocation,
                state=row.state,
                attempts=row.attempts,
                lost=row.lost_attempts,
                token=row.lease.token if row.lease else None,
                owner=row.lease.instance_id if row.lease else None,
                lease_end_us=row.lease_end_us if row.lease else 0,
                due_at_us=row.due_at_us,
                stop_requested=row.stop_requested,
                redriven_as=row.redriven_as,
                order=(row.rank, self._numbers.setdefault(name, len(self._numbers))),
                outcome=row.decision.outcome if row.decision else None,
            )
            for name, row in self._queue.rows.items()
        }

    def epoch(self) -> int:
        """See Durable."""
        return self._epoch

    def waiting(self) -> Mapping[str, int]:
        """See Durable. The fake keeps no count: it counts its rows at each acceptance."""
        return Counter(row.invocation.endpoint_id for row in self._queue.rows.values() if row.state is InvocationState.QUEUED)

    def entity(self, kind: type[E], id: str) -> E | None:
        """See Durable."""
        found: E | None = self._store.entities.get((kind, id))
        return found

    def named(self, endpoint_name: str) -> Endpoint | None:
        """See Durable."""
        found = [each for (kind, _), each in self._store.entities.items() if kind is Endpoint and each.name == endpoint_name]
        return found[-1] if found else None

    def objects(self) -> Mapping[str, str]:
        """See Durable."""
        return self._shelf.objects()

    def told(self, notification_id: str) -> None:
        """See Durable."""

    def fill_disk(self, *, full: bool) -> bool:
        """See Durable."""
        return False
