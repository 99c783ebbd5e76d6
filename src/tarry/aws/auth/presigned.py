"""Signature Version 4 in the query: presigned URLs.

The URL itself says how long it lives. botocore signs any lifetime, so the bound of a week is ours to hold.
"""

import re
from dataclasses import replace

from tarry.aws.auth.canonical import decoded_query
from tarry.aws.auth.case import (
    ALGORITHM,
    STREAMING_SIGNED,
    STREAMING_SIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Case,
    Claim,
    compare,
    echo,
    look_up,
    read_credential,
    read_signed_headers,
    refuse_token,
    require_signed,
    s3_payload,
    seconds_of,
)
from tarry.aws.auth.errors import Problem, basic_iso, extended_iso
from tarry.aws.auth.request import How, Verified
from tarry.aws.auth.sigv4 import known_payload, require_s3_scope, require_scope, verified

EXPIRES_S_MAX = 604_800
_AHEAD_S = 900  # OURS: how far a URL's date may lie in the future; the same as for dates in headers
_REQUIRED = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires")
_number = re.compile(r"-?[0-9]{1,15}").fullmatch


async def verify_presigned(case: Case) -> Verified:
    """Verify the X-Amz-* parameters of a presigned URL, of S3 or another service. Raises AwsError."""
    query = decoded_query(case.pairs)
    lacks = [name for name in _REQUIRED if not query.get(name)]
    if lacks:
        shown = "".join(f"AWS query-string parameters must include '{name}'. " for name in lacks)
        raise case.refusal(Problem.QUERY_COMPONENTS, lacks=shown)
    if query["X-Amz-Algorithm"] != ALGORITHM:
        problem = Problem.QUERY_ALGORITHM if case.s3 else Problem.ALGORITHM
        raise case.refusal(problem, algorithm=echo(query["X-Amz-Algorithm"]))
    seconds = seconds_of(query["X-Amz-Date"])
    if seconds is None:
        raise case.refusal(Problem.QUERY_DATE if case.s3 else Problem.DATE_FORMAT, date=echo(query["X-Amz-Date"]))
    expires_s = _expires(case, query["X-Amz-Expires"])
    signed = read_signed_headers(case, query["X-Amz-SignedHeaders"])
    problem = Problem.QUERY_CREDENTIAL if case.s3 else Problem.CREDENTIAL
    claim = Claim(
        how=How.QUERY_V4,
        credential=read_credential(case, query["X-Amz-Credential"], problem),
        timestamp=query["X-Amz-Date"],
        signed_headers=signed,
        signature=query["X-Amz-Signature"],
    )
    _require_scope(case, claim)
    _require_alive(case, seconds, expires_s)
    key = await look_up(case, claim.credential.access_key_id)
    require_signed(case, signed)
    payload_hash = _payload(case, claim, query.get("X-Amz-Content-Sha256"))
    unsigned = replace(case, pairs=[pair for pair in case.pairs if pair[0] != b"X-Amz-Signature"])
    compare(unsigned, claim, key, payload_hash)
    refuse_token(case, query.get("X-Amz-Security-Token", case.header(b"x-amz-security-token")))
    return verified(case, claim, key, payload_hash, b"")


def _expires(case: Case, text: str) -> int:
    if not _number(text):
        raise case.refusal(Problem.EXPIRES_NUMBER)
    expires_s = int(text)
    if expires_s < 0:
        raise case.refusal(Problem.EXPIRES_NEGATIVE)
    if expires_s > EXPIRES_S_MAX:
        raise case.refusal(Problem.EXPIRES_TOO_LONG)
    return expires_s


def _require_scope(case: Case, claim: Claim) -> None:
    if not case.s3:
        require_scope(case, claim)
        return
    require_s3_scope(case, claim, (Problem.QUERY_REGION, Problem.QUERY_SERVICE, Problem.QUERY_TERMINATOR))
    if claim.credential.date != claim.timestamp[:8]:
        raise case.refusal(Problem.QUERY_SCOPE_DATE)


def _require_alive(case: Case, seconds: int, expires_s: int) -> None:
    end = seconds + expires_s
    date, now = basic_iso(seconds), basic_iso(case.now_s)
    if seconds > case.now_s + _AHEAD_S:
        limit = basic_iso(case.now_s + _AHEAD_S)
        problem = Problem.URL_NOT_YET if case.s3 else Problem.NOT_YET
        raise case.refusal(problem, date=date, now=now, limit=limit, minutes=_AHEAD_S / 60)
    if end < case.now_s:
        limit = basic_iso(case.now_s - expires_s)
        extras = {"X-Amz-Expires": str(expires_s), "Expires": extended_iso(end), "ServerTime": extended_iso(case.now_s)}
        problem = Problem.URL_EXPIRED if case.s3 else Problem.EXPIRED
        raise case.refusal(problem, date=date, now=now, extras=extras, limit=limit, minutes=expires_s / 60)


def _payload(case: Case, claim: Claim, in_query: str | None) -> str:
    """The payload line of the canonical request: unsigned, unless a parameter or a signed header declares it."""
    if not case.s3:
        return known_payload(case)
    in_header = case.header(b"x-amz-content-sha256") if b"x-amz-content-sha256" in claim.signed_headers else None
    declared = s3_payload(case, in_query or in_header or UNSIGNED_PAYLOAD)
    if declared in (STREAMING_SIGNED, STREAMING_SIGNED_TRAILER):
        # OURS: there is no seed signature in a header that the chunks could start from.
        extras = {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": declared}
        raise case.refusal(Problem.PAYLOAD_HASH, extras=extras)
    return declared
