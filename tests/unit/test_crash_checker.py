"""The checker of the crash tests finds each kind of broken promise. What finds nothing must be known to be able to."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.crash.checker import History, Message, Record, Stored, faults
from tests.support.crash.errands import MISSING, SMALL, Entry, Told

OUT, FAILED = "s3://b/out/1.out", "s3://b/failed/1-error.out"
TOKEN = b"0" * 32
ANSWER = TOKEN + b"a small input" + TOKEN
RECORD = Record(id="1", inference_id="i", state="Completed", output=OUT, failure=FAILED)
ENTRY = Entry(inference_id="i", errand=SMALL, told=Told(invocation_id="1", output=OUT, failure=FAILED))


def _message(id: str = "m", state: str | None = "Completed", topic: str = "good", **content: Any) -> Message:
    told = {"inferenceId": "i", "invocationStatus": "Completed", "responseParameters": {"outputLocation": OUT}, **content}
    return Message(id=id, topic=topic, content=told, state=state)


KEPT = History(
    entries=[ENTRY],
    records=[RECORD],
    objects={OUT: Stored(body=ANSWER, invocation_id="1")},
    messages=[_message(), _message()],
    topics={"Completed": "good", "Failed": "bad"},
)
UNKNOWN = replace(ENTRY, told=None)


def test_kept_promises_are_no_fault() -> None:
    assert faults(KEPT) == []
    assert faults(replace(KEPT, entries=[UNKNOWN])) == []  # the connection broke: it may be there
    assert faults(replace(KEPT, entries=[UNKNOWN], records=[], objects={}, messages=[])) == []  # or not


def _with_object(body: bytes = ANSWER, invocation_id: str = "1") -> History:
    return replace(KEPT, objects={OUT: Stored(body=body, invocation_id=invocation_id)})


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (replace(KEPT, records=[], objects={}, messages=[]), "accepted and lost"),
        (replace(KEPT, records=[RECORD, replace(RECORD, id="2")]), "doubled: 2 records"),
        (replace(KEPT, entries=[replace(UNKNOWN, refusal="Throttled")]), "there all the same"),
        (replace(KEPT, records=[replace(RECORD, id="2")]), "not what the client was told"),
        (replace(KEPT, records=[replace(RECORD, state="Running")]), "another end than Completed"),
        (replace(KEPT, entries=[replace(ENTRY, errand=MISSING)]), "another end than Failed"),
        (replace(KEPT, objects={}), f"no object at {OUT}"),
        (replace(KEPT, objects={**KEPT.objects, FAILED: Stored(body=b"", invocation_id="1")}), "where the other outcome"),
        (_with_object(invocation_id="2"), "belongs to 2"),
        (_with_object(ANSWER[:-1]), "not a whole answer"),
        (_with_object(TOKEN + b"a small input" + b"1" * 32), "not a whole answer"),
        (_with_object(TOKEN + b"another input" + TOKEN), "not a whole answer"),
        (replace(KEPT, messages=[]), "no notification"),
        (replace(KEPT, messages=[_message(), _message("n")]), "have different ids"),
        (replace(KEPT, messages=[_message(), _message(eventTime="later")]), "say different things"),
        (replace(KEPT, messages=[_message(topic="bad")]), "told to bad"),
        (replace(KEPT, messages=[_message(invocationStatus="Failed")]), "told as Failed"),
        (replace(KEPT, messages=[_message(responseParameters={"outputLocation": FAILED})]), f"names {FAILED}"),
        (replace(KEPT, messages=[_message(state="Running")]), "told while it was Running"),
        (replace(KEPT, entries=[]), "nobody asked for"),
        (replace(KEPT, entries=[], records=[], objects={}), "nobody waits for"),
        (replace(KEPT, objects={**KEPT.objects, "s3://b/out/2": Stored(body=b"", invocation_id="2")}), "belongs to no record"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_broken_promise_is_found(history: History, words: str) -> None:
    assert any(words in fault for fault in faults(history)), faults(history)
