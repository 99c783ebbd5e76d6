"""What was asked in a run: who offered what, which lease was given to whom, what its holder asked for under it.

The judge explains what is committed by this and nothing else. Where a question is asked out of turn, it says so at once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.durable import Row, fingerprint
from tests.simulation.loop import Part
from tests.simulation.machines import Asked

from tarry.core.history import AttemptEnd
from tarry.core.invocation import TERMINAL, Invocation, InvocationState
from tarry.core.notifications import TEST_MESSAGE, Notification
from tarry.ports import Back, Decision, Lease, Staged

SWEEPER = "sweeper"
ENDED = TERMINAL


class Violation(AssertionError):
    """A promise was broken."""


def require(holds: bool, promise: str, words: str) -> None:
    """Raise Violation unless it holds."""
    if not holds:
        raise Violation(f"{promise}: {words}")


@dataclass(slots=True)
class Held:
    """A lease that was given, and what was asked under it."""

    invocation_id: str
    part: Part
    owner: str
    number: int
    """Tasks that work under it have higher numbers."""
    releases: list[Back] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    void: bool = False
    died_under_it: bool = False
    """The worker saw its instance die."""
    refusals: int = 0
    """How often it could not be given back."""
    asked: bool = False
    """A container was sent the request under it."""

    def attempts_after(self, attempts: int) -> set[int]:
        """What may be counted once it is over: an attempt that was none is taken off again."""
        return {attempts - int(not back.counted) for back in self.releases} | {attempts}


class Ledger:
    """See the module. ``rows`` is what was committed when the judge looked last; ``numbers`` are those of the loop's tasks."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.rows: Mapping[str, Row] = {}
        self.offered: dict[str, Invocation] = {}
        self.refused: set[str] = set()
        self.accepted: set[str] = set()
        self.forgotten: set[str] = set()
        self.leases: dict[str, Held] = {}
        self.decided: dict[str, Decision] = {}
        self.announced: Counter[str] = Counter()
        self.stopped: set[str] = set()
        """Those that waited when their caller was told that they will be stopped."""
        self._numbers = numbers
        self._staged: dict[str, str] = {}
        self._named: defaultdict[str, list[str]] = defaultdict(list)

    # ------------------------------------------------------------------------------------------------- calls of ports

    def called(self, part: Part, name: str, args: Sequence[Any]) -> None:
        """A part calls a port, now. Errors: Violation."""
        match name, args:
            case "queue.put", (Invocation() as invocation, *_):
                self.offered[invocation.id] = invocation
                self._named[invocation.inference_id].append(invocation.id)
            case "queue.release", (Lease() as lease, Back() as back):
                self._release(part, lease, back)
            case "queue.decide", (Lease() as lease, Decision() as decision):
                self._held(lease).decisions.append(decision)
            case "notifier.publish", (Notification() as notification,):
                self._announce(notification)

    def _held(self, lease: Lease) -> Held:
        require(lease.token in self.leases, "P2", f"a lease is used that was never committed: {lease}")
        return self.leases[lease.token]

    def _release(self, part: Part, lease: Lease, back: Back) -> None:
        held = self._held(lease)
        held.releases.append(back)
        require(back.counted or not held.asked, "P4", f"{lease.invocation_id} goes back as if no container had had it")
        row = self.rows.get(lease.invocation_id)
        stopping = row is not None and row.stop_requested  # it is not tried again: nothing is to be counted
        counted = back.end is AttemptEnd.LOST or not held.died_under_it or part.leaving or stopping
        still_held = row is not None and row.token == lease.token and not held.void
        require(counted or not still_held, "P4", f"the instance of {lease.invocation_id} died, and that is not counted")

    def _announce(self, notification: Notification) -> None:
        if notification.message == TEST_MESSAGE:
            return
        invocation_id, decision = self.decision_of(notification)
        ended = invocation_id in self.forgotten or self.rows[invocation_id].state in ENDED
        require(ended, "P3", f"{invocation_id} is announced before its end is committed")
        require(decision.notification == notification, "P3", f"{invocation_id} is announced with other words than decided")
        self.announced[notification.id] += 1

    def decision_of(self, notification: Notification) -> tuple[str, Decision]:
        """The invocation that a notification tells of. Errors: Violation."""
        for invocation_id, decision in self.decided.items():
            if decision.notification is not None and decision.notification.id == notification.id:
                return invocation_id, decision
        raise Violation(f"P3: a notification that nobody decided for: {notification}")

    # ------------------------------------------------------------------------------------------------ answers of ports

    def put_refused(self, invocation_id: str) -> None:
        """The caller was told that this one was not accepted."""
        self.refused.add(invocation_id)

    def could_not_release(self, lease: Lease) -> None:
        """A worker was told that its lease could not be given back."""
        if lease.token in self.leases:
            self.leases[lease.token].refusals += 1

    def will_stop(self, invocation_id: str, state: InvocationState) -> None:
        """A caller was told that this one will be stopped; it was in this state."""
        if state in {InvocationState.QUEUED, InvocationState.DELAYED}:
            self.stopped.add(invocation_id)

    def staged(self, staged: Staged, body: bytes) -> None:
        """These bytes were staged under a handle."""
        if staged.handle is not None:
            self._staged[staged.handle] = fingerprint(body)

    def fingerprint(self, staged: Staged) -> str:
        """Of the bytes that were staged."""
        return fingerprint(staged.inline) if staged.inline is not None else self._staged[staged.handle or ""]

    # ----------------------------------------------------------------------------------------------------- leases

    def give(self, part: Part, invocation_id: str, token: str, owner: str) -> None:
        """A lease was given."""
        self.leases[token] = Held(invocation_id, part, owner, next(self._numbers))

    def has_claimed(self, asked: Asked) -> bool:
        """Whether the part that asks has ever had a lease for this, in the name of this instance."""
        ids = self._named[asked.inference_id]
        return any(
            (held.part, held.owner) == (asked.part, asked.instance_id) and held.invocation_id in ids
            for held in self.leases.values()
        )

    def lease_of(self, asked: Asked) -> tuple[Held, Row] | None:
        """The lease under which a worker asks, and its row; None where it has lost it and does not know yet."""
        for invocation_id in self._named[asked.inference_id]:
            row = self.rows.get(invocation_id)
            held = self.leases.get(row.token or "") if row is not None else None
            if row is None or held is None or asked.task < held.number:
                continue
            if (held.part, held.owner) == (asked.part, asked.instance_id):
                return held, row
        return None

    def died(self, asked: Asked) -> None:
        """A worker has seen the instance die that it asked."""
        if (found := self.lease_of(asked)) is not None:
            found[0].died_under_it = True
