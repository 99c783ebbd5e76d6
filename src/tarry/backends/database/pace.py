"""How fast an endpoint works: how many invocations its instances have, and how long the last attempts took."""

from itertools import islice

from sqlalchemy import Connection, bindparam, func, literal, select

from tarry.backends.database.documents import load
from tarry.backends.database.queue_rows import SWEEPER, literal_state
from tarry.backends.database.schema import decision, invocation
from tarry.core.history import COUNTED_MAX
from tarry.core.invocation import InvocationState, Outcome

RECENT = 200
"""Ended invocations of all endpoints that are looked at."""
MEASURED = 50
"""Those of one endpoint that an average is made of."""

_RECENT = (
    select(invocation.c.endpoint_id, decision.c.outcome)
    .join(invocation, invocation.c.id == decision.c.invocation_id)
    .order_by(decision.c.seq.desc())
    .limit(RECENT)
)
_running = (
    select(literal(1))
    .where(invocation.c.endpoint_id == bindparam("of"), invocation.c.state == literal_state(InvocationState.RUNNING))
    .where(invocation.c.lease_owner.is_distinct_from(SWEEPER))
    .limit(COUNTED_MAX)
)
_RUNNING = select(func.count()).select_from(_running.subquery())


def count_running(connection: Connection, endpoint_id: str) -> int:
    """How many invocations the endpoint's instances have, counted up to COUNTED_MAX."""
    return int(connection.execute(_RUNNING, {"of": endpoint_id}).scalar_one())


def attempt_s(connection: Connection, endpoint_id: str) -> float | None:
    """What an attempt took from its claim to its end, on the average of the last ones; None: none is known."""
    outcomes = (load(Outcome, row.outcome) for row in connection.execute(_RECENT) if row.endpoint_id == endpoint_id)
    decided = ((each.ended_at_us, each.attempt) for each in outcomes if each.attempt is not None)
    spans_us = [ended_at_us - attempt.claimed_at_us for ended_at_us, attempt in islice(decided, MEASURED)]
    return sum(spans_us) / len(spans_us) / 1_000_000 if spans_us else None
