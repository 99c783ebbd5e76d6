"""What all ways of signing share: the request under examination, its date, its scope, and the comparison of signatures."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from tarry.aws.auth.canonical import QueryPairs, canonical_request, variants
from tarry.aws.auth.errors import Finding, Problem, auth_error, basic_iso, extended_iso
from tarry.aws.auth.request import Family, How, KeyLookup, RawRequest
from tarry.aws.errors import AwsError
from tarry.core.keys import AccessKey

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
PAYLOAD_FORMS = frozenset({UNSIGNED_PAYLOAD, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER, STREAMING_UNSIGNED_TRAILER})

_SKEW_S: Mapping[Family, tuple[int, int]] = {
    "json": (300, 300),
    "rest-json": (300, 300),
    "query": (900, 300),
    "rest-xml": (900, 900),
}
"""How far a request's date may lie in the past and in the future.

AWS: as told in the messages of each kind of service ("- 5 min.", "- 15 min.", MaxAllowedSkewMilliseconds 900000), as quoted in
artillery-dino#2, aws-sdk-android#88 and aws-sdk-php#612."""

_ECHO_MAX = 1024
_basic = re.compile(r"[0-9]{8}T[0-9]{6}Z").fullmatch
_http_date = re.compile(
    r"(?:[A-Za-z]{3,9}, )?([0-9]{1,2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) (?:GMT|UTC|[+-]0000)"
).fullmatch
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_key_id = re.compile(r"[!-~]{1,128}").fullmatch
_header_names = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(?:;[a-z0-9!#$%&'*+.^_`|~-]+)*").fullmatch
_sha256 = re.compile(r"[0-9A-Fa-f]{64}").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request under examination; ``service`` and ``region`` are what it should have been signed for."""

    request: RawRequest
    protocol: Family
    service: str
    region: str
    now_s: int
    keyring: KeyLookup
    pairs: QueryPairs
    headers: Mapping[bytes, bytes]

    @property
    def s3(self) -> bool:
        """Whether S3's rules hold."""
        return self.protocol == "rest-xml"

    def header(self, name: bytes) -> str | None:
        """A header's value as text; bytes that are no UTF-8 are replaced."""
        value = self.headers.get(name)
        return None if value is None else value.decode("utf-8", "replace")

    def refusal(self, problem: Problem, *, extras: Mapping[str, str] | None = None, **facts: object) -> AwsError:
        """The error for one problem."""
        return auth_error(self.protocol, Finding(problem, facts, extras or {}))


@dataclass(frozen=True, slots=True)
class Credential:
    """Whose key signed, and the credential scope that the signing key is derived for: as one text, and in its four parts."""

    access_key_id: str
    scope: str
    date: str
    region: str
    service: str
    terminator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a V4 signature says of itself."""

    how: How
    credential: Credential
    timestamp: str
    signed_headers: Sequence[bytes]
    signature: str


def echo(value: str) -> str:
    """A value as it may be shown in a message: bounded."""
    return value if len(value) <= _ECHO_MAX else value[:_ECHO_MAX] + "..."


def seconds_of(timestamp: str) -> int | None:
    """Seconds since the epoch of ``YYYYMMDDTHHMMSSZ``, or None where it is not such a time."""
    return _seconds_of_basic(timestamp) if _basic(timestamp) else None


@lru_cache(maxsize=4096)
def _seconds_of_basic(t: str) -> int | None:
    return _epoch(int(t[:4]), int(t[4:6]), int(t[6:8]), int(t[9:11]), int(t[11:13]), int(t[13:15]))


def seconds_of_http_date(value: str) -> int | None:
    """Seconds since the epoch of an HTTP date in GMT, or None where it is not such a date."""
    match = _http_date(value)
    if match is None or match[2] not in _MONTHS:
        return None
    month = _MONTHS.index(match[2]) + 1
    return _epoch(int(match[3]), month, int(match[1]), int(match[4]), int(match[5]), int(match[6]))


def _epoch(*parts: int) -> int | None:
    year, month, day, hour, minute, second = parts
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:
        return None


def date_of(case: Case) -> tuple[str, int | None] | None:
    """The request's date as sent and in seconds: ``X-Amz-Date``, else ``Date``; None where there is neither."""
    value = case.header(b"x-amz-date") or case.header(b"date")
    if not value:
        return None
    seconds = seconds_of(value)
    return value, seconds_of_http_date(value) if seconds is None else seconds


def require_fresh(case: Case, date: str, seconds: int) -> None:
    """Refuse a date that is too old or too far ahead."""
    back_s, ahead_s = _SKEW_S[case.protocol]
    if case.now_s - back_s <= seconds <= case.now_s + ahead_s:
        return
    old = seconds < case.now_s
    extras = {"RequestTime": date, "ServerTime": extended_iso(case.now_s), "MaxAllowedSkewMilliseconds": str(back_s * 1000)}
    raise case.refusal(
        Problem.EXPIRED if old else Problem.NOT_YET,
        extras=extras,
        date=basic_iso(seconds),
        limit=basic_iso(case.now_s - back_s if old else case.now_s + ahead_s),
        now=basic_iso(case.now_s),
        minutes=(back_s if old else ahead_s) / 60,
    )


def read_signed_headers(case: Case, names: str) -> Sequence[bytes]:
    """The names in SignedHeaders, lower-case and sorted. Anything but header names would make the canonical text ambiguous."""
    signed = _signed_headers(names)
    if not signed:
        raise case.refusal(Problem.SIGNED_HEADERS, names=echo(names))
    return signed


@lru_cache(maxsize=256)  # a client sends the same few lists over and over
def _signed_headers(names: str) -> tuple[bytes, ...]:
    lower = names.lower()
    return tuple(sorted(lower.encode().split(b";"))) if _header_names(lower) else ()


def read_credential(case: Case, text: str, problem: Problem) -> Credential:
    """A credential: key id, date, region, service and terminator, with slashes between."""
    credential = _credential(text)
    if credential is None:
        raise case.refusal(problem, credential=echo(text))
    return credential


@lru_cache(maxsize=256)  # a client sends the same one all day
def _credential(text: str) -> Credential | None:
    access_key_id, _, scope = text.partition("/")
    elements = scope.split("/")
    return Credential(access_key_id, scope, *elements) if access_key_id and len(elements) == 4 else None


def require_signed(case: Case, signed: Sequence[bytes]) -> None:
    """Refuse unless ``host`` and every ``x-amz-*`` (and ``x-tarry-*``) header of the request take part in the signature.

    OURS: S3's x-amz-content-sha256 may be left out in the header form (sources disagree): its value is signed all the same.
    """
    exempt = b"x-amz-content-sha256" if case.s3 and b"authorization" in case.headers else b""
    unsigned = [
        name for name in case.headers if name.startswith((b"x-amz-", b"x-tarry-")) and name not in signed and name != exempt
    ]
    if b"host" not in signed:
        unsigned.append(b"host")
    if not unsigned:
        return
    names = sorted(name.decode("latin-1") for name in unsigned)
    shown = ", ".join("'Host' or ':authority'" if name == "host" else f"'{name.title()}'" for name in names)
    raise case.refusal(Problem.UNSIGNED_HEADER, names=shown, extras={"HeadersNotSigned": ", ".join(names)})


async def look_up(case: Case, access_key_id: str) -> AccessKey:
    """The key, or AWS's error for one that does not exist or is inactive, which makes no difference.

    What no key id looks like never reaches the database.
    """
    key = await case.keyring.get(access_key_id) if _key_id(access_key_id) else None
    if key is None or not key.active:
        raise case.refusal(Problem.UNKNOWN_KEY, extras={"AWSAccessKeyId": echo(access_key_id)})
    return key


def refuse_token(case: Case, token: str | None) -> None:
    """Refuse a session token: this server hands out none, so none is ours."""
    if token is not None:
        raise case.refusal(Problem.TOKEN, extras={"Token-0": echo(token)})


def s3_payload(case: Case, value: str) -> str:
    """A declared payload that is one of the forms S3 knows."""
    if value in PAYLOAD_FORMS or _sha256(value):
        return value
    raise case.refusal(Problem.PAYLOAD_HASH, extras={"ArgumentName": "x-amz-content-sha256", "ArgumentValue": echo(value)})


@lru_cache(maxsize=1024)
def derive_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The signing key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def compare(case: Case, claim: Claim, key: AccessKey, payload_hash: str) -> bytes:
    """Compare the signature with our own; returns the signing key."""
    credential = claim.credential
    signing_key = derive_key(key.secret, credential.date, credential.region, credential.service)
    given = claim.signature.encode("utf-8", "replace")
    prefix = f"{ALGORITHM}\n{claim.timestamp}\n{credential.scope}\n"
    method, payload = case.request.method.encode(), payload_hash.encode()
    shown: tuple[bytes, str] | None = None
    for target in variants(case.request.raw_path, case.pairs, s3=case.s3):
        canonical = canonical_request(method, target, case.headers, claim.signed_headers, payload)
        text = prefix + hashlib.sha256(canonical).hexdigest()
        expected = hmac.digest(signing_key, text.encode(), "sha256").hex().encode()
        if hmac.compare_digest(expected, given):
            return signing_key
        shown = shown or (canonical, text)
    canonical, text = shown or (b"", "")
    raise mismatch(case, credential.access_key_id, claim.signature, text, canonical)


def mismatch(case: Case, access_key_id: str, signature: str, string_to_sign: str, canonical: bytes | None) -> AwsError:
    """The error for a wrong signature; it shows the texts that we signed, so that the client's author can compare."""
    extras = {
        "AWSAccessKeyId": access_key_id,
        "StringToSign": string_to_sign,
        "SignatureProvided": echo(signature),
        "StringToSignBytes": string_to_sign.encode("utf-8", "replace").hex(" "),
    }
    shown = ""
    if canonical is not None:
        shown = canonical.decode("utf-8", "replace")
        extras |= {"CanonicalRequest": shown, "CanonicalRequestBytes": canonical.hex(" ")}
    return case.refusal(Problem.SIGNATURE, extras=extras, canonical=shown, string_to_sign=string_to_sign)
