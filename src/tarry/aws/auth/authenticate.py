"""The way in: find out how a request is signed, and have it verified.

Pure but for the key lookup: time and keys are given. Whatever bytes come, the answer is a Verified or an AwsError.
"""

from collections.abc import Set as AbstractSet
from urllib.parse import unquote

from tarry.aws.auth.canonical import canonical_headers, split_query
from tarry.aws.auth.case import ALGORITHM, Case, echo
from tarry.aws.auth.errors import Problem
from tarry.aws.auth.presigned import verify_presigned
from tarry.aws.auth.request import Family, KeyLookup, RawRequest, Verified
from tarry.aws.auth.sigv2 import verify_v2_header, verify_v2_query
from tarry.aws.auth.sigv4 import verify_header, verify_s3_header
from tarry.core.names import Scope

_V4_PARAMETERS = frozenset({b"X-Amz-Algorithm", b"X-Amz-Credential", b"X-Amz-Signature"})
_V2_PARAMETERS = frozenset({b"AWSAccessKeyId", b"Signature"})


async def authenticate(  # one value each for what came, who may sign, where and when this is, and which service was meant
    request: RawRequest, *, keyring: KeyLookup, scope: Scope, now_us: int, protocol: Family, service: str
) -> Verified:
    """Verify who signed the request for ``service`` (its signing name: ``s3``, ``sagemaker``, ``monitoring`` …) in this region.

    For every service but S3 ``request.payload_sha256`` has to be filled in. For S3 the body is verified while it streams,
    by ``open_body``.

    Raises:
        AwsError: the request is not signed as it should be; code, status and text are those of ``protocol``.
        Bug: the digest of the body is missing.
    """
    case = Case(
        request=request,
        protocol=protocol,
        service=service,
        region=scope.region,
        now_s=now_us // 1_000_000,
        keyring=keyring,
        pairs=split_query(request.raw_query),
        headers=canonical_headers(request.headers, request.host),
    )
    names = {name for name, _ in case.pairs}
    v4_query = not _V4_PARAMETERS.isdisjoint(names)
    v2_query = case.s3 and _is_v2(names)
    authorization = case.header(b"authorization")
    if authorization:
        if v4_query or v2_query:
            extras = {"ArgumentName": "Authorization", "ArgumentValue": echo(authorization)}
            raise case.refusal(Problem.TWO_WAYS, extras=extras)
        return await (_s3_header(case, authorization) if case.s3 else _header(case, authorization))
    if v4_query:
        return await verify_presigned(case)
    if v2_query:
        return await verify_v2_query(case)
    raise case.refusal(Problem.MISSING)


async def _header(case: Case, authorization: str) -> Verified:
    if not authorization.startswith("AWS4-"):
        raise case.refusal(Problem.SCHEME)
    return await verify_header(case, authorization)


async def _s3_header(case: Case, authorization: str) -> Verified:
    scheme, space, _ = authorization.partition(" ")
    extras = {"ArgumentName": "Authorization", "ArgumentValue": echo(authorization)}
    if not space:
        raise case.refusal(Problem.NO_SPACE, extras=extras)
    if scheme == ALGORITHM:
        return await verify_s3_header(case, authorization)
    if scheme == "AWS":
        return await verify_v2_header(case, authorization)
    raise case.refusal(Problem.SCHEME, extras=extras)


def claimed_service(authorization: str, raw_query: bytes) -> str | None:
    """The service that the request says it is signed for, unverified: the router picks by it whose rules verify the request.

    ``authorization`` is the header's value: several are joined by a comma, and where there is none it is empty.

    The service of the credential scope; ``s3`` for the forms of V2 signatures; None where there is no such claim (unsigned,
    or too malformed to read). Never raises.
    """
    if authorization := authorization.replace("\t", " ").strip():
        return _service_of_header(authorization)
    parameters: dict[bytes, bytes] = {}
    for name, value in split_query(raw_query):
        parameters.setdefault(name, value)
    if b"X-Amz-Credential" in parameters:
        return _service_of_credential(unquote(parameters[b"X-Amz-Credential"].decode("utf-8", "replace")))
    return "s3" if _is_v2(parameters.keys()) else None


def _is_v2(names: AbstractSet[bytes]) -> bool:
    """Whether a query is signed with S3's V2; the V2 of Query services has a SignatureVersion, and is not served."""
    return not _V2_PARAMETERS.isdisjoint(names) and b"SignatureVersion" not in names


def _service_of_header(authorization: str) -> str | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme == "AWS":
        return "s3"
    if not scheme.startswith("AWS4-"):
        return None
    for piece in rest.split(","):
        name, _, value = piece.strip().partition("=")
        if name == "Credential":
            return _service_of_credential(value)
    return None


def _service_of_credential(credential: str) -> str | None:
    elements = credential.split("/")
    return elements[-2] or None if len(elements) >= 4 else None
