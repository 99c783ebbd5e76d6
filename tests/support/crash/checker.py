"""Holds a client's log against what the server left: records, objects, notifications.

A pure function of four lists, so that it can be shown to find what it is there for (tests/integration/test_crash_checker.py).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.crash.errands import Entry

TERMINAL = frozenset({"Completed", "Failed", "Expired", "Stopped"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row of the queue."""

    id: str
    inference_id: str
    state: str
    output: str
    failure: str
    attempts: int = 1
    lost_attempts: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object at a key of results."""

    body: bytes
    invocation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notification as its subscriber got it. ``state`` is the record's at that moment."""

    id: str
    topic: str
    content: Mapping[str, Any]
    state: str | None

    @property
    def inference_id(self) -> str:
        """Whose end it tells."""
        return str(self.content["inferenceId"])


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of a bucket of results, a topic for each end, and the clients that caused them."""

    entries: Sequence[Entry]
    records: Sequence[Record]
    objects: Mapping[str, Stored]
    messages: Sequence[Message]
    topics: Mapping[str, str]
    """State → topic."""


def faults(history: History) -> list[str]:
    """What is lost, doubled, half-done or invented; empty if every promise was kept."""
    records: dict[str, list[Record]] = defaultdict(list)
    for record in history.records:
        records[record.inference_id].append(record)
    messages: dict[str, list[Message]] = defaultdict(list)
    for message in history.messages:
        messages[message.inference_id].append(message)
    found = list(_strays(history))
    for entry in history.entries:
        mine = records[entry.inference_id]
        found += [f"{entry.inference_id}: {fault}" for fault in _of_entry(entry, mine)]
        if len(mine) == 1:
            for fault in (
                *_of_end(entry, mine[0], history),
                *_of_messages(entry, mine[0], messages[entry.inference_id], history),
            ):
                found.append(f"{entry.inference_id} ({mine[0].state}): {fault}")
    return found


def _strays(history: History) -> Iterator[str]:
    known = {entry.inference_id for entry in history.entries}
    yield from (f"a record that nobody asked for: {one}" for one in history.records if one.inference_id not in known)
    yield from (f"a message that nobody waits for: {one}" for one in history.messages if one.inference_id not in known)
    places = {place for record in history.records for place in (record.output, record.failure)}
    yield from (f"an object that belongs to no record: {place}" for place in history.objects if place not in places)


def _of_entry(entry: Entry, records: Sequence[Record]) -> Iterator[str]:
    if len(records) > 1:
        yield f"doubled: {len(records)} records"
    if entry.refusal is not None and records:
        yield f"refused with {entry.refusal}, and there all the same"
    if entry.told is None:
        return
    if not records:
        yield "accepted and lost"
    for record in records:
        promised = (entry.told.invocation_id, entry.told.output, entry.told.failure)
        if promised != (record.id, record.output, record.failure):
            yield f"the record is not what the client was told: {record}"


def _of_end(entry: Entry, record: Record, history: History) -> Iterator[str]:
    if record.state != entry.errand.state:
        yield f"came to another end than {entry.errand.state}"
    right, wrong = (record.output, record.failure) if record.state == "Completed" else (record.failure, record.output)
    if wrong in history.objects:
        yield f"an object at {wrong}, where the other outcome would be"
    stored = history.objects.get(right)
    if stored is None:
        yield f"no object at {right}"
    elif stored.invocation_id != record.id:
        yield f"the object at {right} belongs to {stored.invocation_id}"
    elif not entry.errand.explains(stored.body):
        yield f"the object at {right} is not a whole answer of one attempt: {len(stored.body)} bytes"


def _of_messages(entry: Entry, record: Record, messages: Sequence[Message], history: History) -> Iterator[str]:
    if not messages:
        yield "no notification"
        return
    if len({message.id for message in messages}) > 1:
        yield f"the repeats of a notification have different ids: {sorted({message.id for message in messages})}"
    if len({str(message.content) for message in messages}) > 1:
        yield "the repeats of a notification say different things"
    for message in messages:
        completed = record.state == "Completed"
        if message.topic != history.topics.get(record.state):
            yield f"told to {message.topic}"
        if message.content["invocationStatus"] != ("Completed" if completed else "Failed"):
            yield f"told as {message.content['invocationStatus']}"
        place = message.content["responseParameters"].get("outputLocation" if completed else "failureLocation")
        if place != (record.output if completed else record.failure):
            yield f"the notification names {place}"
        if message.state not in TERMINAL:
            yield f"told while it was {message.state}"
