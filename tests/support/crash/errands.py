"""What clients ask of a server in crash tests, and their own log of what they were told."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError

LARGE_BYTES = 2_500_000
"""A blob file, and more than one chunk on every way that it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """An input and what has to come of it. The stub answers with the input between two copies of a fresh token."""

    body: bytes | None = b"a small input"
    """None: there is no such object."""
    inline: bool = False
    wishes: Mapping[str, Any] = field(default_factory=lambda: {"stamp": True})
    lost: bool = False
    """Every attempt at it is lost."""

    @property
    def state(self) -> str:
        """The end that it has to come to."""
        refused = self.wishes.get("status", 200) != 200
        return "Failed" if self.body is None or refused or self.lost else "Completed"

    def wishing(self, **wishes: Any) -> "Errand":
        """The same with further wishes of the stub."""
        return replace(self, wishes={**self.wishes, **wishes})

    def explains(self, published: bytes) -> bool:
        """Whether these bytes are one whole answer to it, of one attempt."""
        if self.body is None:
            return b"does not exist" in published and published.endswith(b"}\n")
        if self.lost:
            return b"died while working on this request, 3 times" in published and published.endswith(b"}\n")
        token = published[:32]
        return published == token + self.body + token and len(token) == 32


SMALL = Errand()
INLINE = Errand(body=b"an inline input", inline=True)
LARGE = Errand(body=bytes(range(250)) * (LARGE_BYTES // 250))
REFUSED = Errand(body=b"an input that the model refuses", wishes={"stamp": True, "status": 500})
LARGE_REFUSED = replace(LARGE, wishes={"stamp": True, "status": 500})
MISSING = Errand(body=None)
ERRANDS = (SMALL, INLINE, LARGE, REFUSED, LARGE_REFUSED, MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A 202."""

    invocation_id: str
    output: str
    failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call and how it ended for the client: told, refused, or (neither) the connection broke and nobody knows."""

    inference_id: str
    errand: Errand
    told: Told | None = None
    refusal: str | None = None


class Client:
    """Calls a server through boto3 and keeps the log. Several threads may call."""

    def __init__(self, endpoint: str, bucket: str) -> None:
        self.log: list[Entry] = []
        self._endpoint = endpoint
        self._bucket = bucket
        self._lock = threading.Lock()

    def prepare(self, s3: Any, errand: Errand) -> str:
        """Put the input where it has to be; the inference id for the call."""
        inference_id = uuid4().hex
        if errand.body is not None and not errand.inline:
            s3.put_object(Bucket=self._bucket, Key=f"in/{inference_id}", Body=errand.body, ContentType="text/plain")
        return inference_id

    def invoke(self, runtime: Any, errand: Errand, inference_id: str) -> Entry:
        """Call, and write down what came of it."""
        source: dict[str, Any] = {"InputLocation": f"s3://{self._bucket}/in/{inference_id}"}
        if errand.inline:
            source = {"Body": errand.body, "ContentType": "text/plain"}
        entry = Entry(inference_id=inference_id, errand=errand)
        try:
            answer = runtime.invoke_endpoint_async(
                EndpointName=self._endpoint,
                InferenceId=inference_id,
                CustomAttributes=json.dumps(errand.wishes),
                **source,
            )
        except ClientError as error:
            entry = replace(entry, refusal=error.response["Error"]["Code"])
        except (HTTPClientError, EndpointConnectionError):
            pass  # the server has died, perhaps before it was asked
        else:
            told = Told(
                invocation_id=answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"],
                output=answer["OutputLocation"],
                failure=answer["FailureLocation"],
            )
            entry = replace(entry, told=told)
        with self._lock:
            self.log.append(entry)
        return entry
