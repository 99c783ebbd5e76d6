"""What a service operation is given and what it gives back: the two values that cross from the wire to the services."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Params = Mapping[str, Any]
"""Parsed and validated input members, named as in botocore's description; times are datetimes, blobs are bytes."""


class Body(Protocol):
    """A request body that has not been read yet.

    Iterating yields decoded payload bytes (aws-chunked framing removed). When the last byte has been read, length,
    payload hash, chunk signatures and trailing checksums have been verified, or an AwsError was raised: nothing read from
    it may be committed before the iteration has ended.
    """

    size: int | None
    """Payload bytes announced by the client; None where it did not say."""
    checksums: Mapping[str, str]
    """``x-amz-checksum-*`` values, base64, by algorithm in lower case (``crc32``): headers at once, trailers after the end."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The payload, once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who signed the request."""

    access_key_id: str
    principal_arn: str
    account_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, resolved and verified."""

    service: str
    operation: str
    request_id: str
    caller: Caller | None
    """None only for operations that are allowed unsigned (a subscription token is their proof)."""
    headers: Mapping[str, str]
    """Lower-case names; repeated headers joined by a comma."""
    public_url: str
    """Absolute URLs that we hand out begin with this; no slash at the end."""
    body: Body | None = None
    """Set for operations whose input has a streaming payload; then the member is absent from the params."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that needs more than its output members: another status, extra headers, or a streamed payload."""

    output: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    """The bytes of a streaming payload; ``Content-Length`` comes from the ContentLength member of the output."""


Operation = Callable[[Call, Params], Awaitable[Mapping[str, Any] | Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One AWS service as served: its botocore name and the operations that exist here; all others are refused by name."""

    name: str
    operations: Mapping[str, Operation]
    unsigned: frozenset[str] = frozenset()
    """Operations that are allowed without a signature."""
    refused: frozenset[str] = frozenset()
    """Those of the operations that are here only to refuse in AWS's own words; they do not count as implemented."""
