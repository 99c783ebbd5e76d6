"""What the parts of the invocation queue share: conditions, the count of waiting rows, epochs.

State conditions are written with literal values, so that SQLite uses the partial indexes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Text, and_, bindparam, insert, literal_column, select, update

from tarry.backends.database.prepared import Prepared
from tarry.backends.database.schema import backlog, counter, invocation
from tarry.backends.database.transactions import Database
from tarry.core.invocation import TERMINAL, InvocationState
from tarry.ports import Clock, Ids, Lease


def literal_state(state: InvocationState) -> ColumnElement[str]:
    """A state to compare with, written into the statement."""
    return literal_column(f"'{state}'", Text())


QUEUED_ROWS = invocation.c.state == literal_state(InvocationState.QUEUED)
CLAIMABLE_ROWS = and_(QUEUED_ROWS, invocation.c.stop_requested_at_us.is_(None))
STOPPING_ROWS = and_(QUEUED_ROWS, invocation.c.stop_requested_at_us.is_not(None))
DELAYED_ROWS = invocation.c.state == literal_state(InvocationState.DELAYED)
RUNNING_ROWS = invocation.c.state == literal_state(InvocationState.RUNNING)
PUBLISHING_ROWS = invocation.c.state == literal_state(InvocationState.PUBLISHING)
HELD = (InvocationState.RUNNING, InvocationState.PUBLISHING)
HELD_ROWS = invocation.c.state.in_([literal_state(state) for state in HELD])
ENDED_ROWS = invocation.c.state.in_([literal_state(state) for state in sorted(TERMINAL)])

SWEEPER = "sweeper"
"""The instance_id of leases that no instance holds: the sweeper's own."""

NO_LEASE = {"lease_token": None, "lease_owner": None, "lease_epoch": None, "lease_expires_at_us": None}
VOID = 0
"""The end of a lease that holds no longer, whatever the clock says."""

_COUNT = Prepared(
    update(backlog).where(backlog.c.endpoint_id == bindparam("of")).values(queued=backlog.c.queued + bindparam("change"))
)
_HELD = Prepared(
    select(
        invocation.c.seq,
        invocation.c.id,
        invocation.c.lease_token,
        invocation.c.endpoint_id,
        invocation.c.state,
        invocation.c.attempts,
        invocation.c.claimed_at_us,
        invocation.c.stop_requested_at_us,
    )
    .where(invocation.c.id == bindparam("of"))
    .where(HELD_ROWS, invocation.c.lease_expires_at_us > VOID)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """What a new lease says: until when it lasts and whose it is. ``clock`` is read in the writer's thread."""

    clock: Clock
    ids: Ids
    lease_s: float
    epoch: int

    def end_us(self) -> int:
        """When a lease that begins or is renewed now runs out."""
        return self.clock.now_us() + int(self.lease_s * 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An invocation row and who may move it on."""

    seq: int
    endpoint_id: str
    state: InvocationState
    attempts: int
    claimed_at_us: int
    stop_requested: bool


def held_under(connection: Connection, leases: Iterable[Lease]) -> dict[Lease, Held]:
    """The rows that these leases are the right to; lost ones are not among them."""
    wanted = {(lease.invocation_id, lease.token): lease for lease in leases}
    found = (_HELD.first(connection, {"of": of}) for of in sorted({of for of, _ in wanted}))
    return {
        wanted[key]: Held(
            seq=row.seq,
            endpoint_id=row.endpoint_id,
            state=InvocationState(row.state),
            attempts=row.attempts,
            claimed_at_us=row.claimed_at_us,
            stop_requested=row.stop_requested_at_us is not None,
        )
        for row in found
        if row is not None and (key := (row.id, row.lease_token)) in wanted
    }


def count_queued(connection: Connection, endpoint_ids: Iterable[str], change: int) -> None:
    """Count ``change`` up (or down) for every mention of an endpoint. Its backlog row exists since its first accept."""
    counts = Counter(endpoint_ids)
    if counts:
        _COUNT.run_many(connection, [{"of": of, "change": change * count} for of, count in sorted(counts.items())])


async def next_epoch(database: Database) -> int:
    """Begin a new epoch: the number is durable, and every lease of earlier epochs is void when this returns.

    To be called once at each start, by the process that has the data directory to itself.
    """

    def run(connection: Connection) -> int:
        mine = counter.c.name == "epoch"
        if connection.execute(update(counter).where(mine).values(value=counter.c.value + 1)).rowcount == 0:
            connection.execute(insert(counter), {"name": "epoch", "value": 1})
        connection.execute(update(invocation).where(HELD_ROWS).values(lease_expires_at_us=VOID))
        return int(connection.execute(select(counter.c.value).where(mine)).scalar_one())

    return await database.write(run)
