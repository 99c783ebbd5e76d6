"""What ports.InvocationQueue promises, held against SQL (with and without publishing in its own commit) and the fake."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import entities as make
from tests.support.queues import CASES, QUEUED_MAX, Case, cases, ids_of

from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import AlreadyExists, BucketNotFound, Bug, EndpointNotFound, LeaseLost, Throttled
from tarry.core.history import AttemptEnd, InvocationRecord
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import HEAD_START_US, TERMINAL, TRANSITIONS, InvocationState
from tarry.ports import (
    CHANNEL_OUTBOX,
    LOST,
    RETURNED,
    UNTOUCHED,
    Add,
    Back,
    Claim,
    Overdue,
    Renewed,
    Replace,
    channel_queue,
)

S = InvocationState
RETRIED = Back(end=AttemptEnd.RETRIED)


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async for made in cases(request.param, tmp_path):
        yield made


# ----------------------------------------------------------------------------------------------------- accept and claim


async def test_what_was_put_is_claimed_as_it_was(case: Case) -> None:
    there = make.invocation("1", custom_attributes="ä", kms_key_id="k", include_response_on_error=True)
    await case.queue.put(there, None)
    await case.queue.put(make.invocation("2", input_location=None), b"\x00\xff body")
    record = await case.record("1")
    assert record == InvocationRecord(invocation=there, state=S.QUEUED, attempts=0, lost_attempts=0)
    first, second = await case.claim(5)
    assert (first.invocation, first.body, first.attempt, first.lost_attempts, first.overdue) == (there, None, 1, 0, None)
    assert second.body == b"\x00\xff body"
    assert first.lease.instance_id == "i"
    assert first.lease.token != second.lease.token
    record = await case.record("1")
    assert (record.state, record.attempts, record.instance_id) == (S.RUNNING, 1, "i")
    assert await case.claim(5) == []


async def test_an_empty_body_is_a_body(case: Case) -> None:
    await case.queue.put(make.invocation("1", input_location=None), b"")
    (claim,) = await case.claim()
    assert claim.body == b""


async def test_oldest_first_over_all_buckets(case: Case) -> None:
    names = [f"n{n}" for n in range(40)]
    await case.put(*names)
    assert ids_of(await case.claim(1)) == names[:1]
    assert ids_of(await case.claim(7)) == names[1:8]
    assert ids_of(await case.claim(30)) == names[8:38]
    assert ids_of(await case.claim(30)) == names[38:]


async def test_oldest_first_within_few_buckets(case: Case) -> None:
    for n in range(40):
        await case.queue.put(make.invocation(f"n{n}", bucket=n // 10), None)
    assert ids_of(await case.claim(5)) == [f"n{n}" for n in range(5)]
    assert ids_of(await case.claim(35)) == [f"n{n}" for n in range(5, 40)]


async def test_a_priority_is_a_head_start(case: Case) -> None:
    for n, priority in enumerate([0, 1, 0, 9, -1]):
        await case.queue.put(make.invocation(f"n{n}", priority=priority), None)
    later_us = make.NOW_US + HEAD_START_US + 1
    await case.queue.put(make.invocation("late", priority=1, received_at_us=later_us), None)
    assert ids_of(await case.claim(9)) == ["n3", "n1", "n0", "n2", "late", "n4"]


async def test_nothing_for_limits_below_one(case: Case) -> None:
    await case.put("1")
    assert await case.claim(0) == []
    assert await case.claim(-1) == []
    assert await case.state("1") is S.QUEUED


async def test_a_released_invocation_keeps_its_place(case: Case) -> None:
    await case.put("1", "2")
    (claim,) = await case.claim()
    await case.queue.release(claim.lease, RETURNED)
    assert ids_of(await case.claim()) == ["1"]


async def test_an_instance_gets_the_buckets_of_its_variant(case: Case) -> None:
    other = make.instance("j", deployment_id="d2")
    route = await case.store.find(Instance, endpoint_id="endpoint-e")
    assert route == [case.instance]
    weights = {("d", "v"): 0.3, ("d2", "v"): 0.7}
    shares = make.routing(weights=weights).shares
    await case.store.apply(Add(other), Replace(make.routing(weights=weights)))
    for bucket in range(0, 100, 4):
        await case.queue.put(make.invocation(f"b{bucket}", bucket=bucket), None)
    mine, its = await case.claim(50), await case.queue.claim(other, 50)
    assert [claim.invocation.bucket for claim in mine] == [b for b in range(0, 100, 4) if b in shares[0].buckets]
    assert [claim.invocation.bucket for claim in its] == [b for b in range(0, 100, 4) if b in shares[1].buckets]
    assert len(mine) + len(its) == 25


async def test_routing_moves_waiting_work(case: Case) -> None:
    await case.put("1", "2", "3")
    await case.store.apply(Replace(replace(make.routing(), shares=())))
    assert await case.claim(5) == []
    moved = make.routing(weights={("d2", "v"): 1.0})
    other = make.instance("j", deployment_id="d2")
    await case.store.apply(Add(other), Replace(replace(moved, revision=1)))
    assert await case.claim(5) == []
    assert ids_of(await case.queue.claim(other, 5)) == ["1", "2", "3"]


async def test_only_instances_in_service_get_work(case: Case) -> None:
    await case.put("1")
    for state in set(InstanceState) - {InstanceState.IN_SERVICE}:
        idle = make.instance(f"i-{state}", state=state)
        await case.store.apply(Add(idle))
        assert await case.queue.claim(replace(idle, state=InstanceState.IN_SERVICE), 1) == []  # the row counts, not the argument
    assert await case.queue.claim(make.instance("unknown"), 1) == []
    await case.store.apply(Replace(replace(case.instance, state=InstanceState.DRAINING)))
    assert await case.claim() == []


async def test_endpoints_that_are_gone_take_nothing(case: Case) -> None:
    with pytest.raises(EndpointNotFound, match="ghost"):
        await case.queue.put(make.invocation("0", endpoint_id="unknown", endpoint_name="ghost"), None)
    await case.put("1")
    for status in (EndpointStatus.DELETING, EndpointStatus.DELETED):
        await case.change_endpoint(status)
        with pytest.raises(EndpointNotFound):
            await case.put("2")
        assert await case.claim() == []
    assert await case.store.get(InvocationRecord, "2") is None


async def test_the_same_id_is_refused_the_second_time(case: Case) -> None:
    await case.put("1")
    with pytest.raises(AlreadyExists):
        await case.put("1")
    results = await asyncio.gather(case.put("2"), case.put("1"), case.put("3"), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), AlreadyExists, type(None)]
    assert ids_of(await case.claim(5)) == ["1", "2", "3"]


async def test_a_full_queue_is_throttled_until_there_is_room(case: Case) -> None:
    results = await asyncio.gather(*(case.put(f"n{n}") for n in range(QUEUED_MAX + 10)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * QUEUED_MAX + [Throttled] * 10
    await case.store.apply(Add(make.endpoint("other")))
    await case.queue.put(make.invocation("elsewhere", endpoint_id="endpoint-other"), None)
    (claim,) = await case.claim()
    await case.put("room")
    with pytest.raises(Throttled):
        await case.put("no room")
    await case.queue.release(claim.lease, RETURNED)
    await case.claim(2)
    await case.put("room again")
    with pytest.raises(Throttled):
        await case.put("no room again")


async def test_concurrent_claims_never_share(case: Case) -> None:
    await case.put(*(f"n{n}" for n in range(40)))
    found = await asyncio.gather(*(case.claim(3) for _ in range(20)))
    taken = [each for claims in found for each in ids_of(claims)]
    assert sorted(taken) == sorted(f"n{n}" for n in range(40))


# --------------------------------------------------------------------------------------------------------------- leases


async def test_a_lease_that_runs_out_is_a_lost_attempt(case: Case) -> None:
    await case.put("1")
    (old,) = await case.claim()
    case.clock.advance(29.9)
    await case.queue.reap(10)
    assert await case.state("1") is S.RUNNING
    case.clock.advance(0.1)
    case.wakeups.hints.clear()
    reaped = await case.queue.reap(10)
    assert reaped.overdue == ()
    assert channel_queue("endpoint-e") in case.wakeups.hints
    record = await case.record("1")
    assert (record.state, record.lost_attempts, record.instance_id) == (S.QUEUED, 1, None)
    (new,) = await case.claim()
    assert (new.attempt, new.lost_attempts) == (2, 1)
    assert new.lease.token != old.lease.token
    assert await case.queue.renew([old.lease, new.lease]) == Renewed(lost=frozenset({old.lease}))
    with pytest.raises(LeaseLost):
        await case.queue.decide(old.lease, make.decision("1"))
    await case.queue.release(old.lease, LOST)
    assert await case.state("1") is S.RUNNING
    await case.end(new)
    assert await case.state("1") is S.COMPLETED


async def test_renewed_leases_last(case: Case) -> None:
    await case.put("1", "2")
    one, two = await case.claim(2)
    assert await case.queue.renew([]) == Renewed()
    for _ in range(5):
        case.clock.advance(20)
        assert await case.queue.renew([one.lease]) == Renewed()
        await case.queue.reap(10)
    assert await case.state("1") is S.RUNNING
    assert await case.state("2") is S.QUEUED
    unknown = replace(one.lease, invocation_id="3")
    assert await case.queue.renew([one.lease, two.lease, unknown]) == Renewed(lost=frozenset({two.lease, unknown}))


async def test_a_release_counts_only_when_it_was_lost(case: Case) -> None:
    await case.put("1")
    for lost in (False, True, False):
        (claim,) = await case.claim()
        case.wakeups.hints.clear()
        await case.queue.release(claim.lease, LOST if lost else RETURNED)
        assert case.wakeups.hints == [channel_queue("endpoint-e")]
        await case.queue.release(claim.lease, LOST)  # it is not held any more
    record = await case.record("1")
    assert (record.state, record.attempts, record.lost_attempts) == (S.QUEUED, 3, 1)


async def test_a_claim_may_leave_those_with_a_lost_attempt_to_others(case: Case) -> None:
    await case.put("lost", "returned", "new")
    for claim, back in zip(await case.claim(2), (LOST, RETURNED), strict=True):
        await case.queue.release(claim.lease, back)
    assert ids_of(await case.queue.claim(case.instance, 1, with_lost=False)) == ["returned"]
    assert ids_of(await case.queue.claim(case.instance, 5, with_lost=False)) == ["new"]
    assert ids_of(await case.claim(5)) == ["lost"]


async def test_the_third_lost_attempt_ends_it(case: Case) -> None:
    await case.put("1", "2")
    for lost in range(1, 4):
        claim = (await case.claim(2))[0]
        assert claim.invocation.id == "1"
        await case.queue.release(claim.lease, LOST)
        assert (await case.record("1")).lost_attempts == lost
    assert ids_of(await case.claim(2)) == []  # 2 is still held, and 1 is not for instances any more
    (overdue,) = (await case.queue.reap(10)).overdue
    assert (overdue.invocation.id, overdue.overdue, overdue.lost_attempts, overdue.attempt) == ("1", Overdue.LOST, 3, 3)
    assert overdue.lease.instance_id == "sweeper"
    await case.end(overdue, S.FAILED)
    assert await case.state("1") is S.FAILED


async def test_the_leases_of_an_older_epoch_are_void_at_once(case: Case) -> None:
    await case.put("1", "2", "3")
    held, ended, publishing = await case.claim(3)
    await case.end(ended)
    await case.queue.decide(publishing.lease, make.decision("3"))
    await case.restart()
    assert await case.queue.renew([held.lease]) == Renewed(lost=frozenset({held.lease}))
    with pytest.raises(LeaseLost):
        await case.queue.decide(held.lease, make.decision("1"))
    await case.queue.release(held.lease, RETURNED)
    assert await case.state("1") is S.RUNNING
    reaped = await case.queue.reap(10)
    assert [decision.invocation_id for decision in reaped.unpublished] == ([] if case.in_one_commit else ["3"])
    record = await case.record("1")
    assert (record.state, record.lost_attempts) == (S.QUEUED, 1)
    (again,) = await case.claim()
    await case.end(again)
    assert [await case.state(each) for each in "12"] == [S.COMPLETED] * 2


# ------------------------------------------------------------------------------------------------------ decide and finish


async def test_a_decision_is_made_once(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    await case.end(claim)
    for state in (S.COMPLETED, S.FAILED):
        with pytest.raises(LeaseLost):
            await case.queue.decide(claim.lease, make.decision("1", state))
    record = await case.record("1")
    assert (record.state, record.outcome, record.instance_id) == (S.COMPLETED, make.decision("1").outcome, None)
    await case.queue.release(claim.lease, LOST)
    assert (await case.queue.renew([claim.lease])).lost == {claim.lease}
    case.clock.advance(1000)
    reaped = await case.queue.reap(10)
    assert (reaped.overdue, reaped.unpublished) == ((), ())
    assert await case.state("1") is S.COMPLETED


async def test_of_concurrent_decisions_one_wins(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    decisions = [make.decision("1", state) for state in (S.COMPLETED, S.FAILED, S.STOPPED, S.EXPIRED)]
    results = await asyncio.gather(*(case.queue.decide(claim.lease, each) for each in decisions), return_exceptions=True)
    assert [type(result) for result in results].count(LeaseLost) == 3
    await case.queue.finish("1")
    winner = next(n for n, result in enumerate(results) if not isinstance(result, LeaseLost))
    assert (await case.record("1")).outcome == decisions[winner].outcome
    assert len(await case.outbox.due(10)) == 1


async def test_the_end_and_its_notification_are_one(case: Case) -> None:
    await case.put("1", "2")
    one, two = await case.claim(2)
    await case.queue.decide(one.lease, make.decision("1"))
    if not case.in_one_commit:
        assert await case.state("1") is S.PUBLISHING
        assert await case.outbox.due(10) == []
        case.wakeups.hints.clear()
        await case.queue.finish("1")
    assert case.wakeups.hints.count(CHANNEL_OUTBOX) == 1
    (outgoing,) = await case.outbox.due(10)
    assert (outgoing.notification, outgoing.tries) == (make.decision("1").notification, 0)
    await case.outbox.done("1")
    await case.queue.finish("1")
    await case.queue.finish("unknown")
    await case.queue.decide(two.lease, make.decision("2", S.STOPPED, told=False))
    await case.queue.finish("2")
    assert await case.outbox.due(10) == []
    assert await case.state("2") is S.STOPPED
    assert case.wakeups.hints.count(CHANNEL_OUTBOX) == 1


async def test_finish_does_not_end_what_is_not_decided(case: Case) -> None:
    await case.put("1", "2")
    await case.claim(1)
    for each in ("1", "2"):
        await case.queue.finish(each)
    assert [await case.state(each) for each in "12"] == [S.RUNNING, S.QUEUED]


async def test_publishing_is_part_of_the_commit_where_it_can_be(case: Case) -> None:
    if not case.in_one_commit:
        pytest.skip("the object store lies elsewhere")
    await case.put("1", "2")
    one, two = await case.claim(2)
    decision = make.decision("1")
    assert decision.staged is not None
    missing = replace(decision.staged, location=replace(decision.staged.location, bucket="missing"))
    with pytest.raises(BucketNotFound):
        await case.queue.decide(one.lease, replace(decision, staged=missing))
    record = await case.record("1")
    assert (record.state, record.outcome) == (S.RUNNING, None)
    assert await case.outbox.due(10) == []
    assert await case.queue.decide(one.lease, replace(decision, staged=None)) is S.COMPLETED
    assert await case.queue.decide(two.lease, make.decision("2", inline=None)) is S.COMPLETED
    assert case.published == [make.decision("2", inline=None).staged]


@pytest.mark.parametrize("inline", [b"answer", b"", None])
async def test_a_decision_that_nobody_published_comes_back_whole(case: Case, inline: bytes | None) -> None:
    if case.in_one_commit:
        pytest.skip("decisions are published with their commit")
    await case.put("1")
    (claim,) = await case.claim()
    decision = make.decision("1", S.FAILED, inline=inline)
    await case.queue.decide(claim.lease, replace(decision, outcome=replace(decision.outcome, response=b"big")))
    case.clock.advance(20)
    assert await case.queue.renew([claim.lease]) == Renewed()  # its owner is still publishing
    case.clock.advance(20)
    assert (await case.queue.reap(10)).unpublished == ()
    for _ in range(2):
        case.clock.advance(31)
        assert (await case.queue.reap(10)).unpublished == (decision,)
        assert (await case.queue.reap(10)).unpublished == ()  # the sweeper is at it
    assert (await case.queue.renew([claim.lease])).lost == {claim.lease}
    await case.queue.finish("1")
    case.clock.advance(31)
    assert (await case.queue.reap(10)).unpublished == ()
    record = await case.record("1")
    assert (record.state, record.outcome) == (S.FAILED, decision.outcome)


async def test_a_decision_belongs_to_its_lease(case: Case) -> None:
    await case.put("1", "2")
    one, two = await case.claim(2)
    with pytest.raises(Bug):
        await case.queue.decide(one.lease, make.decision("2"))
    with pytest.raises(Bug):
        await case.queue.decide(one.lease, make.decision("1", S.RUNNING))
    with pytest.raises(LeaseLost):
        await case.queue.decide(replace(one.lease, token=two.lease.token), make.decision("1"))


# -------------------------------------------------------------------------------------------------------------- overdue


async def test_the_time_to_live_counts_to_the_first_claim(case: Case) -> None:
    await case.put("claimed", "waiting")
    (claim,) = await case.claim()
    case.clock.advance(59.999_999)
    await case.queue.renew([claim.lease])
    assert (await case.queue.reap(10)).overdue == ()
    case.clock.advance(0.000_001)
    await case.queue.release(claim.lease, RETURNED)
    assert ids_of(await case.claim(5)) == ["claimed"]  # what has expired is not for instances
    (overdue,) = (await case.queue.reap(10)).overdue
    assert (overdue.invocation.id, overdue.overdue, overdue.attempt) == ("waiting", Overdue.EXPIRED, 0)
    assert (await case.queue.reap(10)).overdue == ()
    await case.end(overdue, S.EXPIRED)
    assert await case.state("waiting") is S.EXPIRED


async def test_a_return_without_a_container_is_no_attempt_and_the_time_to_live_goes_on(case: Case) -> None:
    await case.put("1")
    for _ in range(3):
        (claim,) = await case.claim()
        assert claim.attempt == 1
        await case.queue.release(claim.lease, UNTOUCHED)
        assert (await case.record("1")).attempts == 0
    case.clock.advance(60)
    assert await case.claim() == []
    (overdue,) = (await case.queue.reap(10)).overdue
    assert (overdue.overdue, overdue.attempt) == (Overdue.EXPIRED, 0)


async def test_what_a_container_has_had_does_not_expire_when_another_has_not(case: Case) -> None:
    await case.put("1")
    for back in (RETURNED, UNTOUCHED):
        (claim,) = await case.claim()
        await case.queue.release(claim.lease, back)
    case.clock.advance(60)
    (claim,) = await case.claim()
    assert claim.attempt == 2


async def test_a_sweeper_that_died_has_cost_no_attempt(case: Case) -> None:
    await case.put("1")
    case.clock.advance(61)
    assert len((await case.queue.reap(10)).overdue) == 1
    case.clock.advance(31)
    (overdue,) = (await case.queue.reap(10)).overdue
    assert (overdue.overdue, overdue.lost_attempts, overdue.attempt) == (Overdue.EXPIRED, 0, 0)


@pytest.mark.parametrize("status", [EndpointStatus.DELETING, EndpointStatus.DELETED])
async def test_what_waits_on_a_deleted_endpoint_is_ended(case: Case, status: EndpointStatus) -> None:
    await case.store.apply(Add(make.endpoint("other")))
    await case.queue.put(make.invocation("other", endpoint_id="endpoint-other"), None)
    await case.put("1", "2", "3")
    (held,) = await case.claim()
    await case.change_endpoint(status)
    first = await case.queue.reap(1)
    second = await case.queue.reap(10)
    assert sorted(ids_of([*first.overdue, *second.overdue])) == ["2", "3"]
    assert {claim.overdue for claim in (*first.overdue, *second.overdue)} == {Overdue.ENDPOINT_DELETED}
    await case.queue.release(held.lease, RETURNED)
    (third,) = (await case.queue.reap(10)).overdue
    assert (third.invocation.id, third.overdue) == ("1", Overdue.ENDPOINT_DELETED)
    assert await case.state("other") is S.QUEUED


async def test_reap_takes_no_more_than_its_limit(case: Case) -> None:
    await case.put(*(f"n{n}" for n in range(10)))
    case.clock.advance(61)
    sizes = [len((await case.queue.reap(4)).overdue) for _ in range(4)]
    assert sizes == [4, 4, 2, 0]
    assert (await case.queue.reap(0)).overdue == ()


# ------------------------------------------------------------------------------------------------------------ the table


async def _in_state(case: Case, state: InvocationState) -> Claim:
    """An invocation in this state, and the claim that its last holder has."""
    await case.put("x")
    (claim,) = await case.claim()
    if state is S.QUEUED:
        await case.queue.release(claim.lease, RETURNED)
    elif state is S.DELAYED:
        await case.queue.release(claim.lease, RETRIED)
    elif state is S.PUBLISHING:
        await case.queue.decide(claim.lease, make.decision("x"))
    elif state is not S.RUNNING:
        await case.end(claim, state)
    assert await case.state("x") is state
    return claim


@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("state", list(S))
async def test_every_step_from_every_state_is_in_the_table(case: Case, state: InvocationState, step: int) -> None:
    if state is S.PUBLISHING and case.in_one_commit:
        pytest.skip("nothing rests in Publishing")
    claim = await _in_state(case, state)
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: case.queue.finish("x"),
        lambda: case.claim(5),
        lambda: case.queue.release(claim.lease, LOST),
        lambda: case.queue.renew([claim.lease]),
        *(lambda end=end: case.queue.decide(claim.lease, make.decision("x", end)) for end in sorted(TERMINAL)),
        lambda: _late_reap(case),
    ]
    try:
        await steps[step]()
    except LeaseLost:
        assert await case.state("x") is state
    after = await case.state("x")
    assert after is state or after in TRANSITIONS[state]


async def _late_reap(case: Case) -> None:
    case.clock.advance(31)
    await case.queue.reap(5)


async def test_every_row_of_the_table_can_be_walked(case: Case) -> None:
    """Together with the test above: the database does what the table says, and nothing else."""
    walked: set[tuple[InvocationState, InvocationState]] = set()
    for end in sorted(TERMINAL):
        await case.put(end)
        (claim,) = await case.claim()
        walked.add((S.QUEUED, await case.state(end)))
        await case.queue.release(claim.lease, RETURNED)
        walked.add((S.RUNNING, await case.state(end)))
        (claim,) = await case.claim()
        await case.queue.release(claim.lease, RETRIED)
        walked.add((S.RUNNING, await case.state(end)))
        await case.queue.reap(5)
        walked.add((S.DELAYED, await case.state(end)))
        (claim,) = await case.claim()
        reached = await case.queue.decide(claim.lease, make.decision(end, end))
        walked.add((S.RUNNING, reached))
        await case.queue.finish(end)
        if reached is S.PUBLISHING:
            walked.add((reached, await case.state(end)))
    table = {(before, after) for before, afters in TRANSITIONS.items() for after in afters}
    other_way = {(S.PUBLISHING, end) for end in TERMINAL} | {(S.RUNNING, S.PUBLISHING)}
    if not case.in_one_commit:
        other_way = {(S.RUNNING, end) for end in TERMINAL}
    assert walked == table - other_way


# ------------------------------------------------------------------------------------------------------------ the store


async def test_records_are_found_by_state_endpoint_and_instance(case: Case) -> None:
    await case.put("1", "2", "3")
    one, _two = await case.claim(2)
    await case.end(one)

    async def found(**where: Any) -> list[str]:
        return [record.id for record in await case.store.find(InvocationRecord, **where)]

    assert await found() == ["1", "2", "3"]
    assert await found(endpoint_id="endpoint-e", state="Queued") == ["3"]
    assert await found(state=["Running", "Completed"]) == ["1", "2"]
    assert await found(instance_id="i") == ["2"]
    assert await found(instance_id=["i", "j"], endpoint_id="endpoint-e", state=["Running", "Publishing"]) == ["2"]
    assert await found(endpoint_id="other") == []
    assert await found(limit=2) == ["1", "2"]
    assert await found(state=["Completed", "Running"], limit=1) == ["1"]
    assert await found(state=["Running", "Queued"], endpoint_id="endpoint-e", limit=9) == ["2", "3"]
    assert await found(state=[]) == []
    with pytest.raises(Bug):
        await found(bucket="1")
