"""What is verified, and what is known afterwards: the two values on either side of authentication.

A signature covers the request exactly as it was sent, so the request comes here before anybody has decoded, merged or
normalised anything in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from tarry.aws.auth.canonical import Header
from tarry.core.keys import AccessKey

Family = Literal["json", "rest-json", "query", "rest-xml"]
"""The protocol whose words an error is told in; ``rest-xml`` is S3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRequest:
    """A request as it was on the wire."""

    method: str
    raw_path: bytes
    """Undecoded, without the query, not normalised."""
    raw_query: bytes
    """Undecoded, without the question mark."""
    headers: Sequence[Header]
    """In the order of arrival; repeated headers stay apart."""
    host: str
    """The host (and port, where the client named one) that the client used: the Host header, or HTTP/2's ``:authority``."""
    payload_sha256: str | None = None
    """Lower-case hex digest of the body, which every service but S3 has to know before the signature can be compared."""
    virtual_bucket: str | None = None
    """The bucket, where it is named by the host and not by the path; old (V2) S3 signatures cover it."""

    def with_payload(self, sha256: str) -> "RawRequest":
        """The same request, its body read and hashed. Written out: ``dataclasses.replace`` takes three times as long."""
        return RawRequest(
            method=self.method,
            raw_path=self.raw_path,
            raw_query=self.raw_query,
            headers=self.headers,
            host=self.host,
            payload_sha256=sha256,
            virtual_bucket=self.virtual_bucket,
        )


class How(StrEnum):
    """Which of AWS's ways of signing a request came with."""

    HEADER_V4 = "header-v4"
    QUERY_V4 = "query-v4"
    HEADER_V2 = "header-v2"
    QUERY_V2 = "query-v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSeed:
    """What the signatures of a body's chunks start from."""

    signing_key: bytes = field(repr=False)
    signature: str
    timestamp: str
    credential_scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A request whose signature is right.

    ``service``, ``region`` and ``date`` (``YYYYMMDD``) are those of the credential scope; V2 signatures have none, and the
    service's own are filled in.
    """

    access_key_id: str
    principal_arn: str
    service: str
    region: str
    date: str
    how: How
    payload_hash: str
    """The declared payload: 64 hex digits, ``UNSIGNED-PAYLOAD``, or one of the ``STREAMING-`` forms."""
    seed: ChunkSeed | None = None
    """Set for S3's V4 signatures in the header: only those can go on into the chunks of the body."""


class KeyLookup(Protocol):
    """The one question that authentication asks of a Keyring."""

    async def get(self, access_key_id: str) -> AccessKey | None:
        """The key of this id, or None."""
        ...
