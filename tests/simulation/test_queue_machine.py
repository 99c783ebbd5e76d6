"""Any sequence of calls of ports.InvocationQueue gives what a small model says, on every backend.

Hypothesis chooses the calls and shrinks what fails to the shortest sequence. Each example has a queue of its own, with two
instances that the buckets are split among, and ends with everything coming to its end.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule, run_state_machine_as_test
from tests.simulation.queue_model import SWEEPER, QueueModel, Row, S
from tests.support import entities as make
from tests.support.queues import CASES, QUEUED_MAX, Case, cases

from tarry.core.deployment import Routing, Share
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import BucketNotFound, EndpointNotFound, LeaseLost, StopRequested, Throttled
from tarry.core.history import AttemptEnd, InvocationRecord
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import TERMINAL
from tarry.core.names import S3Location
from tarry.ports import LOST, RETURNED, UNTOUCHED, Add, Back, Claim, Overdue, Reaped, Replace

ENDPOINT = "endpoint-e"
BUCKETS = 4
ALL = 1000
"""A limit that nothing reaches."""
SECONDS = st.sampled_from([0.0, 1.0, 10.0, 29.999_999, 30.0, 31.0, 100.0])
BACKS = st.sampled_from(
    [LOST, LOST, RETURNED, UNTOUCHED, Back(end=AttemptEnd.RETRIED), Back(end=AttemptEnd.RETRIED, delay_s=20.0)]
)
BUCKET = st.integers(0, BUCKETS - 1)
TTL_S = st.sampled_from([1, 60, 60])
PRIORITY = st.sampled_from([0, 0, 1])
INSTANCES = st.sampled_from(["i", "j"])
_ENDS = {Overdue.EXPIRED: S.EXPIRED, Overdue.STOPPED: S.STOPPED}


class QueueMachine(RuleBasedStateMachine):
    """One example, on a queue of its own. ``backend`` is one of CASES, ``run`` brings a coroutine to its end."""

    backend: str
    directory: Path
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self._directory = TemporaryDirectory(dir=self.directory)
        self._opened = _opened(self.backend, Path(self._directory.name))
        self.case: Case = self.do(self._opened.__aenter__())
        self.instances = {"i": self.case.instance, "j": make.instance("j", variant_name="w")}
        self.model = QueueModel(in_service={"i", "j"})
        self.do(self.case.store.apply(Add(self.instances["j"]), Replace(self._routing(BUCKETS // 2, 0))))

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a call."""
        return type(self).run(work)

    # --------------------------------------------------------------------------------------------------- the work

    @initialize(
        target=claims, several=st.lists(st.tuples(BUCKET, TTL_S, PRIORITY), min_size=2, max_size=8), limit=st.integers(0, 4)
    )
    def begin_with_some(self, several: list[tuple[int, int, int]], limit: int) -> Any:
        for bucket, ttl_s, priority in several:
            self.put(bucket, ttl_s, priority)
        return multiple(*self._claim("i", limit), *self._claim("j", limit))

    @rule(bucket=BUCKET, ttl_s=TTL_S, priority=PRIORITY)
    def put(self, bucket: int, ttl_s: int, priority: int) -> None:
        now_us = self._now_us()
        invocation = make.invocation(
            f"n{len(self.model.rows)}",
            bucket=bucket,
            received_at_us=now_us,
            expires_at_us=now_us + ttl_s * 1_000_000,
            priority=priority,
        )
        if self.model.deleted or len(self.model.waiting()) >= QUEUED_MAX:
            with pytest.raises(EndpointNotFound if self.model.deleted else Throttled):
                self.do(self.case.queue.put(invocation, None))
        else:
            assert self.do(self.case.queue.put(invocation, None)) == invocation
            self.model.put(invocation)

    @rule(target=claims, by=INSTANCES, limit=st.integers(0, 4), with_lost=st.booleans())
    def claim(self, by: str, limit: int, with_lost: bool) -> Any:
        return multiple(*self._claim(by, limit, with_lost=with_lost))

    @rule(target=claims, by=INSTANCES, seconds=SECONDS)
    def claim_again_after_a_while(self, by: str, seconds: float) -> Any:
        """What was lost comes back, and to others."""
        self.case.clock.advance(seconds)
        return multiple(*self._reap(ALL).overdue, *self._claim(by, 2))

    @rule(several=st.lists(claims, max_size=3))
    def renew(self, several: list[Claim]) -> None:
        leases = list({claim.lease.token: claim.lease for claim in several}.values())
        renewed = self.do(self.case.queue.renew(leases))
        held = {lease: row for lease in leases if (row := self.model.held(lease))}
        assert renewed.lost == {lease for lease in leases if lease not in held}
        assert renewed.stopping == {lease for lease, row in held.items() if row.stop}
        for row in held.values():
            self.model.extend(row, self._now_us())

    @rule(claim=claims, back=BACKS)
    def release(self, claim: Claim, back: Back) -> None:
        if claim.overdue is not None:
            return  # the sweeper gives nothing back
        self.do(self.case.queue.release(claim.lease, back))
        row = self.model.held(claim.lease)
        if row is not None and row.state is S.RUNNING:
            self.model.put_back(row, back, self._now_us())

    @rule(claim=claims, state=st.sampled_from(sorted(TERMINAL)), inline=st.sampled_from([b"answer", None]), told=st.booleans())
    def decide(self, claim: Claim, state: S, inline: bytes | None, told: bool) -> None:
        decision = make.decision(claim.invocation.id, state, inline=inline, told=told)
        row = self.model.held(claim.lease)
        if row is None or row.state is not S.RUNNING:
            with pytest.raises(LeaseLost):
                self.do(self.case.queue.decide(claim.lease, decision))
            return
        if row.stop and state is not S.STOPPED:
            with pytest.raises(StopRequested):
                self.do(self.case.queue.decide(claim.lease, decision))
            return
        published = len(self.case.published)
        reached = self.do(self.case.queue.decide(claim.lease, decision))
        row.state, row.decision = S.PUBLISHING, decision
        if self.case.in_one_commit:
            self.model.end(row)
            assert self.case.published[published:] == [decision.staged]
        assert reached is row.state

    @rule(claim=claims)
    def decide_for_a_bucket_that_is_gone(self, claim: Claim) -> None:
        row = self.model.held(claim.lease)
        if not self.case.in_one_commit or row is None or row.state is not S.RUNNING:
            return
        decision = make.decision(claim.invocation.id)
        assert decision.staged is not None
        nowhere = replace(decision.staged, location=S3Location("missing", "key"))
        with pytest.raises(StopRequested if row.stop else BucketNotFound):
            self.do(self.case.queue.decide(claim.lease, replace(decision, staged=nowhere)))

    @rule(claim=claims)
    def finish(self, claim: Claim) -> None:
        self._finish(claim.invocation.id)

    # ------------------------------------------------------------------------------------- the sweeper, time and restarts

    @rule(target=claims, limit=st.sampled_from([1, ALL, ALL]))
    def reap(self, limit: int) -> Any:
        return multiple(*self._reap(limit).overdue)

    @rule(seconds=SECONDS)
    def pass_time(self, seconds: float) -> None:
        self.case.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        self.do(_wait_for(self.case.restart))
        self.model.new_epoch()

    # ------------------------------------------------------------------------------------------------ what people change

    @rule(split=st.integers(0, BUCKETS))
    def route(self, split: int) -> None:
        found = self.do(self.case.store.get(Routing, ENDPOINT))
        self.do(self.case.store.apply(Replace(self._routing(split, found.revision))))

    @rule(name=INSTANCES, state=st.sampled_from([InstanceState.IN_SERVICE, InstanceState.DRAINING]))
    def move_instance(self, name: str, state: InstanceState) -> None:
        row = self.do(self.case.store.get(Instance, name))
        self.do(self.case.store.apply(Replace(replace(row, state=state))))
        (self.model.in_service.add if state is InstanceState.IN_SERVICE else self.model.in_service.discard)(name)

    @rule(claim=claims)
    def stop(self, claim: Claim) -> None:
        row = self.model.rows[claim.invocation.id]
        assert self.do(self.case.control.stop(row.invocation.id)) is row.state
        self.model.ask_to_stop(row)

    @rule(priority=st.integers(-1, 1), last=st.booleans())
    def prioritise(self, priority: int, last: bool) -> None:
        for row in self.model.waiting()[-1 if last else 0 :][:1]:
            assert self.do(self.case.control.prioritise(row.invocation.id, priority)) is S.QUEUED
            row.priority = priority

    @rule()
    def purge(self) -> None:
        waiting = [row for row in self.model.rows.values() if row.state in (S.QUEUED, S.DELAYED) and not row.stop]
        assert self.do(self.case.control.purge(ENDPOINT)) == len(waiting)
        for record in self._records():
            if record.stop_requested:
                assert record.state in (S.QUEUED, S.DELAYED) or self.model.rows[record.id].stop
                self.model.ask_to_stop(self.model.rows[record.id])

    @rule()
    def delete_endpoint(self) -> None:
        if len(self.model.rows) > 8:  # late: not much comes after it
            self._delete()

    # --------------------------------------------------------------------------------------------- what holds after each

    @invariant()
    def the_records_say_the_same(self) -> None:
        rows = self.model.rows
        records = self._records()
        assert [record.id for record in records] == list(rows)
        for record in records:
            row = rows[record.id]
            assert record.state is row.state, record.id
            assert (record.attempts, record.lost_attempts) == (row.attempts, row.lost), record.id
            assert (record.stop_requested, record.priority) == (row.stop, row.priority), record.id
            owner = row.lease.instance_id if row.lease else None
            assert record.instance_id == (None if owner == SWEEPER else owner), record.id
            assert record.outcome == (row.decision.outcome if row.decision else None), record.id

    @invariant()
    def what_has_ended_is_announced_and_nothing_else(self) -> None:
        due = self.do(self.case.outbox.due(ALL))
        assert [each.notification.id for each in due] == self.model.announced

    @invariant()
    def the_count_of_what_waits_is_right(self) -> None:
        queue = self.do(self.case.records.queue(ENDPOINT))
        ending = [
            row for row in self.model.rows.values() if row.state is S.RUNNING and row.lease and row.lease.instance_id == SWEEPER
        ]
        states = [row.state for row in self.model.rows.values() if row not in ending]
        counts = (queue.queued, queue.delayed, queue.running, queue.publishing)
        assert counts == tuple(states.count(state) for state in (S.QUEUED, S.DELAYED, S.RUNNING, S.PUBLISHING))

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._come_to_rest()
        finally:
            self.do(self._opened.__aexit__(None, None, None))
            self._directory.cleanup()

    def _come_to_rest(self) -> None:
        """Whatever has happened: when the leases are over, the sweeper brings everything to an end, and each is told once."""
        if not self.model.deleted:
            self._delete()
        for _ in range(2):  # what comes from an ended lease, then what comes from those of the sweeper
            self.case.clock.advance(31)
            reaped = self._reap(ALL)
            for claim in reaped.overdue:
                state = _ENDS.get(claim.overdue, S.FAILED) if claim.overdue else S.FAILED
                self.decide(claim, state, b"", told=True)
            for name in (
                *(claim.invocation.id for claim in reaped.overdue),
                *(each.invocation_id for each in reaped.unpublished),
            ):
                self._finish(name)
        assert {row.state for row in self.model.rows.values()} <= TERMINAL
        self.the_records_say_the_same()
        self.what_has_ended_is_announced_and_nothing_else()

    # ------------------------------------------------------------------------------------------------------------ common

    def _reap(self, limit: int) -> Reaped:
        model, now_us = self.model, self._now_us()
        for row in model.abandoned(S.RUNNING, now_us):
            model.put_back(row, LOST, now_us)
        unpublished = {row.invocation.id for row in model.abandoned(S.PUBLISHING, now_us)}
        due = model.due(now_us)
        reaped: Reaped = self.do(self.case.queue.reap(limit))
        back = {record.id for record in self._records() if record.state is not S.DELAYED}
        assert limit < len(due) or all(row.invocation.id in back for row in due)
        for row in due:
            if row.invocation.id in back:
                row.state, row.due_at_us = S.QUEUED, None
        overdue = {row.invocation.id: reason for row in model.waiting() if (reason := model.overdue(row, now_us))}
        assert len(reaped.overdue) == min(limit, len(overdue))
        for claim in reaped.overdue:
            row = model.rows[claim.invocation.id]
            assert (claim.overdue, claim.attempt, claim.lost_attempts) == (overdue[claim.invocation.id], row.attempts, row.lost)
            self._take(claim, SWEEPER)
        assert len(reaped.unpublished) == min(limit, len(unpublished))
        for decision in reaped.unpublished:
            row = model.rows[decision.invocation_id]
            assert decision == row.decision
            assert decision.invocation_id in unpublished
            self._taken_over(row)
        return reaped

    def _claim(self, by: str, limit: int, *, with_lost: bool = True) -> list[Claim]:
        wanted = self.model.claimable(by, self._now_us(), with_lost=with_lost)[:limit]
        claims: list[Claim] = self.do(self.case.queue.claim(self.instances[by], limit, with_lost=with_lost))
        assert [claim.invocation.id for claim in claims] == [row.invocation.id for row in wanted]
        for claim, row in zip(claims, wanted, strict=True):
            self._take(claim, by)
            assert (claim.attempt, claim.lost_attempts, claim.overdue) == (row.attempts, row.lost, None)
        return claims

    def _take(self, claim: Claim, owner: str) -> None:
        assert claim.lease.instance_id == owner
        assert claim.claimed_at_us == self._now_us()
        self.model.take(claim, self._now_us())

    def _taken_over(self, row: Row) -> None:
        """The sweeper publishes it now; its lease is nobody's to use, so only its end is known."""
        row.lease = replace(row.lease, token="the sweeper's", instance_id=SWEEPER) if row.lease else None
        self.model.extend(row, self._now_us())

    def _finish(self, name: str) -> None:
        self.do(self.case.queue.finish(name))
        if self.model.rows[name].state is S.PUBLISHING:
            self.model.end(self.model.rows[name])

    def _delete(self) -> None:
        endpoint = self.do(self.case.store.get(Endpoint, ENDPOINT))
        self.do(self.case.store.apply(Replace(replace(endpoint, status=EndpointStatus.DELETING))))
        self.model.deleted = True

    def _routing(self, split: int, revision: int) -> Routing:
        """Buckets below ``split`` are i's, the others j's."""
        self.model.routes = {bucket: "i" if bucket < split else "j" for bucket in range(BUCKETS)}
        shares = (Share("d", "v", tuple(range(split))), Share("d", "w", tuple(range(split, BUCKETS))))
        return Routing(id=ENDPOINT, shares=shares, revision=revision)

    def _records(self) -> list[InvocationRecord]:
        records: list[InvocationRecord] = self.do(self.case.store.find(InvocationRecord, endpoint_id=ENDPOINT))
        return records

    def _now_us(self) -> int:
        return self.case.clock.now_us()


async def _wait_for(restart: Callable[[], "asyncio.Future[None]"]) -> None:
    await restart()


@asynccontextmanager
async def _opened(name: str, path: Path) -> AsyncIterator[Case]:
    async for case in cases(name, path):
        yield case


def _run(backend: str, directory: Path, examples: int) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        machine = type("Machine", (QueueMachine,), {"backend": backend, "directory": directory, "run": runner.run})
        run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.parametrize("backend", CASES)
def test_any_sequence_of_calls_gives_what_the_model_says(backend: str, tmp_path: Path) -> None:
    _run(backend, tmp_path, 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("backend", CASES)
def test_many_sequences_of_calls_give_what_the_model_says(backend: str, tmp_path: Path) -> None:
    _run(backend, tmp_path, 2000)
