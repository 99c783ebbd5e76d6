"""One data directory with a deployed stub, its clients and its subscribers, for as many crashes as a test wants."""

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Self

from tests.support import deploy
from tests.support.crash.checker import TERMINAL, History, Message, Record, Stored, faults
from tests.support.crash.errands import LARGE, Client, Entry, Errand
from tests.support.crash.held_server import WAIT_S_MAX, ForkServer, HeldServer, Meeting, until
from tests.support.crash.points import Point
from tests.support.subscriber import Subscriber

BUCKET = "crashes"
ENDPOINT = "crashes"
_CALLERS_MAX = 32
_RECORDS = (
    "SELECT id, request ->> 'inference_id', state, request ->> 'output_location', request ->> 'failure_location', "
    "attempts, lost_attempts, seq FROM invocation WHERE seq > ? ORDER BY seq"
)
_STATE_OF = "SELECT state FROM invocation WHERE request ->> 'inference_id' = ?"
_OWNER = "SELECT lease_owner FROM invocation WHERE request ->> 'inference_id' = ?"
_IN_SERVICE = "SELECT id FROM instance WHERE state = 'InService'"
_LAST_LEASE = "SELECT max(lease_expires_at_us) FROM invocation WHERE lease_token IS NOT NULL"
_UNTOLD = (
    "SELECT (SELECT count(*) FROM outbox WHERE given_up_at_us IS NULL) + (SELECT count(*) FROM push WHERE state = 'Pending')"
)


class Witness(Subscriber):
    """A subscriber that looks up, for each result, in which state its record is at that moment."""

    def __init__(self, state_of: Callable[[str], str | None]) -> None:
        super().__init__()
        self.results_heard: list[Message] = []
        self._state_of = state_of

    def _take(self, envelope: dict[str, Any]) -> None:
        if envelope["Type"] == "Notification":
            content = json.loads(envelope["Message"])
            if content["eventName"] == "InferenceResult":
                state = self._state_of(content["inferenceId"])
                heard = Message(id=envelope["MessageId"], topic=envelope["TopicArn"], content=content, state=state)
                self.results_heard.append(heard)
        super()._take(envelope)


class World:
    """A context. ``lease_s`` is an hour unless leases are to end: what is taken up after a kill is so for the epoch's sake.

    By default two instances have so many slots that what is held keeps nobody else waiting, and the disk may be used up.
    """

    def __init__(
        self,
        directory: Path,
        *,
        lease_s: float = 3600.0,
        instances: int = 2,
        concurrency: int = 16,
        disk_reserve_bytes: int = 0,
    ) -> None:
        self._forks = ForkServer()
        settings = {"TARRY_QUEUE__LEASE_S": str(lease_s), "TARRY_QUEUE__DISK_RESERVE_BYTES": str(disk_reserve_bytes)}
        self.server = HeldServer(directory / "data", self._forks, settings=settings)
        self.client = Client(ENDPOINT, BUCKET)
        self.witness = Witness(self._state_of)
        self.instances, self._concurrency = instances, concurrency
        self._callers = ThreadPoolExecutor(_CALLERS_MAX)
        self._calls: list[Future[Entry]] = []
        self.topics: dict[str, str] = {}
        self._meetings: list[Meeting] = []
        self._checked_entries = 0
        self._checked_seq = 0
        self._checked_objects: dict[str, str] = {}
        self._checked_messages: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._forks.__enter__()
        self.witness.__enter__()
        self.server.start()
        self._deploy()
        self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._forks.__exit__()  # kills the server, if it still runs: calls under way end
        self._callers.shutdown()
        self._end_meetings()
        self.witness.__exit__()

    def crash(self, *, separate_commits: bool | None = None) -> None:
        """Kill the server with SIGKILL and start it again."""
        self.server.kill()
        self._end_meetings()
        if separate_commits is not None:
            self.server.separate_commits = separate_commits
        self.server.start()
        self._connect()

    def ask(self, errand: Errand) -> "Future[Entry]":
        """Put the input; call in another thread."""
        return self._call(errand, self.client.prepare(self._s3, errand))

    def bring_to(self, point: Point, errand: Errand | None = None, *, claiming: int | None = None) -> "Future[Entry]":
        """Ask, and return when an invocation is held at the point (in general this one). ``let_go`` ends that, a crash too.

        ``claiming``: how many instances have a free slot, all of them unless told; for ACCEPTED.
        """
        errand = errand or errand_for(point)
        inference_id = self.client.prepare(self._s3, errand)  # before the hold, which may be on all writing
        if point is Point.INFERRING:
            meeting = Meeting()
            self._meetings.append(meeting)
            asked = self._call(errand.wishing(meet=meeting.port), inference_id)
            meeting.wait_reached()
            return asked
        self.server.hold(point)
        if point is Point.ACCEPTED:
            self.server.wait_reached(point, claiming or self.instances)
            asked = self._call(errand, inference_id)
            assert asked.result(WAIT_S_MAX).told is not None
            return asked
        asked = self._call(errand, inference_id)
        self.server.wait_reached(point)
        return asked

    def _call(self, errand: Errand, inference_id: str) -> "Future[Entry]":
        call = self._callers.submit(self.client.invoke, self._runtime, errand, inference_id)
        self._calls.append(call)
        return call

    def let_go(self, point: Point) -> None:
        """Let what is held at a point go on."""
        if point is Point.INFERRING:
            self._meetings.pop().close()
        else:
            self.server.go(point)

    def model_server_of(self, entry: Entry) -> int:
        """The process of the instance that works on it."""
        (owner,) = (row[0] for row in self.server.rows(_OWNER, entry.inference_id))
        return self.server.model_servers()[owner]

    def instances_alive(self) -> int:
        """How many instances are in service and have a living model server."""
        in_service = [row[0] for row in self.server.rows(_IN_SERVICE)]
        return len(self.server.model_servers().keys() & set(in_service))

    def wait_ended(self, entry: Entry) -> None:
        """Wait for the end of its record, told or not."""
        until(lambda: self.server.rows(_STATE_OF, entry.inference_id)[0][0] in TERMINAL, f"the end of {entry.inference_id}")

    def outlast_leases(self) -> None:
        """Wait until every lease that is held now would have ended, had nobody renewed it."""
        ((last_us,),) = self.server.rows(_LAST_LEASE)
        until(lambda: time.time() * 1_000_000 > (last_us or 0), "the leases to end")

    def settle(self) -> None:
        """Wait until everything that has been asked for has been answered, has ended and been told."""
        wait(self._calls, WAIT_S_MAX)
        self._calls.clear()
        until(lambda: not self.outstanding(), f"the ends of {self.outstanding()}")
        until(lambda: self.server.rows(_UNTOLD) == [(0,)], "the last notification to be written down")

    def outstanding(self) -> list[str]:
        """Records that have not ended, or whose end nobody has heard of."""
        heard = {message.inference_id for message in self.witness.results_heard}
        return [
            f"{record.inference_id} {record.state}"
            for record in self.records()
            if record.state not in TERMINAL or record.inference_id not in heard
        ]

    def records(self) -> list[Record]:
        """All rows of the queue since the last check."""
        names = ("id", "inference_id", "state", "output", "failure", "attempts", "lost_attempts", "seq")
        return [Record(**dict(zip(names, row, strict=True))) for row in self.server.rows(_RECORDS, self._checked_seq)]

    def ended(self) -> int:
        """How many of them have ended."""
        return sum(record.state in TERMINAL for record in self.records())

    def record(self, entry: Entry) -> Record | None:
        """The row of an entry since the last check."""
        return next((one for one in self.records() if one.inference_id == entry.inference_id), None)

    def check(self) -> None:
        """Hold everything since the last check against what the clients know, and what was checked before against itself."""
        listed = self._listed()
        new = {place for place, stamp in listed.items() if self._checked_objects.get(place) != stamp}
        history = History(
            entries=self.client.log[self._checked_entries :],
            records=self.records(),
            objects={place: self._read(place) for place in new},
            messages=[heard for heard in self.witness.results_heard if heard.inference_id not in self._checked_messages],
            topics=self.topics,
        )
        found = faults(history)
        found += [f"an object that was there has gone: {place}" for place in self._checked_objects.keys() - listed.keys()]
        for heard in self.witness.results_heard:
            if self._checked_messages.get(heard.inference_id, heard.id) != heard.id:
                found.append(f"a late repeat of a notification has a new id: {heard}")
        assert not found, "\n".join(found)
        self._checked_entries = len(self.client.log)
        self._checked_seq = max((record.seq for record in history.records), default=self._checked_seq)
        self._checked_objects = listed
        self._checked_messages |= {message.inference_id: message.id for message in history.messages}

    def _listed(self) -> dict[str, str]:
        """Results that are there, and when each was written."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        entries = [entry for page in pages for entry in page.get("Contents", []) if not entry["Key"].startswith("in/")]
        return {f"s3://{BUCKET}/{entry['Key']}": f"{entry['LastModified']} {entry['ETag']}" for entry in entries}

    def _read(self, place: str) -> Stored:
        found = self._s3.get_object(Bucket=BUCKET, Key=place.removeprefix(f"s3://{BUCKET}/"))
        return Stored(body=found["Body"].read(), invocation_id=found["Metadata"].get("tarry-invocation"))

    def _end_meetings(self) -> None:
        while self._meetings:
            self._meetings.pop().close()

    def _state_of(self, inference_id: str) -> str | None:
        rows = self.server.rows(_STATE_OF, inference_id)
        return str(rows[0][0]) if len(rows) == 1 else None

    def _deploy(self) -> None:
        sns = self.server.client("sns")
        success, error = (sns.create_topic(Name=name)["TopicArn"] for name in ("success", "error"))
        for topic in (success, error):
            self.witness.subscribe(sns, topic)
        self.topics = {"Completed": success, "Failed": error}
        deploy.bucket(self.server, BUCKET)
        deploy.endpoint(
            self.server,
            ENDPOINT,
            BUCKET,
            topics={"SuccessTopic": success, "ErrorTopic": error},
            failure_path=f"s3://{BUCKET}/failed",
            instances=self.instances,
            concurrency=self._concurrency,
        )

    def _connect(self) -> None:
        self._s3, self._runtime = self.server.client("s3"), self.server.client("sagemaker-runtime")


def errand_for(point: Point) -> Errand:
    """The one that says most at a point: a large one wherever bytes are on their way."""
    bytes_on_their_way = {Point.DOWNLOADING, Point.STAGING, Point.STAGED, Point.DECIDING, Point.DECIDED, Point.PUBLISHED}
    return LARGE if point in bytes_on_their_way else Errand()
