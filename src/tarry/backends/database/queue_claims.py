"""Leases: taking queued invocations, keeping them, and giving them back.

A claim looks at the heads of the buckets that are routed to the instance's variant, one index seek a bucket, and takes the
first rows of the buckets with the first heads, in the order of ranks; how long the queue is does not matter to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, insert, literal, or_, select, update

from tarry.backends.database.documents import load
from tarry.backends.database.prepared import Prepared
from tarry.backends.database.queue_rows import (
    NO_LEASE,
    LeaseTerms,
    count_queued,
    held_under,
    literal_state,
)
from tarry.backends.database.schema import attempt, backlog, endpoint, instance, invocation, invocation_body, route
from tarry.core.endpoint import GONE
from tarry.core.history import RETURNS_KEPT, AttemptEnd
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import LOST_ATTEMPTS_MAX, Invocation, InvocationState
from tarry.ports import Back, Claim, Lease, Overdue, Renewed

CHUNK = 16
"""A larger claim is made in chunks: finding n rows looks at n rows of n buckets at worst."""

_MAY_CLAIM = Prepared(
    select(instance.c.id)
    .join(endpoint, endpoint.c.id == instance.c.endpoint_id)
    .join(backlog, backlog.c.endpoint_id == endpoint.c.id)
    .where(instance.c.id == bindparam("of"), instance.c.state == InstanceState.IN_SERVICE.value, backlog.c.queued > 0)
    .where(*(endpoint.c.status != status.value for status in sorted(GONE)))
)


def _claimable_of_bucket(limit: ColumnElement[int]) -> Select[Any]:
    """The first claimable rows (their ``seq``) of the bucket of the outer query's ``route`` row."""
    waiting = invocation.alias("waiting")
    return (
        select(waiting.c.seq)
        .where(waiting.c.endpoint_id == route.c.endpoint_id, waiting.c.bucket == route.c.bucket)
        .where(waiting.c.state == literal_state(InvocationState.QUEUED), waiting.c.stop_requested_at_us.is_(None))
        .where(waiting.c.lost_attempts <= bindparam("lost_max"))
        .where(or_(waiting.c.attempts > 0, waiting.c.expires_at_us > bindparam("now_us")))
        .order_by(waiting.c.rank_us, waiting.c.seq)
        .limit(limit)
        .correlate(route)
    )


_head = invocation.alias("head")
_FIRST = (_head.c.rank_us, _head.c.seq)

BUCKETS_WITH_THE_FIRST = Prepared(
    select(route.c.bucket, _head.c.seq)
    .select_from(route.join(_head, _head.c.seq == _claimable_of_bucket(literal(1)).scalar_subquery()))
    .where(route.c.endpoint_id == bindparam("endpoint_id"), route.c.deployment_id == bindparam("deployment_id"))
    .where(route.c.variant_name == bindparam("variant_name"))
    .order_by(*_FIRST)
    .limit(bindparam("limit"))
)
"""The first n rows of all lie in the n buckets with the first heads."""

_BUCKETS = tuple(f"bucket_{number}" for number in range(CHUNK))
FIRST_OF_BUCKETS = Prepared(
    select(_head.c.seq)
    .select_from(route.join(_head, _head.c.seq.in_(_claimable_of_bucket(bindparam("limit")))))
    .where(route.c.endpoint_id == bindparam("endpoint_id"), route.c.bucket.in_([bindparam(name) for name in _BUCKETS]))
    .order_by(*_FIRST)
    .limit(bindparam("limit"))
)
"""Of CHUNK buckets; one may be named several times."""

_ROW = Prepared(
    select(
        invocation.c.seq,
        invocation.c.id,
        invocation.c.endpoint_id,
        invocation.c.attempts,
        invocation.c.lost_attempts,
        invocation.c.request,
        invocation_body.c.body,
    )
    .select_from(invocation.outerjoin(invocation_body, invocation_body.c.invocation_id == invocation.c.id))
    .where(invocation.c.seq == bindparam("of"))
)

_TAKE = Prepared(
    update(invocation)
    .where(invocation.c.seq == bindparam("of"))
    .values(
        state=InvocationState.RUNNING.value,
        attempts=invocation.c.attempts + bindparam("counted"),
        lease_token=bindparam("token"),
        lease_owner=bindparam("owner"),
        lease_epoch=bindparam("epoch"),
        lease_expires_at_us=bindparam("end_us"),
        claimed_at_us=bindparam("now_us"),
    )
)
_RELEASE = Prepared(
    update(invocation)
    .where(invocation.c.seq == bindparam("of"))
    .values(
        state=bindparam("state_after"),
        due_at_us=bindparam("due_us"),
        attempts=invocation.c.attempts - bindparam("uncounted"),
        lost_attempts=invocation.c.lost_attempts + bindparam("lost"),
        **NO_LEASE,
    )
)
_REMEMBER = insert(attempt)
_RETURNS = and_(attempt.c.invocation_id == bindparam("of"), attempt.c.end == literal(AttemptEnd.RETURNED.value))
_FORGET_OLD_RETURNS = delete(attempt).where(
    attempt.c.seq.in_(select(attempt.c.seq).where(_RETURNS).order_by(attempt.c.seq.desc()).limit(-1).offset(RETURNS_KEPT))
)
_RENEW = update(invocation).where(invocation.c.seq.in_(bindparam("seqs", expanding=True)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many an instance wants, and whether it takes those an attempt of which was lost."""

    limit: int
    with_lost: bool


def claim(connection: Connection, terms: LeaseTerms, by: Instance, wanted: Wanted) -> list[Claim]:
    """See ports.InvocationQueue.claim."""
    if wanted.limit < 1 or _MAY_CLAIM.first(connection, {"of": by.id}) is None:
        return []
    claims: list[Claim] = []
    while len(claims) < wanted.limit:
        chunk = replace(wanted, limit=min(wanted.limit - len(claims), CHUNK))
        taken = take(connection, terms, _first(connection, terms, by, chunk), Taker(by.id, counted=True))
        claims += taken
        if len(taken) < chunk.limit:
            break
    return claims


def _first(connection: Connection, terms: LeaseTerms, by: Instance, wanted: Wanted) -> Sequence[int]:
    limit, lost_max = wanted.limit, LOST_ATTEMPTS_MAX - 1 if wanted.with_lost else 0
    of = {"endpoint_id": by.endpoint_id, "now_us": terms.clock.now_us(), "limit": limit, "lost_max": lost_max}
    routed = {"deployment_id": by.deployment_id, "variant_name": by.variant_name}
    heads = BUCKETS_WITH_THE_FIRST.all(connection, of | routed)
    if len(heads) <= 1 and limit == 1:
        return [head.seq for head in heads]
    if not heads:
        return []
    buckets = dict(zip_longest(_BUCKETS, (head.bucket for head in heads), fillvalue=heads[0].bucket))
    return [row.seq for row in FIRST_OF_BUCKETS.all(connection, of | buckets)]


@dataclass(frozen=True, slots=True)
class Taker:
    """Who takes rows: an instance, whose attempt counts, or the sweeper, whose does not."""

    owner: str
    counted: bool
    overdue: Overdue | None = None


def take(connection: Connection, terms: LeaseTerms, seqs: Sequence[int], taker: Taker) -> list[Claim]:
    """Lease the queued rows of these ``seq``, in that order."""
    if not seqs:
        return []
    rows = [row for seq in seqs if (row := _ROW.first(connection, {"of": seq})) is not None]
    tokens = [terms.ids.token() for _ in rows]
    now_us = terms.clock.now_us()
    common = {
        "owner": taker.owner,
        "epoch": terms.epoch,
        "end_us": terms.end_us(),
        "counted": int(taker.counted),
        "now_us": now_us,
    }
    _TAKE.run_many(connection, [{"of": row.seq, "token": token, **common} for row, token in zip(rows, tokens, strict=True)])
    count_queued(connection, (row.endpoint_id for row in rows), -1)
    return [
        Claim(
            lease=Lease(invocation_id=row.id, token=token, instance_id=taker.owner),
            invocation=load(Invocation, row.request),
            body=row.body,
            attempt=row.attempts + int(taker.counted),
            lost_attempts=row.lost_attempts,
            claimed_at_us=now_us,
            overdue=taker.overdue,
        )
        for row, token in zip(rows, tokens, strict=True)
    ]


def renew(connection: Connection, terms: LeaseTerms, leases: Sequence[Lease]) -> Renewed:
    """See ports.InvocationQueue.renew."""
    held = held_under(connection, leases)
    if held:
        seqs = sorted(row.seq for row in held.values())
        connection.execute(_RENEW.values(lease_expires_at_us=terms.end_us()), {"seqs": seqs})
    return Renewed(
        lost=frozenset(lease for lease in leases if lease not in held),
        stopping=frozenset(lease for lease, row in held.items() if row.stop_requested),
    )


def release(connection: Connection, terms: LeaseTerms, lease: Lease, back: Back) -> str | None:
    """See ports.InvocationQueue.release; returns the endpoint whose queue has it again, None if no queue has."""
    held = held_under(connection, [lease]).get(lease)
    if held is None or held.state is not InvocationState.RUNNING:
        return None
    now_us = terms.clock.now_us()
    delayed = back.end is AttemptEnd.RETRIED and not held.stop_requested
    state = InvocationState.DELAYED if delayed else InvocationState.QUEUED
    due_us = now_us + int(back.delay_s * 1_000_000) if delayed else None
    counts = {"lost": int(back.end is AttemptEnd.LOST), "uncounted": int(not back.counted)}
    _RELEASE.run(connection, {"of": held.seq, "state_after": state.value, "due_us": due_us, **counts})
    connection.execute(
        _REMEMBER,
        {
            "invocation_id": lease.invocation_id,
            "number": held.attempts,
            "instance_id": lease.instance_id,
            "claimed_at_us": held.claimed_at_us,
            "ended_at_us": now_us,
            "end": back.end.value,
            "status": back.status,
            "reason": back.reason,
        },
    )
    if back.end is AttemptEnd.RETURNED:
        connection.execute(_FORGET_OLD_RETURNS, {"of": lease.invocation_id})
    if delayed:
        return None
    count_queued(connection, [held.endpoint_id], 1)
    return held.endpoint_id
