"""What the codecs give back: an answer ready for the wire."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer. ``body`` and ``stream`` exclude each other."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerContext:
    """What an answer repeats of its request."""

    request_id: str
    host_id: str = ""
    """S3's second request id."""
    method: str = "POST"
