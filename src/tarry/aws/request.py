"""A request exactly as it came in: signatures are checked over what was sent, so nothing here is decoded or normalised.

The path and query are the bytes of the request line. Header names are lower-case; values are decoded as Latin-1, so that
``value.encode("latin-1")`` gives back the bytes; a header that came more than once is joined by a comma in arrival order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_plus


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request line and headers. The body is not here: it is read later, once, if at all."""

    method: str
    raw_path: bytes
    """As on the request line, still percent-encoded, without the query; ``//``, ``..`` and ``%2F`` are untouched."""
    raw_query: bytes
    """What follows the first ``?``, without it."""
    headers: Mapping[str, str]
    scheme: str = "http"
    """``http`` or ``https``: how the client reached us."""

    @cached_property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Query parameters in order, percent-decoded, ``+`` read as a blank. A name without ``=`` has the value ``""``.

        Bytes that are not UTF-8 become U+FFFD; checks that matter work on ``raw_query``.
        """
        pairs = (part.partition("=") for part in self.raw_query.decode("latin-1").split("&") if part)
        return tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in pairs)

    @cached_property
    def query_map(self) -> Mapping[str, str]:
        """Query parameters by name; of a repeated name the first value counts."""
        return dict(reversed(self.query))

    @property
    def announced_size(self) -> int | None:
        """Content-Length, or None where there is none (or no number)."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None


def join_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The header mapping of a request from ASGI's list of pairs."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
