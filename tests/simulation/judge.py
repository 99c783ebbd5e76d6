"""The judge: looks at what is committed after every step, and ends the run when a promise is broken.

Every change of a row has to be explained by what was asked (the ledger) and by the time. What nothing explains is a violation: a
lease that was taken while another held, an attempt counted twice, an object that nobody decided for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation.durable import Durable, Row, Terms
from tests.simulation.ledger import ENDED, SWEEPER, Held, Ledger, Violation, require
from tests.simulation.loop import Part
from tests.simulation.machines import Asked, Machine, Machines

from tarry.core.deployment import Routing
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.history import AttemptEnd
from tarry.core.instance import Instance, InstanceState
from tarry.core.invocation import LOST_ATTEMPTS_MAX, InvocationState

S = InvocationState
_UNDECIDED = {S.QUEUED, S.DELAYED, S.RUNNING}
_RANK = {**dict.fromkeys(_UNDECIDED, 0), S.PUBLISHING: 1, **dict.fromkeys(ENDED, 2)}
_GONE = {EndpointStatus.DELETING, EndpointStatus.DELETED}
GIVE_BACK_TRIES = 5
"""A server that stops gives back what it holds; if the disk does not let it so often, that is not its fault."""

Place = tuple[str, str, str]
"""Endpoint, deployment, variant."""


class Judge:
    """Sees everything, does nothing."""

    def __init__(self, durable: Durable, machines: Machines, terms: Terms, numbers: Iterator[int]) -> None:
        self.ledger = Ledger(numbers)
        self._durable = durable
        self._machines = machines
        self._terms = terms
        self._lease_us = int(terms.lease_s * 1_000_000)
        self._epoch = 0
        self._gone: dict[str, bool] = {}
        """Of endpoints with invocations: whether they were being deleted at the last look."""

    @property
    def rows(self) -> Mapping[str, Row]:
        """What was committed at the last look."""
        return self.ledger.rows

    def called(self, part: Part, name: str, args: Sequence[Any]) -> None:
        """A part calls a port, now. Errors: Violation."""
        if name == "models.invoke":
            self._ask(*args)
        else:
            self.ledger.called(part, name, args)

    def accept(self, invocation_id: str) -> None:
        """The caller was told that this one is accepted: it is there, for good. Errors: Violation."""
        self.ledger.accepted.add(invocation_id)
        there = invocation_id in self._durable.rows() or invocation_id in self.ledger.forgotten
        require(there, "P1", f"{invocation_id} was accepted and is not there")

    def _ask(self, machine: Machine, asked: Asked) -> None:
        require(self.ledger.has_claimed(asked), "P2", f"{asked.inference_id} is asked of {machine.instance_id} without a claim")
        instance = self._durable.entity(Instance, machine.instance_id)
        beside = [other for other in machine.in_flight if other.part is asked.part and other is not asked]
        if instance is not None:
            require(len(beside) < instance.concurrency, "slots", f"instance {instance.id} has too much in flight")
        suspects = [other.inference_id for other in (*beside, asked) if self._has_cost(other)]
        if (found := self.ledger.lease_of(asked)) is not None:
            found[0].asked = True
        require(not suspects or not beside, "P4", f"{asked.inference_id} is not alone: {suspects} have cost an attempt before")

    def _has_cost(self, asked: Asked) -> bool:
        found = self.ledger.lease_of(asked)
        return found is not None and found[1].lost > 0

    # ----------------------------------------------------------------------------------------------- what is committed

    def look(self, part: Part) -> None:
        """``part`` has just changed something. Errors: Violation."""
        before, now = self.rows, self._durable.rows()
        if before is not now:
            self.ledger.rows = now
            before = self._begin_epoch(before)
            self._forget(before.keys() - now.keys(), before)
            for invocation_id, row in now.items():
                old = before.get(invocation_id)
                if old != row:
                    self._changed(part, invocation_id, old, row)
            self._check_order(before)
            self._count_waiting(before)
        self._gone = {of: self._is_gone(of) for of in self._gone.keys() | {row.invocation.endpoint_id for row in now.values()}}
        self._check_objects()
        self._check_told()

    def _begin_epoch(self, before: Mapping[str, Row]) -> Mapping[str, Row]:
        """Where a new epoch has begun, nobody holds what was held before; as if those leases had ended long ago."""
        epoch = self._durable.epoch()
        if epoch == self._epoch:
            return before
        self._epoch = epoch
        for invocation_id, row in self.rows.items():
            if row.token is not None:
                require(row.lease_end_us <= 0, "P4", f"{invocation_id} is still leased to a process of an older epoch")
                self.ledger.leases[row.token].void = True
        return {name: replace(row, lease_end_us=0) if row.token is not None else row for name, row in before.items()}

    def _forget(self, names: Sequence[str] | set[str], before: Mapping[str, Row]) -> None:
        """Records may go some time after their end."""
        for name in names:
            row = before[name]
            require(row.state in ENDED and row.outcome is not None, "P1", f"{name} is gone, and was {row.state}")
            ended_at_us = row.outcome.ended_at_us if row.outcome is not None else 0
            kept_us = int(self._terms.finished_s * 1_000_000)
            require(ended_at_us + kept_us < self._now_us(), "P1", f"{name} is gone too early")
            self.ledger.forgotten.add(name)

    def _changed(self, part: Part, name: str, old: Row | None, row: Row) -> None:
        if old is None:
            self._came(name, row)
            old = replace(row, state=S.QUEUED, attempts=0, lost=0, token=None, owner=None, lease_end_us=0, outcome=None)
        require(_RANK[row.state] >= _RANK[old.state], "P2", f"{name} went from {old.state} to {row.state}")
        if old.state in ENDED:
            kept = replace(old, redriven_as=row.redriven_as)
            require(
                row == kept and old.redriven_as in (None, row.redriven_as), "P2", f"{name} has ended and changes: {old} {row}"
            )
            return
        require(row.stop_requested >= old.stop_requested, "P2", f"{name} is not to be stopped any more")
        if old.token is not None and old.token != row.token:
            self._lease_ended(name, self.ledger.leases[old.token], old, row)
        else:
            require(row.lost == old.lost, "P4", f"{name} lost an attempt that nobody made")
            require(row.state is not S.DELAYED or old.state is S.DELAYED, "retry", f"{name} is delayed, and nobody asked for it")
        if old.state is S.DELAYED and row.state is not S.DELAYED:
            due = (old.due_at_us or 0) <= self._now_us() or row.stop_requested or self._is_gone(row.invocation.endpoint_id)
            require(due, "retry", f"{name} is tried again too early")
        if row.token is not None and old.token != row.token:
            self._lease_given(part, name, old, row)
        elif row.token is not None and row.lease_end_us != old.lease_end_us:
            self._lease_moved(name, self.ledger.leases[row.token], row)
        if row.outcome is not None:
            self._decided(name, old, row)
        else:
            require(row.state in _UNDECIDED, "P2", f"{name} is {row.state} without a decision")

    def _came(self, name: str, row: Row) -> None:
        require(name in self.ledger.offered, "P1", f"{name} was never offered")
        require(name not in self.ledger.refused, "P5", f"{name} was refused and is there")
        require(not self._was_gone(row), "P2", f"{name} came to a deleted endpoint")
        again = [other for other, each in self.rows.items() if each.invocation.redrive_of == row.invocation.redrive_of]
        require(row.invocation.redrive_of is None or again == [name], "redrive", f"{again} repeat the same")

    # -------------------------------------------------------------------------------------------------------- leases

    def _lease_ended(self, name: str, held: Held, old: Row, row: Row) -> None:
        over = held.void or old.lease_end_us <= self._now_us()
        if _RANK[row.state] > 0:
            require(bool(held.decisions) or _RANK[old.state] == 1, "P2", f"{name} ended without its holder's decision")
            require(_RANK[row.state] == 2 or over, "P2", f"the publisher of {name} was pushed aside")
            require(row.lost == old.lost, "P4", f"the end of {name} counted as a lost attempt")
            return
        require(over or bool(held.releases), "P4", f"{name} was taken from a live lease")
        counted = held.attempts_after(old.attempts)
        require(
            row.token is not None or row.attempts in counted, "P4", f"{name} has {row.attempts} attempts after {old.attempts}"
        )
        ends = {back.end for back in held.releases}
        by_time = over and held.owner != SWEEPER
        allowed = {int(end is AttemptEnd.LOST) for end in ends} | ({1} if by_time else set())
        allowed |= {0} if held.owner == SWEEPER else set()
        count = row.lost - old.lost
        require(count in allowed, "P4", f"{name} counts {count} lost attempts after one that may count {sorted(allowed)}")
        if row.state is S.DELAYED:
            require(AttemptEnd.RETRIED in ends, "retry", f"{name} is delayed, and nobody asked for it")
            require(row.invocation.retry is not None, "retry", f"{name} is tried again without a policy")
        if count and by_time:
            left = held.part.left and held.refusals < GIVE_BACK_TRIES
            require(not left, "P4", f"{name} counts a lost attempt, and its server stopped in good order")
        elif count:
            self._require_death(name, held, old)

    def _require_death(self, name: str, held: Held, old: Row) -> None:
        causes = {machine.cause for machine in self._machines.by_instance.get(held.owner, ())} - {None}
        require(bool(causes), "P4", f"{name} counts a lost attempt, and its instance {held.owner} lives")
        stopped = causes == {"stopped"} and not self._is_gone(old.invocation.endpoint_id)
        require(not stopped, "P4", f"{name} counts a lost attempt, and its instance was stopped under it")

    def _lease_given(self, part: Part, name: str, old: Row, row: Row) -> None:
        owner, now_us = row.owner or "", self._now_us()
        self.ledger.give(part, name, row.token or "", owner)
        require(row.lease_end_us == now_us + self._lease_us, "P4", f"the lease of {name} has a wrong end")
        before = {old.attempts} if old.token is None else self.ledger.leases[old.token].attempts_after(old.attempts)
        if owner == SWEEPER:
            require(row.attempts in before, "P4", f"the sweeper counted as an attempt of {name}")
            return
        require(row.attempts - 1 in before, "P4", f"{name} has {row.attempts} attempts after {old.attempts}")
        require(row.lost < LOST_ATTEMPTS_MAX, "P4", f"{name} lost {row.lost} attempts and is tried again")
        require(not old.stop_requested, "stop", f"{name} was to be stopped and is tried again")
        expired = row.attempts == 1 and row.invocation.expires_at_us <= now_us
        require(not expired, "P4", f"{name} was claimed after its time to live")
        instance = self._durable.entity(Instance, owner)
        in_service = instance is not None and instance.state is InstanceState.IN_SERVICE
        require(in_service, "P4", f"{name} was claimed by {owner}, which is not in service")
        require(not self._was_gone(row), "P2", f"{name} was claimed after its endpoint's deletion")
        require(self._place_of(owner) in self._places_of(row), "routing", f"{name} is not for {owner}")

    def _lease_moved(self, name: str, held: Held, row: Row) -> None:
        require(row.lease_end_us > 0, "P4", f"the lease of {name} was voided for nothing")
        require(not held.void, "P4", f"a void lease of {name} was renewed")
        require(row.lease_end_us == self._now_us() + self._lease_us, "P4", f"{name} was renewed to a wrong end")

    # ----------------------------------------------------------------------------------------------------- decisions

    def _decided(self, name: str, old: Row, row: Row) -> None:
        if old.outcome is not None:
            require(row.outcome == old.outcome, "P2", f"{name} was decided twice")
        else:
            held = self.ledger.leases[old.token or row.token or ""]
            asked = [each for each in held.decisions if replace(each.outcome, response=None) == row.outcome]
            require(bool(asked), "P2", f"{name} has an outcome that its holder did not ask for: {row.outcome}")
            require(not held.void, "P2", f"{name} was decided by a superseded process")
            self.ledger.decided[name] = asked[-1]
        outcome = self.ledger.decided[name].outcome
        require(row.state not in ENDED or row.state is outcome.state, "P2", f"{name} ended as {row.state}, not {outcome.state}")
        if outcome.state is S.EXPIRED:
            # That its time was over, the sweeper's claim was held to; the clock may have been set back since.
            require(row.attempts == 0, "P4", f"{name} expired after it had been claimed")
        if outcome.state is S.STOPPED:
            require(row.stop_requested, "stop", f"{name} was stopped, and nobody asked for it")
        if row.lost >= LOST_ATTEMPTS_MAX:
            require(outcome.state in {S.FAILED, S.STOPPED}, "P4", f"{name} lost {row.lost} attempts and is {outcome.state}")

    # ----------------------------------------------------------------------------------------------------- the queue

    def _check_order(self, before: Mapping[str, Row]) -> None:
        """No claim passes over what waited before it and could have been taken; but for lost ones, which have to be alone."""
        claimed = [
            row
            for name, row in self.rows.items()
            if row.state is S.RUNNING and row.owner != SWEEPER and name in before and before[name].state is S.QUEUED
        ]
        if not claimed:
            return
        waiting = [row for name, row in self.rows.items() if row.state is S.QUEUED and before.get(name) == row]
        for last in claimed:
            place = self._place_of(last.owner or "")
            passed = [
                row
                for row in waiting
                if row.order < last.order
                and self._is_claimable(row)
                and place in self._places_of(row)
                and (last.lost or not row.lost)
            ]
            require(not passed, "order", f"{last.invocation.id} was claimed before {[row.invocation.id for row in passed]}")

    def _is_claimable(self, row: Row) -> bool:
        expired = row.attempts == 0 and row.invocation.expires_at_us <= self._now_us()
        return row.lost < LOST_ATTEMPTS_MAX and not row.stop_requested and not expired

    def _place_of(self, instance_id: str) -> Place | None:
        instance = self._durable.entity(Instance, instance_id)
        return None if instance is None else (instance.endpoint_id, instance.deployment_id, instance.variant_name)

    def _places_of(self, row: Row) -> set[Place]:
        """Whom the bucket of an invocation is routed to."""
        endpoint_id = row.invocation.endpoint_id
        routing = self._durable.entity(Routing, endpoint_id)
        shares = () if routing is None else routing.shares
        return {(endpoint_id, each.deployment_id, each.variant_name) for each in shares if row.invocation.bucket in each.buckets}

    def _count_waiting(self, before: Mapping[str, Row]) -> None:
        came = len(self.rows.keys() - before.keys())
        waited = [name for name, row in before.items() if row.state is S.QUEUED]
        left = sum(name not in self.rows or self.rows[name].state is not S.QUEUED for name in waited)
        require(not came or len(waited) + came - left <= self._terms.queued_max, "P5", "more were accepted than may wait")
        counted = Counter(row.invocation.endpoint_id for row in self.rows.values() if row.state is S.QUEUED)
        kept = {endpoint_id: count for endpoint_id, count in self._durable.waiting().items() if count}
        require(counted == kept, "P5", f"{dict(counted)} wait, counted are {kept}")

    # ------------------------------------------------------------------------------------------ objects and notifications

    def _check_objects(self) -> None:
        objects = self._durable.objects()
        shown: dict[str, set[str]] = {}
        for invocation in (self.ledger.offered[name] for name in (*self.rows, *self.ledger.forgotten)):
            shown |= {place: set() for place in (invocation.output_location, invocation.failure_location) if place not in shown}
        for name, decision in self.ledger.decided.items():
            if decision.staged is None:
                continue
            location, invocation = str(decision.staged.location), self.ledger.offered[name]
            shown.setdefault(location, set()).add(self.ledger.fingerprint(decision.staged))
            ended = name in self.ledger.forgotten or self.rows[name].state in ENDED
            require(not ended or location in objects, "P2", f"{name} has ended and {location} is not there")
            completed = decision.outcome.state is S.COMPLETED
            place = invocation.output_location if completed else invocation.failure_location
            require(location == place, "P2", f"{name} is {decision.outcome.state} and publishes at {location}")
        for location, allowed in shown.items():
            if location in objects:
                require(objects[location] in allowed, "P2", f"{location} shows bytes that nobody decided for")

    def _check_told(self) -> None:
        """Where topics lie in the same database, an end and its message are one commit."""
        for name, decision in self.ledger.decided.items():
            if decision.notification is None or name in self.ledger.forgotten:
                continue
            texts = self._durable.told(decision.notification.id)
            if texts is None:
                return
            wanted = [decision.notification.message] if self.rows[name].state in ENDED else []
            require(texts == wanted, "P3", f"{name} is {self.rows[name].state}, its topic has {len(texts)} messages")
            self.ledger.announced[decision.notification.id] = len(texts)

    # -------------------------------------------------------------------------------------------------------- at the end

    def unfinished(self) -> list[str]:
        """What has not come to its end yet, in words."""
        waiting = [f"{name} is {row.state}" for name, row in self.rows.items() if row.state not in ENDED]
        silent = [
            f"{name} is not announced"
            for name, decision in self.ledger.decided.items()
            if decision.notification is not None and not self.ledger.announced[decision.notification.id]
        ]
        return [*waiting, *silent]

    def at_rest(self) -> None:
        """The world is at rest: everything that was promised has come true. Errors: Violation."""
        for name in self.ledger.accepted:
            ended = name in self.ledger.forgotten or self.rows[name].state in ENDED
            require(ended, "P2", f"{name} never ended")
        for name in self.ledger.stopped:
            stopped = name in self.ledger.forgotten or self.rows[name].state is S.STOPPED
            require(stopped, "stop", f"{name} waited when it was stopped, and did not end so")
        told = [each.notification.id for each in self.ledger.decided.values() if each.notification is not None]
        require(len(told) == len(set(told)), "P3", "two ends are announced under one id")

    # ----------------------------------------------------------------------------------------------------------- common

    def _now_us(self) -> int:
        return self._terms.clock.now_us()

    def _is_gone(self, endpoint_id: str) -> bool:
        endpoint = self._durable.entity(Endpoint, endpoint_id)
        return endpoint is None or endpoint.status in _GONE

    def _was_gone(self, row: Row) -> bool:
        """Before what has just been committed: the deletion may be a later part of the same commit."""
        of = row.invocation.endpoint_id
        return self._gone[of] if of in self._gone else self._is_gone(of)


__all__ = ["Judge", "Violation"]
