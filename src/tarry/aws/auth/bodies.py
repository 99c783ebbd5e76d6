"""A request body whose bytes are verified while they stream through.

The signature of an S3 request covers only what the client *says* of the body. Whether the body is what was said, its length,
its hash, the signatures of its chunks, its checksums, is known when its last byte has come: so it is handed on at once, and
the reader commits nothing before the iteration has ended without an error.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass

from tarry.aws.auth.canonical import canonical_headers, split_query
from tarry.aws.auth.case import STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER, UNSIGNED_PAYLOAD, echo
from tarry.aws.auth.checksums import ALGORITHMS, DIGEST_BYTES, NOT_COMPUTED, Hasher, Hashing
from tarry.aws.auth.chunks import AwsChunked
from tarry.aws.auth.request import RawRequest, Verified
from tarry.aws.call import Body
from tarry.aws.errors import AwsError
from tarry.core.errors import Bug

_PREFIX = "x-amz-checksum-"
_NOT_VALUES = frozenset({"algorithm", "mode", "type"})
_TRAILER_FORMS = frozenset({STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})
_number = re.compile(r"[0-9]{1,18}").fullmatch


@dataclass(slots=True, kw_only=True)
class _Check:
    """One digest to compare at the end: what was promised (None until a trailer tells), and what has been computed."""

    kind: str
    """``sha256 of the payload``, ``content-md5``, or the name of a checksum algorithm."""
    promised: str | None
    hasher: Hasher


class VerifiedBody:
    """A Body: payload bytes, verified by the time that the iteration ends. Iterate once."""

    def __init__(
        self, source: AsyncIterable[bytes], *, size: int | None, checks: list[_Check], chunked: AwsChunked | None
    ) -> None:
        self._source = source
        self._checks = checks
        self._chunked = chunked
        self._begun = False
        self.size = size
        self.checksums: Mapping[str, str] = {
            check.kind: check.promised for check in checks if check.kind in ALGORITHMS and check.promised is not None
        }

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The payload, once. Raises AwsError at the first byte too many, or at the end."""
        if self._begun:
            raise Bug("A request body can be read once.")
        self._begun = True
        return self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        total = 0
        hashing = Hashing([check.hasher for check in self._checks])
        async for piece in self._source:
            total += len(piece)
            if self.size is not None and total > self.size:
                raise _incomplete()
            await hashing.add(piece)
            yield piece
        if self.size is not None and total != self.size:
            raise _incomplete()
        await hashing.flush()
        self._take_trailers()
        for check in self._checks:
            _compare(check)

    def _take_trailers(self) -> None:
        if self._chunked is None:
            return
        for check in self._checks:
            if check.promised is None:
                check.promised = _checksum_value(check.kind, self._chunked.received[_PREFIX + check.kind], "trailing header")
                self.checksums = {**self.checksums, check.kind: check.promised}


def open_body(request: RawRequest, verified: Verified, source: AsyncIterator[bytes]) -> Body:
    """The body of a verified S3 request; ``source`` gives the bytes that HTTP carried.

    ``size`` of the result is the payload's: Content-Length, or x-amz-decoded-content-length for the chunked forms.

    Raises:
        AwsError: what the headers say of the body cannot be (InvalidDigest, InvalidRequest, InvalidArgument,
            NotImplemented). While reading: IncompleteBody, XAmzContentSHA256Mismatch, BadDigest, SignatureDoesNotMatch,
            InvalidChunkSizeError, MalformedTrailerError.
    """
    raw = canonical_headers(request.headers, request.host)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw.items()}
    form = verified.payload_hash
    streaming = form.startswith("STREAMING-")
    trailers = _announced(headers) if form in _TRAILER_FORMS else []
    checks = [] if _describes_the_object(request) else _checksum_checks(headers, trailers)
    if (md5 := headers.get("content-md5")) is not None:
        checks.append(_Check(kind="content-md5", promised=_md5_value(md5), hasher=ALGORITHMS["md5"]()))
    if not streaming and form != UNSIGNED_PAYLOAD:
        checks.insert(0, _Check(kind="payload", promised=form, hasher=hashlib.sha256()))
    if not streaming:
        return VerifiedBody(source, size=_length(headers, "content-length"), checks=checks, chunked=None)
    signed = form in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER)
    if signed and verified.seed is None:
        raise Bug("A body with signed chunks needs the signature that they start from.")
    chunked = AwsChunked(source, seed=verified.seed if signed else None, trailers=trailers if form in _TRAILER_FORMS else None)
    return VerifiedBody(chunked, size=_length(headers, "x-amz-decoded-content-length"), checks=checks, chunked=chunked)


def _describes_the_object(request: RawRequest) -> bool:
    """AWS: the checksum headers of CompleteMultipartUpload are the finished object's, not the XML's (its API reference)."""
    return request.method == "POST" and any(name == b"uploadId" for name, _ in split_query(request.raw_query))


def _length(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    if not _number(value):
        extras = {"ArgumentName": name, "ArgumentValue": echo(value)}
        raise AwsError(code="InvalidArgument", message=f"{name} must be a number of bytes.", extras=extras)
    return int(value)


def _announced(headers: Mapping[str, str]) -> list[str]:
    names = [name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",") if name.strip()]
    for name in names:
        if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX) not in ALGORITHMS.keys() | NOT_COMPUTED:
            raise _invalid_request("The value specified in the x-amz-trailer header is not supported")
    return names


def _checksum_checks(headers: Mapping[str, str], trailers: list[str]) -> list[_Check]:
    named = [name.removeprefix(_PREFIX) for name in headers if name.startswith(_PREFIX)]
    in_headers = [name for name in named if name not in _NOT_VALUES]
    in_trailers = [name.removeprefix(_PREFIX) for name in trailers]
    if len(in_headers) + len(in_trailers) > 1:
        raise _invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    for name in in_headers + in_trailers:
        if name in NOT_COMPUTED:
            text = f"Checksums of the kind {name.upper()} are not implemented; send one of {', '.join(ALGORITHMS)}."
            raise AwsError(code="NotImplemented", message=text, status=501, extras={"Header": _PREFIX + name})
        if name not in ALGORITHMS:
            raise _invalid_request("The algorithm type you specified in x-amz-checksum- header is invalid.")
    if "x-amz-sdk-checksum-algorithm" in headers and not in_headers and not in_trailers:
        raise _invalid_request(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
        )
    given = {name: _checksum_value(name, headers[_PREFIX + name], "header") for name in in_headers}
    return [_Check(kind=name, promised=given.get(name), hasher=ALGORITHMS[name]()) for name in in_headers + in_trailers]


def _checksum_value(name: str, value: str, where: str) -> str:
    if _base64_bytes(value) != DIGEST_BYTES[name]:
        raise _invalid_request(f"Value for {_PREFIX}{name} {where} is invalid.")
    return value


def _md5_value(value: str) -> str:
    if _base64_bytes(value) != DIGEST_BYTES["md5"]:
        extras = {"Content-MD5": echo(value)}
        raise AwsError(code="InvalidDigest", message="The Content-MD5 you specified was invalid.", extras=extras)
    return value


def _base64_bytes(value: str) -> int | None:
    try:
        return len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return None


def _compare(check: _Check) -> None:
    promised, digest = check.promised or "", check.hasher.digest()
    if check.kind == "payload":
        if not hmac.compare_digest(promised.lower(), digest.hex()):
            extras = {"ClientComputedContentSHA256": promised, "S3ComputedContentSHA256": digest.hex()}
            text = "The provided 'x-amz-content-sha256' header does not match what was computed."
            raise AwsError(code="XAmzContentSHA256Mismatch", message=text, extras=extras)
        return
    if base64.b64decode(promised) == digest:
        return
    if check.kind == "content-md5":
        extras = {"ExpectedDigest": promised, "CalculatedDigest": base64.b64encode(digest).decode()}
        text = "The Content-MD5 you specified did not match what we received."
        raise AwsError(code="BadDigest", message=text, extras=extras)
    raise AwsError(code="BadDigest", message=f"The {check.kind.upper()} you specified did not match the calculated checksum.")


def _invalid_request(message: str) -> AwsError:
    return AwsError(code="InvalidRequest", message=message)


def _incomplete() -> AwsError:
    text = "You did not provide the number of bytes specified by the Content-Length HTTP header"
    return AwsError(code="IncompleteBody", message=text)
