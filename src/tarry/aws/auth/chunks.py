"""S3's own chunked framing of a body (``aws-chunked``): chunk headers, chunk signatures, trailers.

It lies inside whatever framing HTTP adds, and the two do not align. Data passes through in the pieces in which it came; what
is kept is one piece, and chunk headers and trailers are bounded, so no body makes memory grow.

Form and strings to sign: "Signature calculations for the authorization header: transferring payload in multiple chunks" and
the page on trailing headers beside it, in the S3 API reference.
"""

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Collection

from tarry.aws.auth.checksums import Hashing
from tarry.aws.auth.request import ChunkSeed
from tarry.aws.errors import AwsError

CHUNK_BYTES_MIN = 8192
"""AWS: every signed chunk but the last carries at least so much (S3 API reference, sigv4-streaming)."""
_HEADER_BYTES_MAX = 128
_TRAILER_BYTES_MAX = 1024
_TRAILERS_MAX = 16
_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_SIGNATURE_TRAILER = "x-amz-trailer-signature"
_chunk_header = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?").fullmatch


def incomplete() -> AwsError:
    """The body ends early, or its framing cannot be read."""
    return AwsError(code="IncompleteBody", message="The request body terminated unexpectedly")


def malformed_trailer() -> AwsError:
    """The trailing headers are not what was announced."""
    text = "The request contained trailing data that was not well-formed or did not conform to our published schema."
    return AwsError(code="MalformedTrailerError", message=text)


class Wire:
    """Reads lines and counted data from a stream of pieces."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._piece = b""
        self._at = 0

    async def _more(self) -> bool:
        """Add the next piece; false at the end."""
        async for piece in self._source:
            if piece:
                self._piece = self._piece[self._at :] + piece
                self._at = 0
                return True
        return False

    async def line(self, bytes_max: int) -> bytes:
        """The next line without its CRLF."""
        while True:
            end = self._piece.find(b"\r\n", self._at)
            length = (end if end >= 0 else len(self._piece) - 1) - self._at
            if length > bytes_max:
                raise incomplete()
            if end >= 0:
                line = self._piece[self._at : end]
                self._at = end + 2
                return line
            if not await self._more():
                raise incomplete()

    async def take(self, size: int) -> AsyncIterator[bytes]:
        """The next ``size`` bytes, in the pieces in which they came."""
        while size:
            if self._at == len(self._piece) and not await self._more():
                raise incomplete()
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            yield part

    async def end(self) -> None:
        """Nothing more may come."""
        if self._at < len(self._piece) or await self._more():
            raise incomplete()


class AwsChunked:
    """An aws-chunked body as an iterable of its payload; iterate once.

    ``seed`` makes chunk signatures required. ``trailers`` names the trailing headers that were announced (lower case) or is
    None where the form has none; their values are in ``received`` once the iteration has ended.
    """

    def __init__(self, source: AsyncIterator[bytes], *, seed: ChunkSeed | None, trailers: Collection[str] | None) -> None:
        self._wire = Wire(source)
        self._seed = seed
        self._trailers = trailers
        self.received: dict[str, str] = {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The payload. Raises AwsError where the framing, a chunk's signature or the trailer is wrong."""
        previous = self._seed.signature if self._seed else ""
        short, number = False, 0
        while True:
            number += 1
            size, signature = self._header(await self._wire.line(_HEADER_BYTES_MAX))
            if self._seed and short and size:
                raise _chunk_too_small(number - 1)
            short = size < CHUNK_BYTES_MIN
            digest = hashlib.sha256()
            hashing = Hashing([digest] if self._seed else [])
            async for part in self._wire.take(size):
                await hashing.add(part)
                yield part
            if self._seed:
                await hashing.flush()
                previous = self._verify(f"{previous}\n{_EMPTY_SHA256}\n{digest.hexdigest()}", signature, "PAYLOAD")
            if not size:
                break
            if await self._wire.line(0):
                raise incomplete()
        if self._trailers is not None:
            await self._read_trailers(previous, self._trailers)
        elif await self._wire.line(0):
            raise incomplete()
        await self._wire.end()

    def _header(self, line: bytes) -> tuple[int, str]:
        match = _chunk_header(line)
        if match is None or (match[2] is None) == (self._seed is not None):
            raise incomplete()
        return int(match[1], 16), (match[2] or b"").decode()

    def _verify(self, covered: str, signature: str, kind: str) -> str:
        assert self._seed is not None  # noqa: S101 -- callers have asked
        seed = self._seed
        text = f"AWS4-HMAC-SHA256-{kind}\n{seed.timestamp}\n{seed.credential_scope}\n{covered}"
        expected = hmac.digest(seed.signing_key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise AwsError(
                code="SignatureDoesNotMatch",
                message="The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
                status=403,
                extras={"StringToSign": text, "SignatureProvided": signature},
            )
        return signature

    async def _read_trailers(self, previous: str, announced: Collection[str]) -> None:
        found: dict[str, str] = {}
        while line := await self._wire.line(_TRAILER_BYTES_MAX):
            raw_name, colon, value = line.decode("latin-1").partition(":")
            name = raw_name.strip().lower()
            signature = name == _SIGNATURE_TRAILER and self._seed is not None
            if not colon or name in found or not (signature or name in announced) or len(found) == _TRAILERS_MAX:
                raise malformed_trailer()
            found[name] = value.strip()
        given = found.pop(_SIGNATURE_TRAILER, None)
        if len(found) != len(announced):
            raise malformed_trailer()
        if self._seed:
            if given is None:
                raise malformed_trailer()
            text = "".join(f"{name}:{value}\n" for name, value in found.items())
            self._verify(f"{previous}\n{hashlib.sha256(text.encode('latin-1')).hexdigest()}", given, "TRAILER")
        self.received = found


def _chunk_too_small(number: int) -> AwsError:
    return AwsError(
        code="InvalidChunkSizeError",
        message="Only the last chunk is allowed to have a size less than 8192 bytes",
        status=403,
        extras={"Chunk": str(number)},
    )
