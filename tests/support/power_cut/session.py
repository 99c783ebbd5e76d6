"""A server's life under strace: what it was asked, what it acknowledged, and the order of its system calls.

Two runs on one new directory: the first is stopped, the second killed while it works. Everything that is acknowledged becomes a
promise, which a cut at any later moment must keep.
"""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tests.support import deploy
from tests.support.power_cut.survivors import Promise, Survivors
from tests.support.power_cut.trace import WRITE, Call, TracedServer, parse
from tests.support.server_process import ServerProcess
from tests.support.subscriber import Subscriber

BUCKET = "power-cut"
LARGE = bytes(range(256)) * 1200
"""More than rides in a row: a blob file."""
MAY_BE_LOST = ("logs", "instances", "models", "environments", "sandbox", "tarry.db-shm")
"""What DIR holds besides: files that are made anew, and SQLite's index of its log, which it never relies on after a crash."""
_REQUEST_ID = re.compile(rb"\r\nx-amzn?-request-?id: ([^\r]+)\r\n", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"\r\nx-amz-sns-message-id: ([^\r]+)\r\n", re.IGNORECASE)


def may_be_lost(path: PurePosixPath) -> bool:
    """Whether a file of DIR (a path from the root of the disk) holds nothing that was promised."""
    return any(part in MAY_BE_LOST for part in path.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A 202."""

    invocation_id: str
    request_id: str
    output: str
    answer: bytes


class Session:
    """A context; after it, ``calls`` and ``promises`` tell everything. ``subscriber`` goes on listening until then."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "disk"
        self.root.mkdir()
        self.data_dir = self.root / "new" / "data"  # the server makes both
        self.promises: list[Promise] = []
        self.accepted: list[Accepted] = []
        self.calls: list[Call] = []
        self.subscriber = Subscriber()
        self.topic = ""
        self._directory = directory
        self._ports: list[str] = []
        self._lines = 0

    def run(self) -> None:
        """Both runs."""
        self._trace("first", self._first, ServerProcess.stop)
        self._trace("second", self._second, ServerProcess.kill)

    def acknowledged(self) -> dict[str, int]:
        """Request id → the line at which its answer began to leave."""
        found = {}
        for call in self.calls:
            if call.name in WRITE and any(f":{port}->" in call.descriptor for port in self._ports):
                data = call.data
                if data.startswith(b"HTTP/1.1 2") and (found_id := _REQUEST_ID.search(data)):
                    found[found_id[1].decode()] = call.begin
        return found

    def announced(self) -> dict[str, int]:
        """Invocation id → the line at which its notification began to leave."""
        ids = {
            envelope["MessageId"]: json.loads(envelope["Message"])["inferenceId"]
            for envelope in self.subscriber.envelopes
            if envelope["Type"] == "Notification" and "InferenceResult" in envelope["Message"]
        }
        found: dict[str, int] = {}
        for call in self.calls:
            if call.name in WRITE and call.descriptor.startswith("TCP:"):
                data = call.data
                if data.startswith(b"POST ") and (message := _MESSAGE_ID.search(data)) and message[1].decode() in ids:
                    found.setdefault(ids[message[1].decode()], call.begin)
        return found

    def _trace(self, name: str, work: Callable[[ServerProcess], None], end: Callable[[ServerProcess], object]) -> None:
        trace = self._directory / f"{name}.trace"
        server = TracedServer(self.data_dir, trace)
        server.log = self._directory / f"{name}.log"
        server.start()
        self._ports.append(server.url.rsplit(":", 1)[1])
        try:
            work(server)
        finally:
            end(server)
        self.calls += parse(trace, self._lines)
        self._lines += trace.read_bytes().count(b"\n")

    # --------------------------------------------------------------------------------------------------------- what is asked

    def _first(self, server: ServerProcess) -> None:
        s3, sns = server.client("s3"), server.client("sns")
        self._promise(
            f"bucket {BUCKET}", s3.create_bucket(Bucket=BUCKET), lambda survivors: survivors.has("bucket", "name", BUCKET)
        )
        self._put(s3, "small", b"small")
        self._put(s3, "large", LARGE)
        first = self._put(s3, "overwritten", LARGE)
        self._put(s3, "overwritten", b"another", replaces=first)
        deleted = self._put(s3, "deleted", LARGE)
        answer = s3.delete_object(Bucket=BUCKET, Key="deleted")
        self._promise("a deletion", answer, lambda survivors: survivors.read(BUCKET, "deleted") is None, replaces=deleted)
        answer = s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/large")
        self._promise("a copy", answer, lambda survivors: survivors.read(BUCKET, "copy") == LARGE)
        self._upload(s3)
        self.topic = sns.create_topic(Name="ends")["TopicArn"]
        self.subscriber.subscribe(sns, self.topic)
        self._publish(sns, "first")
        deploy.endpoint(server, "echo", BUCKET, topics={"SuccessTopic": self.topic, "ErrorTopic": self.topic}, concurrency=4)
        self._invoke(server, "inline", b"inline", inline=True)
        self._invoke(server, "of-a-large-input", LARGE)
        self._wait_for_ends()

    def _second(self, server: ServerProcess) -> None:
        deploy.in_service(server, "echo")
        self._put(server.client("s3"), "of the second run", LARGE)
        self._publish(server.client("sns"), "second")
        with ThreadPoolExecutor(8) as callers:  # accepts that share a commit, and results beside them
            for future in [callers.submit(self._invoke, server, f"burst-{n}", b"burst %d" % n) for n in range(24)]:
                future.result()
        self._invoke(server, "of-the-last-moment", LARGE)

    def _put(self, s3: Any, key: str, body: bytes, replaces: str | None = None) -> str:
        answer = s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return self._promise(f"object {key}", answer, lambda survivors: survivors.read(BUCKET, key) == body, replaces=replaces)

    def _upload(self, s3: Any) -> None:
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")
        upload_id = upload["UploadId"]
        self._promise("an upload", upload, lambda survivors: survivors.has("upload", "id", upload_id))
        part = s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload_id, PartNumber=1, Body=LARGE)
        etag = part["ETag"]
        kept = self._promise("a part", part, lambda survivors: survivors.has("upload_part", "etag", etag.strip('"')))
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        answer = s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload_id, MultipartUpload=parts)
        self._promise("its object", answer, lambda survivors: survivors.read(BUCKET, "parts") == LARGE, replaces=kept)

    def _publish(self, sns: Any, text: str) -> None:
        answer = sns.publish(TopicArn=self.topic, Message=json.dumps({"text": text}))
        message_id = answer["MessageId"]
        self._promise(f"message {text}", answer, lambda survivors: survivors.has("message", "id", message_id))
        self._promise("its topic", answer, lambda survivors: survivors.has("topic", "arn", self.topic))
        # The confirmation has no answer that is kept here; it came before this one.
        url = self.subscriber.url
        self._promise(
            "its subscription", answer, lambda survivors: survivors.has("subscription", "state || endpoint", f"Confirmed{url}")
        )

    def _invoke(self, server: ServerProcess, name: str, body: bytes, *, inline: bool = False) -> None:
        source: dict[str, Any] = {"Body": body, "ContentType": "text/plain"}
        if not inline:
            self._put(server.client("s3"), f"in/{name}", body)
            source = {"InputLocation": f"s3://{BUCKET}/in/{name}"}
        answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="echo", **source)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        invocation_id, output = headers["x-tarry-invocation-id"], answer["OutputLocation"]
        request_id = self._promise(
            f"invocation {name}", answer, lambda survivors: survivors.has("invocation", "id", invocation_id)
        )
        self.accepted.append(Accepted(invocation_id=invocation_id, request_id=request_id, output=output, answer=body))

    def _wait_for_ends(self) -> None:
        outputs = {each.output for each in self.accepted}
        self.subscriber.wait(lambda: outputs <= self.subscriber.results("Completed").keys(), "the ends of the first run")

    def _promise(self, what: str, answer: Any, kept: Callable[[Survivors], bool], *, replaces: str | None = None) -> str:
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        request_id: str = headers.get("x-amzn-requestid") or headers["x-amz-request-id"]
        self.promises.append(Promise(what=what, request_id=request_id, kept=kept, replaces=replaces))
        return request_id
