"""Every row of AWS's answers to a request that is not signed as it should be, in the words of each kind of service."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from tests.support.signing import KEY, NOW, Sent, header_of, sign, verify, with_authorization, with_header

from tarry.aws.auth import Family, RawRequest
from tarry.aws.auth.errors import _PLAIN, _S3, Problem
from tarry.aws.errors import AwsError

PLAIN: list[Family] = ["json", "rest-json", "query"]
ALL: list[Family] = [*PLAIN, "rest-xml"]
STAMP = "20261015T120000Z"
UNKNOWN = "The security token included in the request is invalid."


@dataclass(frozen=True)
class Row:
    """What the plain protocols answer: codes for JSON and REST-JSON, and for Query; the status of Query."""

    json: str
    query: str
    query_status: int = 403


MISSING = Row("MissingAuthenticationTokenException", "MissingAuthenticationToken")
INCOMPLETE = Row("IncompleteSignatureException", "IncompleteSignature", 400)
SIGNATURE = Row("InvalidSignatureException", "SignatureDoesNotMatch")
CLIENT = Row("UnrecognizedClientException", "InvalidClientTokenId")


def signed(protocol: Family, sent: Sent | None = None) -> RawRequest:
    sent = sent or Sent()
    if protocol == "rest-xml":
        return sign(sent)
    service = "sagemaker" if sent.service == "s3" else sent.service
    return sign(replace(sent, signer=sent.signer.removeprefix("s3-"), service=service))


async def refused(request: RawRequest, protocol: Family, *, now_s: int = NOW) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await verify(request, protocol=protocol, service="s3" if protocol == "rest-xml" else "sagemaker", now_s=now_s)
    return caught.value


def assert_plain(error: AwsError, protocol: Family, row: Row) -> None:
    expected = {"json": (row.json, 400), "rest-json": (row.json, 403), "query": (row.query, row.query_status)}
    assert (error.code, error.status) == expected[protocol]
    assert error.fault == "Sender"


def assert_s3(error: AwsError, code: str, status: int, **extras: str) -> None:
    assert (error.code, error.status) == (code, status)
    assert {name.replace("_", "-"): value for name, value in extras.items()}.items() <= dict(error.extras).items()


def unsigned() -> RawRequest:
    return RawRequest(method="GET", raw_path=b"/b/k", raw_query=b"", headers=[(b"host", b"h")], host="h", payload_sha256="0" * 64)


@pytest.mark.parametrize("protocol", PLAIN)
@pytest.mark.parametrize("authorization", [None, b"", b"Bearer abc", b"AWS AKID:sig", b"Basic"])
async def test_no_authorization(protocol: Family, authorization: bytes | None) -> None:
    error = await refused(with_header(unsigned(), b"authorization", authorization), protocol)
    assert_plain(error, protocol, MISSING)
    short = "Missing Authentication Token"
    assert error.message == (short if protocol == "rest-json" else "Request is missing Authentication Token")


async def test_no_authorization_on_s3_is_an_anonymous_request() -> None:
    error = await refused(unsigned(), "rest-xml")
    assert_s3(error, "AccessDenied", 403)
    assert error.message == "Access Denied"


@pytest.mark.parametrize("protocol", PLAIN)
async def test_a_component_without_equal_sign(protocol: Family) -> None:
    error = await refused(with_authorization(signed(protocol), "Signature=", "Signature"), protocol)
    assert_plain(error, protocol, INCOMPLETE)
    assert "not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 Cred" in error.message


async def test_a_component_without_equal_sign_on_s3() -> None:
    error = await refused(with_authorization(sign(Sent()), "SignedHeaders=", "SignedHeaders"), "rest-xml")
    assert_s3(error, "AuthorizationHeaderMalformed", 400)


@pytest.mark.parametrize("protocol", PLAIN)
async def test_all_missing_components_are_told_in_one_message(protocol: Family) -> None:
    request = with_header(unsigned(), b"authorization", b"AWS4-HMAC-SHA256 Foo=1")
    error = await refused(request, protocol)
    assert_plain(error, protocol, INCOMPLETE)
    assert error.message == (
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a "
        "'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256 Foo=1"
    )


@pytest.mark.parametrize("piece", [", Signature=", "SignedHeaders=", "Credential="])
async def test_missing_components_on_s3(piece: str) -> None:
    error = await refused(with_authorization(sign(Sent()), piece, ", Other="), "rest-xml")
    assert_s3(error, "AuthorizationHeaderMalformed", 400)
    assert "requires three components: Credential, SignedHeaders, and Signature." in error.message or "malformed" in error.message


@pytest.mark.parametrize("protocol", ALL)
async def test_two_credentials_are_none_even_if_they_are_alike(protocol: Family) -> None:
    request = signed(protocol)
    credential = header_of(request, b"authorization").decode().partition(" ")[2].partition(",")[0]
    error = await refused(with_authorization(request, "SignedHeaders=", f"{credential}, SignedHeaders="), protocol)
    assert error.code in {"IncompleteSignatureException", "IncompleteSignature", "AuthorizationHeaderMalformed"}


async def test_a_fourth_component_on_s3() -> None:
    error = await refused(with_authorization(sign(Sent()), "SignedHeaders=", "Other=1, SignedHeaders="), "rest-xml")
    assert_s3(error, "AuthorizationHeaderMalformed", 400)


@pytest.mark.parametrize("protocol", PLAIN)
async def test_unknown_key(protocol: Family) -> None:
    error = await refused(signed(protocol, Sent(key_id="AKIANOBODY")), protocol)
    assert_plain(error, protocol, CLIENT)
    assert error.message == UNKNOWN


@pytest.mark.parametrize("signer", ["s3-header", "s3-query", "v2-header", "v2-query"])
async def test_unknown_key_on_s3(signer: str) -> None:
    error = await refused(sign(Sent(signer=signer, key_id="AKIANOBODY")), "rest-xml")
    assert_s3(error, "InvalidAccessKeyId", 403, AWSAccessKeyId="AKIANOBODY")
    assert error.message == "The AWS Access Key Id you provided does not exist in our records."


@pytest.mark.parametrize("protocol", PLAIN)
async def test_wrong_signature_shows_what_should_have_been_signed(protocol: Family) -> None:
    error = await refused(replace(signed(protocol), raw_path=b"/other//x"), protocol)
    assert_plain(error, protocol, SIGNATURE)
    assert error.message.startswith(
        "The request signature we calculated does not match the signature you provided. Check your AWS"
    )
    assert "\n\nThe Canonical String for this request should have been\n'GET\n/other/x\n\nhost:" in error.message
    assert f"\n\nThe String-to-Sign should have been\n'AWS4-HMAC-SHA256\n{STAMP}\n20261015/us-east-1/sagemaker/" in error.message


async def test_wrong_signature_on_s3_tells_texts_and_bytes() -> None:
    request = replace(sign(Sent()), raw_path=b"/other//x")
    error = await refused(request, "rest-xml")
    signature = header_of(request, b"authorization").decode().rpartition("=")[2]
    assert_s3(error, "SignatureDoesNotMatch", 403, AWSAccessKeyId=KEY.id, SignatureProvided=signature)
    assert error.extras["CanonicalRequest"].startswith("GET\n/other//x\n\nhost:127.0.0.1:8780\n")
    assert error.extras["CanonicalRequestBytes"].startswith("47 45 54 0a 2f")
    assert error.extras["StringToSign"].startswith(f"AWS4-HMAC-SHA256\n{STAMP}\n20261015/us-east-1/s3/aws4_request\n")
    assert error.extras["StringToSignBytes"].startswith("41 57 53 34")


@pytest.mark.parametrize(("protocol", "back_s", "ahead_s"), [("json", 300, 300), ("rest-json", 300, 300), ("query", 900, 300)])
async def test_skew(protocol: Family, back_s: int, ahead_s: int) -> None:
    service = "sagemaker"
    request = signed(protocol)
    for now_s in (NOW + back_s, NOW - ahead_s):
        await verify(request, protocol=protocol, service=service, now_s=now_s)
    old = await refused(request, protocol, now_s=NOW + back_s + 1)
    assert_plain(old, protocol, SIGNATURE)
    minutes = back_s // 60
    then = datetime.fromtimestamp(NOW + back_s + 1, UTC).strftime("%Y%m%dT%H%M%SZ")
    assert old.message == f"Signature expired: {STAMP} is now earlier than 20261015T120001Z ({then} - {minutes} min.)"
    ahead = await refused(request, protocol, now_s=NOW - ahead_s - 1)
    assert_plain(ahead, protocol, SIGNATURE)
    assert ahead.message == (
        f"Signature not yet current: {STAMP} is still later than 20261015T115959Z (20261015T115459Z + 5 min.)"
    )


@pytest.mark.parametrize("signer", ["s3-header", "v2-header"])
async def test_skew_on_s3(signer: str) -> None:
    request = sign(Sent(signer=signer))
    for now_s in (NOW - 900, NOW + 900):
        await verify(request, now_s=now_s)
    for now_s in (NOW - 901, NOW + 901):
        error = await refused(request, "rest-xml", now_s=now_s)
        shown = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        assert_s3(error, "RequestTimeTooSkewed", 403, ServerTime=shown, MaxAllowedSkewMilliseconds="900000")
        assert error.extras["RequestTime"] in {STAMP, "Thu, 15 Oct 2026 12:00:00 GMT"}


@pytest.mark.parametrize("protocol", PLAIN)
async def test_date_format(protocol: Family) -> None:
    for date in ("201", "20261315T120000Z", "2026-10-15T12:00:00Z", "00000101T000000Z"):
        error = await refused(with_header(signed(protocol), b"x-amz-date", date.encode()), protocol)
        assert_plain(error, protocol, INCOMPLETE)
        assert error.message.startswith(f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http")


@pytest.mark.parametrize("date", [None, b"junk", b"Thu, 32 Oct 2026 12:00:00 GMT"])
async def test_date_on_s3(date: bytes | None) -> None:
    error = await refused(with_header(sign(Sent()), b"x-amz-date", date), "rest-xml")
    assert_s3(error, "AccessDenied", 403)
    assert error.message == "AWS authentication requires a valid Date or x-amz-date header."


@pytest.mark.parametrize("signer", ["header", "query"])
@pytest.mark.parametrize("protocol", PLAIN)
async def test_scope_tells_all_that_is_wrong_at_once(protocol: Family, signer: str) -> None:
    error = await refused(signed(protocol, Sent(signer=signer, region="eu-west-1", service="ec2")), protocol)
    assert_plain(error, protocol, SIGNATURE)
    assert error.message == (
        "Credential should be scoped to a valid region, not 'eu-west-1'. "
        "Credential should be scoped to correct service: 'sagemaker'. "
    )


@pytest.mark.parametrize("protocol", PLAIN)
async def test_terminator_and_scope_date(protocol: Family) -> None:
    request = with_authorization(signed(protocol), "/aws4_request", "/aws5")
    error = await refused(with_authorization(request, "/20261015/", "/20261014/"), protocol)
    assert_plain(error, protocol, SIGNATURE)
    assert error.message == (
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'. "
        "Date in Credential scope does not match "
        f"YYYYMMDD from ISO-8601 version of date from HTTP: '20261014' != '20261015', from '{STAMP}'."
    )


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("/us-east-1/", "/eu-west-1/", "the region 'eu-west-1' is wrong; expecting 'us-east-1'"),
        ("/s3/", "/ec2/", 'incorrect service "ec2". This endpoint belongs to "s3".'),
        ("/aws4_request", "/x", 'incorrect terminal "x". This endpoint uses "aws4_request".'),
        ("/20261015/", "/20261014/", "Invalid credential date. Date is not the same as X-Amz-Date."),
        ("/us-east-1/", "/", "the Credential is mal-formed; expecting"),
    ],
)
async def test_scope_on_s3(old: str, new: str, text: str) -> None:
    error = await refused(with_authorization(sign(Sent()), old, new), "rest-xml")
    assert_s3(error, "AuthorizationHeaderMalformed", 400)
    assert error.message.startswith(f"The authorization header is malformed; {text}")
    assert error.extras.get("Region") == ("us-east-1" if "region" in text else None)


@pytest.mark.parametrize("protocol", PLAIN)
async def test_credential_elements(protocol: Family) -> None:
    error = await refused(with_authorization(signed(protocol), "/20261015/us-east-1/sagemaker/aws4_request", "/x"), protocol)
    assert_plain(error, protocol, INCOMPLETE)
    assert error.message == (
        f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{KEY.id}/x'"
    )


@pytest.mark.parametrize("protocol", ALL)
@pytest.mark.parametrize("algorithm", ["AWS4-ECDSA-P256-SHA256", "AWS4-HMAC-SHA512"])
async def test_other_algorithms_and_sigv4a(protocol: Family, algorithm: str) -> None:
    error = await refused(with_authorization(signed(protocol), "AWS4-HMAC-SHA256", algorithm), protocol)
    if protocol == "rest-xml":
        assert_s3(error, "InvalidArgument", 400, ArgumentName="Authorization")
        assert error.message == "Unsupported Authorization Type"
    else:
        assert_plain(error, protocol, INCOMPLETE)
        assert error.message == f"Unsupported AWS 'algorithm': '{algorithm}' (only AWS4-HMAC-SHA256 for now). "


async def test_spaces_in_the_header_on_s3() -> None:
    error = await refused(with_header(sign(Sent()), b"authorization", b"AWS4-HMAC-SHA256"), "rest-xml")
    assert_s3(error, "InvalidArgument", 400, ArgumentName="Authorization", ArgumentValue="AWS4-HMAC-SHA256")
    assert error.message == "Authorization header is invalid -- one and only one ' ' (space) required."


@pytest.mark.parametrize("protocol", PLAIN)
async def test_unsigned_headers(protocol: Family) -> None:
    without_host = with_authorization(signed(protocol), "SignedHeaders=host;", "SignedHeaders=")
    error = await refused(without_host, protocol)
    assert_plain(error, protocol, SIGNATURE)
    assert error.message == "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
    error = await refused(with_header(signed(protocol), b"X-Amz-Target", b"SageMaker.DeleteModel"), protocol)
    assert_plain(error, protocol, SIGNATURE)
    assert error.message == "'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization."
    error = await refused(with_header(signed(protocol), b"X-Tarry-Priority", b"9"), protocol)
    assert error.message == "'X-Tarry-Priority' must be a 'SignedHeader' in the AWS Authorization."


@pytest.mark.parametrize("signer", ["s3-header", "s3-query"])
async def test_unsigned_headers_on_s3(signer: str) -> None:
    request = with_header(with_header(sign(Sent(signer=signer)), b"x-amz-acl", b"private"), b"X-AMZ-meta-a", b"1")
    error = await refused(request, "rest-xml")
    assert_s3(error, "AccessDenied", 403, HeadersNotSigned="x-amz-acl, x-amz-meta-a")
    assert error.message == "There were headers present in the request which were not signed"


@pytest.mark.parametrize("names", ["", ";", "host;;x-amz-date", "host x", "host;x:y", "хост"])
@pytest.mark.parametrize("protocol", ALL)
async def test_signed_headers_that_are_no_names(protocol: Family, names: str) -> None:
    request = signed(protocol)
    old = header_of(request, b"authorization").decode().partition("SignedHeaders=")[2].partition(",")[0]
    error = await refused(with_authorization(request, f"SignedHeaders={old}", f"SignedHeaders={names}"), protocol)
    assert error.code in {"IncompleteSignatureException", "IncompleteSignature", "AuthorizationHeaderMalformed"}


async def test_a_signed_header_left_out_is_a_wrong_signature() -> None:
    request = with_header(sign(Sent(headers={"x-amz-acl": "private"})), b"x-amz-acl", None)
    assert_s3(await refused(request, "rest-xml"), "SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("protocol", PLAIN)
@pytest.mark.parametrize("signer", ["header", "query"])
async def test_session_tokens_are_none_of_ours(protocol: Family, signer: str) -> None:
    error = await refused(signed(protocol, Sent(signer=signer, token="IQoJb3JpZ2lu")), protocol)
    assert_plain(error, protocol, CLIENT)
    assert error.message == UNKNOWN


@pytest.mark.parametrize("signer", ["s3-header", "s3-query", "v2-header", "v2-query"])
async def test_session_tokens_on_s3(signer: str) -> None:
    error = await refused(sign(Sent(signer=signer, token="IQoJb3JpZ2lu")), "rest-xml")
    assert_s3(error, "InvalidToken", 400, Token_0="IQoJb3JpZ2lu")
    assert error.message == "The provided token is malformed or otherwise invalid."


async def test_payload_hash_on_s3() -> None:
    error = await refused(with_header(sign(Sent()), b"x-amz-content-sha256", None), "rest-xml")
    assert_s3(error, "InvalidRequest", 400)
    assert error.message == "Missing required header for this request: x-amz-content-sha256"
    for junk in (b"junk", b"0" * 63, b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
        error = await refused(with_header(sign(Sent()), b"x-amz-content-sha256", junk), "rest-xml")
        assert_s3(error, "InvalidArgument", 400, ArgumentName="x-amz-content-sha256", ArgumentValue=junk.decode())


@pytest.mark.parametrize("protocol", ALL)
async def test_signed_in_two_ways(protocol: Family) -> None:
    request = signed(protocol)
    error = await refused(replace(request, raw_query=b"X-Amz-Algorithm=AWS4-HMAC-SHA256"), protocol)
    if protocol == "rest-xml":
        assert_s3(error, "InvalidArgument", 400, ArgumentName="Authorization")
    else:
        assert_plain(error, protocol, SIGNATURE)


@pytest.mark.parametrize("protocol", PLAIN)
async def test_the_order_of_checks(protocol: Family) -> None:
    """Form, date, headers, algorithm, scope, key, signature, token: each error hides those behind it."""
    worst = signed(protocol, Sent(key_id="AKIANOBODY", region="eu-west-1", token="t", now_s=NOW - 7200))
    worst = with_header(with_authorization(worst, "AWS4-HMAC-SHA256", "AWS4-X"), b"x-amz-target", b"T")
    messages = []
    steps = [
        ("Signature=", "Sig="),
        ("Sig=", "Signature="),
        ("x-amz-date", "x-amz-date;x-amz-target"),
        ("AWS4-X", "AWS4-HMAC-SHA256"),
    ]
    for index, (old, new) in enumerate(steps):
        worst = with_authorization(worst, old, new)
        messages.append((await refused(worst, protocol, now_s=NOW if index < 2 else NOW - 7200)).message)
        if index == 1:
            messages.append((await refused(worst, protocol, now_s=NOW - 7200)).message)
    worst = with_authorization(worst, "eu-west-1", "us-east-1")
    messages.append((await refused(worst, protocol, now_s=NOW - 7200)).message)
    worst = with_authorization(worst, "AKIANOBODY", KEY.id)
    messages.append((await refused(worst, protocol, now_s=NOW - 7200)).message)
    found = [message.partition(" ")[0] + message[-40:-20] for message in messages]
    assert len(set(found)) == len(found)
    starts = [
        "Authorization header",
        "Signature expired",
        "'X-Amz-Target'",
        "Unsupported AWS",
        "Credential should",
        UNKNOWN,
        "The request sig",
    ]
    assert all(message.startswith(start) for message, start in zip(messages, starts, strict=True)), messages


def test_every_problem_has_words() -> None:
    assert set(Problem) == set(_S3) | set(_PLAIN)
