"""A request exactly as it came in: signatures are checked over what was sent, so nothing is decoded or normalised in place.

Header names are lower-case; values are decoded as Latin-1, so that ``value.encode("latin-1")`` gives back the bytes; a header
that came more than once is joined by a comma in arrival order. Where a value is text in UTF-8, the codec reads it as such.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote_plus

from tarry.aws.auth.request import RawRequest


@dataclass(frozen=True, kw_only=True)
class Request:
    """Request line and headers. The body is not here: it is read later, once, if at all."""

    raw: RawRequest
    headers: Mapping[str, str]
    scheme: str = "http"
    """``http`` or ``https``: how the client reached us."""

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return self.raw.method

    @property
    def raw_path(self) -> bytes:
        """As on the request line, still percent-encoded, without the query; ``//``, ``..`` and ``%2F`` are untouched."""
        return self.raw.raw_path

    @cached_property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Query parameters in order, percent-decoded, ``+`` read as a blank. A name without ``=`` has the value ``""``.

        Bytes that are not UTF-8 become U+FFFD.
        """
        if not self.raw.raw_query:
            return ()
        pairs = (part.partition("=") for part in self.raw.raw_query.decode("latin-1").split("&") if part)
        return tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in pairs)

    @cached_property
    def query_map(self) -> Mapping[str, str]:
        """Query parameters by name; of a repeated name the first value counts."""
        return dict(reversed(self.query))

    @property
    def announced_size(self) -> int | None:
        """Content-Length, or None where there is none."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def join_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The header mapping of a request from ASGI's list of pairs."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        value = raw_value.decode("latin-1")
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
