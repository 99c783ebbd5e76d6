"""S3's old signature, Version 2: what boto3 still presigns with in us-east-1 and seven other regions.

Rules: "Signing and authenticating REST requests (AWS signature version 2)" in the S3 user guide. HMAC-SHA1 over the method,
three headers, the x-amz headers, and the resource with those sub-resources that change what a request means.
"""

import base64
import hmac
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from tarry.aws.auth.canonical import decoded_query
from tarry.aws.auth.case import (
    STREAMING_UNSIGNED_TRAILER,
    UNSIGNED_PAYLOAD,
    Case,
    date_of,
    echo,
    look_up,
    mismatch,
    refuse_token,
    require_fresh,
    s3_payload,
)
from tarry.aws.auth.errors import Problem, basic_iso, extended_iso
from tarry.aws.auth.request import How, Verified
from tarry.core.keys import AccessKey

_SUBRESOURCES = frozenset(
    b"accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging metrics notification "
    b"object-lock partNumber policy replication requestPayment response-cache-control response-content-disposition "
    b"response-content-encoding response-content-language response-content-type response-expires restore select "
    b"select-type storageClass tagging torrent uploadId uploads versionId versioning versions website".split()
)
"""AWS: the parameters that the user guide's page names, and those that botocore signs besides."""
_REQUIRED = ("Signature", "Expires", "AWSAccessKeyId")
_number = re.compile(r"[0-9]{1,11}").fullmatch


async def verify_v2_header(case: Case, authorization: str) -> Verified:
    """Verify ``Authorization: AWS <key id>:<signature>``. Raises AwsError."""
    access_key_id, colon, signature = authorization.partition(" ")[2].rpartition(":")
    if not colon or not access_key_id or not signature:
        extras = {"ArgumentName": "Authorization", "ArgumentValue": echo(authorization)}
        raise case.refusal(Problem.SCHEME, extras=extras)
    date = date_of(case)
    if date is None or date[1] is None:
        raise case.refusal(Problem.NO_DATE)
    require_fresh(case, date[0], date[1])
    key = await look_up(case, access_key_id)
    payload_hash = _payload(case)
    dated = "" if b"x-amz-date" in case.headers else date[0]
    _compare(case, key, signature, _string_to_sign(case, dated, _amz_lines(case, ())))
    refuse_token(case, case.header(b"x-amz-security-token"))
    return _verified(case, key, How.HEADER_V2, basic_iso(date[1])[:8], payload_hash)


async def verify_v2_query(case: Case) -> Verified:
    """Verify the parameters AWSAccessKeyId, Signature and Expires of a presigned URL. Raises AwsError."""
    query = decoded_query(case.pairs)
    if not all(query.get(name) for name in _REQUIRED):
        raise case.refusal(Problem.QUERY_COMPONENTS_V2)
    expires = query["Expires"]
    if not _number(expires):
        raise case.refusal(Problem.EXPIRES_V2, got=echo(expires))
    if int(expires) < case.now_s:
        extras = {"Expires": extended_iso(int(expires)), "ServerTime": extended_iso(case.now_s)}
        raise case.refusal(Problem.URL_EXPIRED, extras=extras)
    key = await look_up(case, query["AWSAccessKeyId"])
    payload_hash = _payload(case)
    in_query = [(name, value) for name, value in query.items() if name.startswith("x-amz-")]
    _compare(case, key, query["Signature"], _string_to_sign(case, expires, _amz_lines(case, in_query)))
    refuse_token(case, query.get("x-amz-security-token", case.header(b"x-amz-security-token")))
    return _verified(case, key, How.QUERY_V2, basic_iso(case.now_s)[:8], payload_hash)


def _payload(case: Case) -> str:
    declared = s3_payload(case, case.header(b"x-amz-content-sha256") or UNSIGNED_PAYLOAD)
    if declared.startswith("STREAMING-") and declared != STREAMING_UNSIGNED_TRAILER:
        # OURS: a V2 signature cannot start the V4 signatures of chunks.
        extras = {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": declared}
        raise case.refusal(Problem.PAYLOAD_HASH, extras=extras)
    return declared


def _amz_lines(case: Case, in_query: Iterable[tuple[str, str]]) -> bytes:
    """The x-amz headers, sorted, one a line; values trimmed at the ends alone, repeated ones joined by a comma.

    Parameters of that name in a presigned URL stand in for headers; a header that is sent besides has to have the same value.
    """
    found: dict[bytes, bytes] = {}
    for raw_name, raw_value in case.request.headers:
        name, value = raw_name.lower(), raw_value.strip()
        if name.startswith(b"x-amz-"):
            found[name] = found[name] + b"," + value if name in found else value
    for parameter, text in in_query:
        found.setdefault(parameter.encode(), text.encode())
    return b"".join(name + b":" + found[name] + b"\n" for name in sorted(found))


def _string_to_sign(case: Case, date: str, amz_lines: bytes) -> bytes:
    standard: dict[bytes, bytes] = {}
    for name, value in case.request.headers:
        standard.setdefault(name.lower(), value.strip())
    lines = [
        case.request.method.encode(),
        standard.get(b"content-md5", b""),
        standard.get(b"content-type", b""),
        date.encode(),
    ]
    return b"\n".join(lines) + b"\n" + amz_lines + _resource(case)


def _resource(case: Case) -> bytes:
    """The path as sent, below its bucket, and the sub-resources sorted by name; values decoded."""
    bucket = case.request.virtual_bucket
    path = (b"/" + bucket.encode() if bucket else b"") + (case.request.raw_path or b"/")
    named: list[tuple[bytes, bytes]] = []
    for piece in case.request.raw_query.split(b"&"):
        name, equals, value = piece.partition(b"=")
        if name in _SUBRESOURCES:  # ``uploads`` and ``uploads=`` are two texts: as sent
            named.append((name, equals + unquote_to_bytes(value)))
    shown = [name + value for name, value in sorted(named)]
    return path + b"?" + b"&".join(shown) if shown else path


def _compare(case: Case, key: AccessKey, signature: str, string_to_sign: bytes) -> None:
    expected = base64.b64encode(hmac.digest(key.secret.encode(), string_to_sign, "sha1"))
    if not hmac.compare_digest(expected, signature.encode("utf-8", "replace")):
        raise mismatch(case, key.id, signature, string_to_sign.decode("utf-8", "replace"), None)


def _verified(case: Case, key: AccessKey, how: How, date: str, payload_hash: str) -> Verified:
    return Verified(
        access_key_id=key.id,
        principal_arn=key.principal_arn,
        service=case.service,
        region=case.region,
        date=date,
        how=how,
        payload_hash=payload_hash,
    )
