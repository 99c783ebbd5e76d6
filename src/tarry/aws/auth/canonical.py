"""The canonical request: the one text that client and server both make of a request, and sign.

Everything is bytes, as on the wire: a header that is not UTF-8 is compared as it was sent. All functions are total: any
bytes have a canonical form, and a form that the client did not mean is only a signature that does not match.

Rules: "Create a signed AWS API request" in the IAM user guide, and "Authenticating Requests: Using the Authorization Header"
in the S3 API reference.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_to_bytes

Header = tuple[bytes, bytes]
"""A header as it came; the name in any case."""
QueryPairs = list[tuple[bytes, bytes]]
"""Names and values as sent, still encoded."""

_unreserved = re.compile(rb"[A-Za-z0-9\-._~]*").fullmatch
_unreserved_path = re.compile(rb"[A-Za-z0-9\-._~/]*").fullmatch


def split_query(raw_query: bytes) -> QueryPairs:
    """The parameters of a query, still encoded, in their order; ``?uploads`` has an empty value."""
    pairs: QueryPairs = []
    if not raw_query:
        return pairs
    for piece in raw_query.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            pairs.append((name, value))
    return pairs


def decoded_query(pairs: QueryPairs) -> dict[str, str]:
    """Values decoded, by name as sent; of repeated ones the first.

    OURS: no client encodes the names of a signature's parameters; an encoded one is another parameter, here and for the router.
    """
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name.decode("latin-1"), _text(value))
    return found


def _text(raw: bytes) -> str:
    return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8", "replace")


def _encode(raw: bytes) -> bytes:
    if _unreserved(raw):
        return raw
    return quote_from_bytes(unquote_to_bytes(raw), safe="").encode()


def _encode_plus_as_space(raw: bytes) -> bytes:
    return _encode(raw.replace(b"+", b"%20"))


def _encode_keeping_plus(raw: bytes) -> bytes:
    return b"+".join(map(_encode, raw.split(b"+")))


def canonical_query(pairs: QueryPairs, *, keep_plus: bool = False) -> bytes:
    """Each name and value decoded once and strictly encoded again, sorted by name and then by value.

    OURS: a raw ``+`` may have been signed as the space that it stands for, or (botocore) as it is; both are tried by
    ``variants``. Never as ``%2B``: that would let a signed plus be turned into a space.
    """
    encode = _encode_keeping_plus if keep_plus else _encode_plus_as_space
    encoded = [(encode(name), encode(value)) for name, value in pairs]
    encoded.sort()
    return b"&".join([name + b"=" + value for name, value in encoded])


def s3_path(raw_path: bytes, *, keep_slashes: bool = False) -> bytes:
    """S3's path: decoded once, strictly encoded again, never normalised; with ``keep_slashes`` a ``%2F`` stays one."""
    if _unreserved_path(raw_path):
        return raw_path or b"/"
    if keep_slashes:
        return b"/".join(map(_encode, raw_path.split(b"/")))
    return quote_from_bytes(unquote_to_bytes(raw_path), safe="/").encode()


@lru_cache(maxsize=256)
def service_path(raw_path: bytes) -> bytes:
    """The path of every service but S3: normalised as sent, and then encoded once more."""
    kept: list[bytes] = []
    for segment in raw_path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    path = b"/" + b"/".join(kept)
    if kept and raw_path.endswith(b"/"):
        path += b"/"
    return path if _unreserved_path(path) else quote_from_bytes(path, safe="/").encode()


def variants(raw_path: bytes, pairs: QueryPairs, *, s3: bool) -> Iterator[tuple[bytes, bytes]]:
    """The canonical (path, query) of a request: nearly always one; more where clients are known to differ.

    All variants of one request mean the same once decoded, so accepting any of them lets nobody change what was signed.
    """
    path, query = (s3_path(raw_path) if s3 else service_path(raw_path)), canonical_query(pairs)
    yield path, query
    slashes = s3 and b"%2f" in raw_path.lower()
    plus = any(b"+" in name or b"+" in value for name, value in pairs)
    other_path = s3_path(raw_path, keep_slashes=True) if slashes else path
    if slashes:
        yield other_path, query
    if plus:
        other_query = canonical_query(pairs, keep_plus=True)
        yield path, other_query
        if slashes:
            yield other_path, other_query


def canonical_headers(headers: Sequence[Header], host: str) -> dict[bytes, bytes]:
    """Headers by lower-case name: ends trimmed, inner blanks collapsed, repeated ones joined by a comma as they arrived."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if b" " in value or b"\t" in value:
            value = b" ".join(value.split())
        found[name] = found[name] + b"," + value if name in found else value
    found[b"host"] = host.encode("utf-8", "replace")
    return found


def canonical_request(
    method: bytes, target: tuple[bytes, bytes], headers: Mapping[bytes, bytes], signed: Sequence[bytes], payload_hash: bytes
) -> bytes:
    """The canonical request; ``signed`` are the lower-case, sorted names of the headers that take part."""
    lines: Iterable[bytes] = [name + b":" + headers.get(name, b"") for name in signed]
    return b"\n".join([method, *target, *lines, b"", b";".join(signed), payload_hash])
