"""Signature Version 4 in the Authorization header.

Two orders of checks, because AWS has two: S3's (date, form, region, key, scope date, payload, headers, signature) and that of
every other service (form, date, headers, algorithm, scope, key, signature). Clients read the first error, so order matters.
"""

from tarry.aws.auth.case import (
    ALGORITHM,
    TERMINATOR,
    Case,
    Claim,
    compare,
    date_of,
    echo,
    look_up,
    read_credential,
    read_signed_headers,
    refuse_token,
    require_fresh,
    require_signed,
    s3_payload,
)
from tarry.aws.auth.errors import Finding, Problem, auth_error, basic_iso
from tarry.aws.auth.request import ChunkSeed, How, Verified
from tarry.core.errors import Bug
from tarry.core.keys import AccessKey

_COMPONENTS = ("Credential", "Signature", "SignedHeaders")


async def verify_header(case: Case, authorization: str) -> Verified:
    """Verify a V4 Authorization header of a service other than S3. Raises AwsError."""
    algorithm, _, rest = authorization.partition(" ")
    parts = _components(case, authorization, rest)
    date = date_of(case)
    if date is None or not all(map(parts.get, _COMPONENTS)):
        lacks = [f"Authorization header requires '{name}' parameter. " for name in _COMPONENTS if not parts.get(name)]
        if date is None:
            lacks.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
        raise case.refusal(Problem.COMPONENTS, lacks="".join(lacks), header=echo(authorization))
    text, seconds = date
    if seconds is None:
        raise case.refusal(Problem.DATE_FORMAT, date=echo(text))
    require_fresh(case, text, seconds)
    signed = read_signed_headers(case, parts["SignedHeaders"])
    require_signed(case, signed)
    if algorithm != ALGORITHM:
        raise case.refusal(Problem.ALGORITHM, algorithm=echo(algorithm))
    claim = Claim(
        how=How.HEADER_V4,
        credential=read_credential(case, parts["Credential"], Problem.CREDENTIAL),
        timestamp=basic_iso(seconds),
        signed_headers=signed,
        signature=parts["Signature"],
    )
    require_scope(case, claim)
    key = await look_up(case, claim.credential.access_key_id)
    payload_hash = known_payload(case)
    signing_key = compare(case, claim, key, payload_hash)
    refuse_token(case, case.header(b"x-amz-security-token"))
    return verified(case, claim, key, payload_hash, signing_key)


async def verify_s3_header(case: Case, authorization: str) -> Verified:
    """Verify a V4 Authorization header of S3. Raises AwsError."""
    date = date_of(case)
    if date is None or date[1] is None:
        raise case.refusal(Problem.NO_DATE)
    text, seconds = date[0], date[1]
    require_fresh(case, text, seconds)
    parts = _components(case, authorization, authorization.partition(" ")[2])
    if len(parts) != 3 or not all(map(parts.get, _COMPONENTS)):
        raise case.refusal(Problem.COMPONENTS)
    signed = read_signed_headers(case, parts["SignedHeaders"])
    claim = Claim(
        how=How.HEADER_V4,
        credential=read_credential(case, parts["Credential"], Problem.CREDENTIAL),
        timestamp=basic_iso(seconds),
        signed_headers=signed,
        signature=parts["Signature"],
    )
    require_s3_scope(case, claim, (Problem.REGION, Problem.SERVICE, Problem.TERMINATOR))
    key = await look_up(case, claim.credential.access_key_id)
    if claim.credential.date != claim.timestamp[:8]:
        raise case.refusal(Problem.SCOPE_DATE)
    declared = case.header(b"x-amz-content-sha256")
    if declared is None:
        raise case.refusal(Problem.NO_PAYLOAD_HASH)
    payload_hash = s3_payload(case, declared)
    require_signed(case, signed)
    signing_key = compare(case, claim, key, payload_hash)
    refuse_token(case, case.header(b"x-amz-security-token"))
    return verified(case, claim, key, payload_hash, signing_key)


def _components(case: Case, authorization: str, rest: str) -> dict[str, str]:
    found: dict[str, str] = {}
    if not rest:
        return found
    for piece in rest.split(","):
        name, equals, value = piece.strip().partition("=")
        if not equals:
            raise case.refusal(Problem.NOT_A_PAIR, piece=echo(piece.strip()), header=echo(authorization))
        if name in found:  # OURS: of two Credentials none is believed
            raise case.refusal(Problem.COMPONENTS, lacks=f"Duplicate '{echo(name)}' parameter. ", header=echo(authorization))
        found[name] = value
    return found


def require_scope(case: Case, claim: Claim) -> None:
    """Refuse a credential scope that is not this server's; all that is wrong with it is told at once."""
    credential = claim.credential
    findings: list[Finding] = []
    if credential.region != case.region:
        findings.append(Finding(Problem.REGION, {"got": echo(credential.region)}))
    if credential.service != case.service:
        findings.append(Finding(Problem.SERVICE, {"expected": case.service}))
    if credential.terminator != TERMINATOR:
        findings.append(Finding(Problem.TERMINATOR, {"got": echo(credential.terminator)}))
    if credential.date != claim.timestamp[:8]:
        facts = {"got": echo(credential.date), "expected": claim.timestamp[:8], "date": claim.timestamp}
        findings.append(Finding(Problem.SCOPE_DATE, facts))
    if findings:
        raise auth_error(case.protocol, *findings)


def require_s3_scope(case: Case, claim: Claim, problems: tuple[Problem, Problem, Problem]) -> None:
    """Refuse a wrong region, service or terminator in S3's words; ``problems`` are the names of the three, in this order."""
    region, service, terminator = problems
    credential = claim.credential
    if credential.region != case.region:
        extras = {"Region": case.region}
        raise case.refusal(region, got=echo(credential.region), expected=case.region, extras=extras)
    if credential.service != case.service:
        raise case.refusal(service, got=echo(credential.service), expected=case.service)
    if credential.terminator != TERMINATOR:
        raise case.refusal(terminator, got=echo(credential.terminator))


def known_payload(case: Case) -> str:
    """The digest of the body that the gateway has read.

    OURS: a service other than S3 never takes UNSIGNED-PAYLOAD; no client sends it there, and the body would be anybody's.
    """
    if case.request.payload_sha256 is None:
        raise Bug(f"The body of a request to {case.service} was not hashed before its signature was verified.")
    return case.request.payload_sha256


def verified(case: Case, claim: Claim, key: AccessKey, payload_hash: str, signing_key: bytes) -> Verified:
    """The result for a V4 claim whose signature is right."""
    credential, seed = claim.credential, None
    if case.s3 and claim.how is How.HEADER_V4:
        seed = ChunkSeed(
            signing_key=signing_key, signature=claim.signature, timestamp=claim.timestamp, credential_scope=credential.scope
        )
    return Verified(
        access_key_id=key.id,
        principal_arn=key.principal_arn,
        service=credential.service,
        region=credential.region,
        date=credential.date,
        how=claim.how,
        payload_hash=payload_hash,
        seed=seed,
    )
