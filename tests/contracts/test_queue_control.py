"""Stops, priorities, retries, repeats, and what became of invocations: three ports over one queue, held to their promises."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import entities as make
from tests.support.queues import CASES, Case, cases, ids_of

from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import Conflict, InvalidRequest, StopRequested
from tarry.core.history import (
    LEASE_RAN_OUT,
    RETURNS_KEPT,
    SERVER_DIED,
    AttemptEnd,
    InvocationHistory,
    QueuePlace,
    QueueState,
    StopCause,
    UndecidedAttempt,
)
from tarry.core.instance import InstanceState, explain_failure
from tarry.core.invocation import FinalAttempt, InvocationState, redriven
from tarry.ports import (
    CHANNEL_STOPS,
    LOST,
    RETURNED,
    UNTOUCHED,
    Add,
    Back,
    Claim,
    InvocationQuery,
    Overdue,
    Remove,
    Renewed,
    Replace,
    channel_invocation,
    channel_queue,
)

S = InvocationState
SECOND_US = 1_000_000


@pytest.fixture(params=CASES)
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    async for made in cases(request.param, tmp_path):
        yield made


async def history(case: Case, id: str = "1") -> InvocationHistory:
    found = await case.records.history(id)
    assert found is not None
    return found


async def overdue(case: Case) -> list[Claim]:
    return list((await case.queue.reap(100)).overdue)


# ---------------------------------------------------------------------------------------------------------------- stops


async def test_what_waits_is_stopped_by_the_sweeper_and_given_to_no_instance(case: Case) -> None:
    await case.put("1", "2")
    assert await case.control.stop("1") is S.QUEUED
    assert case.wakeups.hints[-1] == CHANNEL_STOPS
    assert (await case.record("1")).stop_requested
    assert ids_of(await case.claim(5)) == ["2"]
    (claim,) = await overdue(case)
    assert (claim.invocation.id, claim.overdue, claim.attempt) == ("1", Overdue.STOPPED, 0)
    await case.end(claim, S.STOPPED)
    assert await case.state("1") is S.STOPPED
    assert await case.control.stop("1") is S.STOPPED
    assert await overdue(case) == []


async def test_a_stop_says_which_operation_asked_first(case: Case) -> None:
    await case.put("1", "2")
    await case.control.stop("1")
    await case.control.purge("endpoint-e")
    await case.control.stop("2")
    causes = [(await case.record(each)).stop_cause for each in ("1", "2")]
    assert causes == [StopCause.STOP_INVOCATION, StopCause.PURGE_QUEUE]
    await case.put("3")
    assert (await history(case, "3")).record.stop_cause is None


async def test_the_holder_of_what_runs_hears_that_it_is_to_be_stopped(case: Case) -> None:
    await case.put("1", "2")
    one, two = await case.claim(2)
    assert await case.control.stop("1") is S.RUNNING
    renewed = await case.queue.renew([one.lease, two.lease])
    assert renewed == Renewed(stopping=frozenset({one.lease}))
    await case.end(one, S.STOPPED)
    assert await case.state("1") is S.STOPPED


@pytest.mark.parametrize("back", [LOST, RETURNED, Back(end=AttemptEnd.RETRIED, delay_s=3600)])
async def test_a_stop_outlives_the_attempt(case: Case, back: Back) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    await case.control.stop("1")
    await case.queue.release(claim.lease, back)
    assert await case.claim() == []
    (swept,) = await overdue(case)
    assert swept.overdue is Overdue.STOPPED


async def test_what_is_to_be_stopped_has_no_other_end(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    await case.control.stop("1")
    with pytest.raises(StopRequested):
        await case.queue.decide(claim.lease, make.decision("1"))
    assert await case.state("1") is S.RUNNING
    await case.end(claim, S.STOPPED)
    assert await case.state("1") is S.STOPPED


async def test_a_decision_comes_before_a_stop(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    reached = await case.queue.decide(claim.lease, make.decision("1"))
    assert await case.control.stop("1") is reached
    await case.queue.finish("1")
    assert (await case.state("1"), await case.control.stop("unknown")) == (S.COMPLETED, None)


async def test_a_purge_takes_what_waits_and_nothing_else(case: Case) -> None:
    await case.store.apply(Add(make.endpoint("other")))
    await case.put("running", "delayed", "1", "2", "3")
    await case.queue.put(make.invocation("elsewhere", endpoint_id="endpoint-other"), None)
    _running, delayed = await case.claim(2)
    await case.queue.release(delayed.lease, Back(end=AttemptEnd.RETRIED, delay_s=60))
    assert [await case.control.purge("endpoint-e"), await case.control.purge("endpoint-e")] == [4, 0]
    assert await case.claim(9) == []
    await case.put("later")
    assert sorted(ids_of(await overdue(case))) == ["1", "2", "3", "delayed"]
    assert (await case.state("running"), await case.state("elsewhere")) == (S.RUNNING, S.QUEUED)
    assert ids_of(await case.claim(9)) == ["later"]


# ----------------------------------------------------------------------------------------------------------- priorities


async def test_a_priority_can_change_while_it_waits(case: Case) -> None:
    await case.put("1", "2", "3", "4")
    assert await case.control.prioritise("3", 1) is S.QUEUED
    assert await case.control.prioritise("1", -1) is S.QUEUED
    assert (await case.record("3")).priority == 1
    assert [(await case.records.place(each)).ahead for each in "3241"] == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert ids_of(await case.claim(4)) == ["3", "2", "4", "1"]
    assert await case.control.prioritise("3", 9) is S.RUNNING
    assert (await case.record("3")).priority == 1
    assert await case.control.prioritise("unknown", 9) is None
    assert await case.records.place("3") is None


async def test_what_is_to_be_stopped_keeps_nobody_waiting(case: Case) -> None:
    await case.put("1", "2", "3")
    await case.control.stop("1")
    places = [await case.records.place(each) for each in "123"]
    assert [place.ahead for place in places if place is not None] == [0, 0, 1]


# -------------------------------------------------------------------------------------------------------------- retries


async def test_a_retry_waits_its_time_and_is_remembered(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    case.clock.advance(2)
    await case.queue.release(claim.lease, Back(end=AttemptEnd.RETRIED, delay_s=10, status=503, reason="busy"))
    record = await case.record("1")
    assert (record.state, record.due_at_us, record.lost_attempts) == (S.DELAYED, make.NOW_US + 12 * SECOND_US, 0)
    case.clock.advance(9.999)
    await case.queue.reap(10)
    assert await case.claim() == []
    case.clock.advance(0.001)
    case.wakeups.hints.clear()
    await case.queue.reap(10)
    assert case.wakeups.hints == [channel_queue("endpoint-e")]
    (again,) = await case.claim()
    assert (again.attempt, again.lost_attempts) == (2, 0)
    assert (await history(case)).undecided == (
        UndecidedAttempt(
            number=1,
            instance_id="i",
            claimed_at_us=make.NOW_US,
            ended_at_us=make.NOW_US + 2 * SECOND_US,
            end=AttemptEnd.RETRIED,
            status=503,
            reason="busy",
        ),
    )


async def test_no_delay_is_longer_for_a_clock_that_was_set_back(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    await case.queue.release(claim.lease, Back(end=AttemptEnd.RETRIED, delay_s=10))
    case.clock.set_wall(-24 * 3600)
    await case.queue.reap(10)
    assert await case.state("1") is S.QUEUED


async def test_what_is_delayed_does_not_outlive_its_endpoint(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    await case.queue.release(claim.lease, Back(end=AttemptEnd.RETRIED, delay_s=3600))
    await case.change_endpoint(EndpointStatus.DELETING)
    (swept,) = await overdue(case)
    assert swept.overdue is Overdue.ENDPOINT_DELETED


# -------------------------------------------------------------------------------------------------------------- repeats


async def test_the_same_request_within_its_window_is_one(case: Case) -> None:
    first = make.invocation("1", inference_id="mine", named_by_caller=True)
    assert await case.queue.put(first, None) == first
    asked = {"inference_id": "mine", "named_by_caller": True, "input_location": first.input_location}
    since_us = first.received_at_us
    assert await case.queue.put(make.invocation("2", **asked), None, same_since_us=since_us) == first
    others = [
        (make.invocation("3", **asked), None),
        (make.invocation("4", **asked), since_us + 1),
        (make.invocation("5", **{**asked, "input_location": "s3://b/in/else"}), since_us),
        (make.invocation("6", **{**asked, "inference_id": "else"}), since_us),
        (make.invocation("7", **asked, content_type="text/x"), since_us),
        (make.invocation("8", **{**asked, "input_location": None, "body_sha256": "00"}), since_us),
    ]
    for other, since in others:
        assert await case.queue.put(other, None, same_since_us=since) == other
    assert ids_of(await case.claim(9)) == ["1", "3", "4", "5", "6", "7", "8"]
    assert [record.id for record in await case.records.named("mine", 3)] == ["8", "7", "5"]


async def test_a_redrive_neither_answers_a_repeat_nor_begins_a_window(case: Case) -> None:
    asked = {"inference_id": "mine", "named_by_caller": True, "input_location": "s3://b/in/x"}
    first = make.invocation("1", **asked)
    await case.queue.put(first, None)
    (claim,) = await case.claim()
    await case.end(claim, S.FAILED)
    again = make.invocation("2", **asked, redrive_of="1", received_at_us=first.received_at_us + 1_000_000)
    await case.queue.put(again, None)
    assert await case.queue.put(make.invocation("3", **asked), None, same_since_us=first.received_at_us) == first
    late = make.invocation("4", **asked)
    assert await case.queue.put(late, None, same_since_us=first.received_at_us + 1) == late


async def test_what_is_being_ended_shows_no_instance_and_no_attempt(case: Case) -> None:
    await case.put("1")
    case.clock.advance(61)
    (swept,) = await overdue(case)
    record = await case.record("1")
    assert (swept.lease.instance_id, record.instance_id, record.claimed_at_us, record.attempts) == ("sweeper", None, None, 0)
    state = await case.records.queue("endpoint-e")
    assert (state.queued, state.running) == (0, 0)


async def test_repeats_that_arrive_together_are_one(case: Case) -> None:
    asked = {"inference_id": "mine", "named_by_caller": True, "input_location": "s3://b/in/x"}
    offers = [make.invocation(str(n), **asked) for n in range(20)]
    got = await asyncio.gather(*(case.queue.put(each, None, same_since_us=make.NOW_US) for each in offers))
    assert len({each.id for each in got}) == 1
    assert len(await case.claim(20)) == 1


async def test_an_ended_invocation_is_redriven_once(case: Case) -> None:
    await case.put("1")
    (claim,) = await case.claim()
    await case.end(claim, S.FAILED)
    ended = (await case.record("1")).invocation
    again = redriven(ended, endpoint_id=ended.endpoint_id, invocation_id="2", now_us=make.NOW_US + 5, priority=3)
    assert await case.queue.put(again, None) == again
    assert (await case.record("1")).redriven_as == "2"
    assert (await case.record("2")).priority == 3
    for other, of in (("3", ended), ("4", replace(ended, id="gone"))):
        once_more = redriven(of, endpoint_id=of.endpoint_id, invocation_id=other, now_us=make.NOW_US, priority=0)
        with pytest.raises(Conflict):
            await case.queue.put(once_more, None)
    (claim,) = await case.claim(5)
    assert (claim.invocation.id, claim.invocation.output_location) == ("2", ended.output_location)
    assert claim.invocation.expires_at_us == make.NOW_US + 5 + 60 * SECOND_US


# -------------------------------------------------------------------------------------------------------------- history


async def test_every_attempt_is_remembered(case: Case) -> None:
    await case.put("1")
    (first,) = await case.claim()
    await case.queue.release(first.lease, replace(LOST, reason="it died"))
    (second,) = await case.claim()
    await case.queue.release(second.lease, RETURNED)
    await case.claim()
    case.clock.advance(31)
    await case.queue.reap(10)
    (last,) = await case.claim()
    found = await history(case)
    told = [(each.number, each.end, each.reason) for each in found.undecided]
    assert told == [(1, AttemptEnd.LOST, "it died"), (2, AttemptEnd.RETURNED, None), (3, AttemptEnd.LOST, LEASE_RAN_OUT)]
    assert found.record.claimed_at_us == make.NOW_US + 31 * SECOND_US
    final = FinalAttempt(number=4, instance_id="i", claimed_at_us=last.claimed_at_us, answered_at_us=make.NOW_US)
    decision = make.decision("1")
    await case.queue.decide(last.lease, replace(decision, outcome=replace(decision.outcome, attempt=final)))
    await case.queue.finish("1")
    assert case.wakeups.hints[-1] == channel_invocation("1")
    ended = (await history(case)).record
    assert ended.outcome is not None
    assert (ended.outcome.attempt, ended.claimed_at_us) == (final, None)
    assert await case.records.history("unknown") is None


@pytest.mark.parametrize(
    ("ended_s", "state", "told"),
    [
        (0, InstanceState.FAILED, True),
        (40, InstanceState.FAILED, True),
        (41, InstanceState.FAILED, False),
        (-1, InstanceState.FAILED, False),
        (10, InstanceState.STOPPED, False),
    ],
    ids=["at its claim", "in time", "too late", "before", "stopped"],
)
async def test_a_lost_attempt_tells_why_its_instance_failed(case: Case, ended_s: int, state: InstanceState, told: bool) -> None:
    await case.put("1")
    (first,) = await case.claim()
    case.clock.advance(10)
    await case.queue.release(first.lease, replace(LOST, reason="It broke."))
    (second,) = await case.claim()
    await case.queue.release(second.lease, replace(RETURNED, reason="It stops."))
    why = explain_failure("It ran out of memory.", ["what it printed"]) if state is InstanceState.FAILED else None
    ended = replace(case.instance, state=state, ended_at_us=make.NOW_US + ended_s * SECOND_US, failure_reason=why)
    await case.store.apply(Replace(ended))
    reasons = [each.reason for each in (await history(case)).undecided]
    assert reasons == ["It broke. It ran out of memory." if told else "It broke.", "It stops."]
    await case.store.apply(Remove(replace(ended, revision=ended.revision + 1)))
    assert [each.reason for each in (await history(case)).undecided] == ["It broke.", "It stops."]


async def test_of_the_attempts_that_were_nobodys_fault_the_newest_are_remembered(case: Case) -> None:
    await case.put("1", "2")
    (other,) = await case.claim()
    (first,) = await case.claim()
    await case.queue.release(first.lease, LOST)
    await case.queue.release(other.lease, RETURNED)
    for n in range(RETURNS_KEPT + 3):
        one, two = sorted(await case.claim(2), key=lambda claim: claim.invocation.id)
        await case.queue.release(two.lease, replace(UNTOUCHED if n % 2 else RETURNED, reason=str(n)))
        await case.queue.release(one.lease, Back(end=AttemptEnd.RETRIED))
        await case.queue.reap(1)
    told = [each.reason for each in (await history(case, "2")).undecided]
    assert told == [None, *(str(n) for n in range(3, RETURNS_KEPT + 3))]
    assert len((await history(case, "1")).undecided) == 1 + RETURNS_KEPT + 3


async def test_an_attempt_that_died_with_its_server_says_so(case: Case) -> None:
    await case.put("1")
    await case.claim()
    await case.restart()
    await case.queue.reap(10)
    (attempt,) = (await history(case)).undecided
    assert (attempt.end, attempt.reason) == (AttemptEnd.LOST, SERVER_DIED)


async def test_a_state_can_be_asked_for_alone(case: Case) -> None:
    await case.put("1")
    assert (await case.records.state("1"), await case.records.state("unknown")) == (S.QUEUED, None)
    (claim,) = await case.claim()
    assert await case.records.state("1") is S.RUNNING
    await case.end(claim)
    assert await case.records.state("1") is S.COMPLETED


async def test_it_is_told_when_the_topic_has_heard(case: Case) -> None:
    await case.put("1", "2")
    for claim in await case.claim(2):
        await case.end(claim)
    await case.outbox.retry("1", after_s=5, error="no answer")
    found = await history(case)
    assert (found.announced_at_us, found.notification_error) == (None, "no answer")
    case.clock.advance(5)
    await case.outbox.done("1")
    found = await history(case)
    assert (found.announced_at_us, found.notification_error) == (make.NOW_US + 5 * SECOND_US, None)
    await case.outbox.give_up("2", error="no such topic")
    assert (await history(case, "2")).notification_error == "no such topic"


async def test_the_body_of_what_has_not_completed_can_be_had_again(case: Case) -> None:
    for each in "12":
        await case.queue.put(make.invocation(each, input_location=None), each.encode())
    one, two = await case.claim(2)
    await case.end(one, S.FAILED)
    await case.end(two)
    assert [await case.records.body(each) for each in "123"] == [b"1", None, None]


async def test_a_place_tells_how_many_run_and_what_an_attempt_took(case: Case) -> None:
    await case.put("1", "2", "3", "4")
    place = await case.records.place("4")
    assert place is not None
    assert (place.ahead, place.running, place.attempt_s) == (3, 0, None)
    for _, seconds in zip(range(2), (2, 4), strict=True):
        (claim,) = await case.claim()
        final = FinalAttempt(number=1, instance_id="i", claimed_at_us=claim.claimed_at_us)
        decision = make.decision(claim.invocation.id)
        outcome = replace(decision.outcome, ended_at_us=claim.claimed_at_us + seconds * SECOND_US, attempt=final)
        await case.queue.decide(claim.lease, replace(decision, outcome=outcome))
    await case.claim()
    case.clock.advance(20)  # idle or not, it does not count
    place = await case.records.place("4")
    assert place == QueuePlace(ahead=0, running=1, attempt_s=3.0)


async def test_a_queue_says_what_it_holds(case: Case) -> None:
    nothing = QueueState(queued=0, delayed=0, running=0, publishing=0, oldest_received_at_us=None)
    assert await case.records.queue("endpoint-e") == nothing
    for n in range(5):
        await case.queue.put(make.invocation(f"n{n}", received_at_us=make.NOW_US + n), None)
    first, second = await case.claim(2)
    await case.queue.release(second.lease, Back(end=AttemptEnd.RETRIED, delay_s=60))
    await case.end(first)
    held = QueueState(queued=3, delayed=1, running=0, publishing=0, oldest_received_at_us=make.NOW_US + 1)
    assert await case.records.queue("endpoint-e") == held


# ------------------------------------------------------------------------------------------------------------ retention


async def test_what_ended_long_ago_is_forgotten_in_batches(case: Case) -> None:
    for n in range(5):
        await case.queue.put(make.invocation(f"n{n}", input_location=None), b"body")
    claims = await case.claim(4)
    await case.queue.release(claims[0].lease, RETURNED)
    (again,) = await case.claim(1)
    for n, claim in enumerate((again, *claims[1:3])):
        decision = make.decision(claim.invocation.id, S.FAILED)
        outcome = replace(decision.outcome, ended_at_us=make.NOW_US + n)
        await case.queue.decide(claim.lease, replace(decision, outcome=outcome))
        await case.queue.finish(claim.invocation.id)
    await case.outbox.give_up("n0", error="no such topic")
    assert await case.control.forget(make.NOW_US, 10) == 0
    assert await case.control.forget(make.NOW_US + 2, 1) == 1
    assert await case.control.forget(make.NOW_US + 2, 10) == 1
    assert await case.control.forget(make.NOW_US + 2, 10) == 0
    assert await all_pages(case, InvocationQuery()) == ["n4", "n3", "n2"]
    assert await case.records.history("n0") is None
    assert await case.records.body("n0") is None
    assert [outgoing.notification.id for outgoing in await case.outbox.due(10)] == ["n1", "n2"]
    assert await case.state("n3") is S.RUNNING


async def test_an_end_in_the_future_keeps_nothing_else(case: Case) -> None:
    """The clock was ahead for a while, and has been set back."""
    await case.put("1", "2", "3")
    for ended_at_us, claim in zip([2**60, make.NOW_US + 1, make.NOW_US], await case.claim(3), strict=True):
        decision = make.decision(claim.invocation.id)
        await case.queue.decide(claim.lease, replace(decision, outcome=replace(decision.outcome, ended_at_us=ended_at_us)))
        await case.queue.finish(claim.invocation.id)
    assert await case.control.forget(make.NOW_US + 2, 1) == 1
    assert await all_pages(case, InvocationQuery()) == ["2", "1"], "in the order of their ends"
    assert await case.control.forget(make.NOW_US + 2, 10) == 1
    assert await all_pages(case, InvocationQuery()) == ["1"]


# ---------------------------------------------------------------------------------------------------------------- pages


async def all_pages(case: Case, query: InvocationQuery) -> list[str]:
    found: list[str] = []
    while True:
        page = await case.records.page(query)
        assert len(page.items) <= query.limit
        found += [record.id for record in page.items]
        if page.next_token is None:
            return found
        query = replace(query, token=page.next_token)


async def test_pages_come_newest_first_and_filtered(case: Case) -> None:
    await case.store.apply(Add(make.endpoint("other")))
    for n in range(7):
        await case.queue.put(make.invocation(f"n{n}", received_at_us=make.NOW_US + n), None)
    await case.queue.put(make.invocation("x", endpoint_id="endpoint-other", received_at_us=make.NOW_US + 7), None)
    zero, one, _ = await case.claim(3)
    await case.end(zero, S.FAILED)
    await case.end(one)
    assert await all_pages(case, InvocationQuery(limit=3)) == ["x", "n6", "n5", "n4", "n3", "n2", "n1", "n0"]
    assert await all_pages(case, InvocationQuery(limit=8)) == ["x", "n6", "n5", "n4", "n3", "n2", "n1", "n0"]
    ends = frozenset({S.FAILED, S.COMPLETED})
    assert await all_pages(case, InvocationQuery(limit=1, states=ends, endpoint_id="endpoint-e")) == ["n1", "n0"]
    assert await all_pages(case, InvocationQuery(reason_contains="BECAUSE")) == ["n0"]
    assert await all_pages(case, InvocationQuery(received_after_us=make.NOW_US + 4, endpoint_id="endpoint-e")) == ["n6", "n5"]
    assert await all_pages(case, InvocationQuery(received_before_us=make.NOW_US + 2)) == ["n1", "n0"]


async def test_pages_of_one_inference_id(case: Case) -> None:
    for n in range(3):
        await case.queue.put(make.invocation(f"m{n}", inference_id="mine", named_by_caller=True), None)
        await case.put(f"n{n}")
    (zero,) = await case.claim()
    await case.end(zero, S.FAILED)
    assert await all_pages(case, InvocationQuery(limit=2, inference_id="mine")) == ["m2", "m1", "m0"]
    assert await all_pages(case, InvocationQuery(inference_id="mine", states=frozenset({S.FAILED}))) == ["m0"]
    assert await all_pages(case, InvocationQuery(inference_id="mine", endpoint_id="endpoint-other")) == []
    assert await all_pages(case, InvocationQuery(inference_id="n1")) == [], "that is our id, nobody called it so"


async def test_a_page_is_in_the_order_in_which_they_were_received(case: Case) -> None:
    for each, received_at_us in (("1", 5), ("2", 3), ("3", 5), ("4", 4)):
        await case.queue.put(make.invocation(each, received_at_us=received_at_us), None)
    for limit in (1, 2, 9):
        assert await all_pages(case, InvocationQuery(limit=limit)) == ["3", "1", "4", "2"]
        assert await all_pages(case, InvocationQuery(limit=limit, received_before_us=5)) == ["4", "2"]
        assert await all_pages(case, InvocationQuery(limit=limit, received_after_us=4, endpoint_id="endpoint-e")) == ["3", "1"]
    assert (await case.records.queue("endpoint-e")).oldest_received_at_us == 3


async def test_pages_of_many_states_are_merged(case: Case) -> None:
    await case.store.apply(Add(make.endpoint("other")))
    for n in range(8):
        await case.queue.put(make.invocation(str(n), received_at_us=make.NOW_US + n), None)
    await case.queue.put(make.invocation("x", endpoint_id="endpoint-other", received_at_us=make.NOW_US + 3), None)
    claims = await case.claim(6)
    await case.end(claims[0], S.FAILED)
    await case.end(claims[2], S.STOPPED)
    await case.end(claims[3], S.FAILED)
    await case.queue.release(claims[4].lease, Back(end=AttemptEnd.RETRIED, delay_s=60))
    for limit in (1, 3, 9):
        assert await all_pages(case, InvocationQuery(limit=limit)) == ["7", "6", "5", "4", "x", "3", "2", "1", "0"]
        some = frozenset({S.FAILED, S.QUEUED, S.DELAYED})
        assert await all_pages(case, InvocationQuery(limit=limit, states=some)) == ["7", "6", "4", "x", "3", "0"]
        assert await all_pages(case, InvocationQuery(limit=limit, states=some, endpoint_id="endpoint-other")) == ["x"]
        assert await all_pages(case, InvocationQuery(limit=limit, reason_contains="CAUSE")) == ["3", "2", "0"]
        failed = InvocationQuery(limit=limit, reason_contains="CAUSE", states=frozenset({S.FAILED}))
        assert await all_pages(case, failed) == ["3", "0"]
        assert await all_pages(case, InvocationQuery(limit=limit, reason_contains="")) == ["3", "2", "0"]


async def test_a_page_is_stable_under_inserts(case: Case) -> None:
    await case.put("1", "2", "3")
    first = await case.records.page(InvocationQuery(limit=2))
    await case.put("4")
    rest = await case.records.page(InvocationQuery(limit=2, token=first.next_token))
    assert [record.id for record in (*first.items, *rest.items)] == ["3", "2", "1"]


@pytest.mark.parametrize("token", ["", "AAAA", "ü", "aTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNA", "aS0x"])
async def test_a_token_that_is_not_ours_is_refused(case: Case, token: str) -> None:
    with pytest.raises(InvalidRequest):
        await case.records.page(InvocationQuery(token=token))
