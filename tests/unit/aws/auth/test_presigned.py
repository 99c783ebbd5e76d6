"""Presigned URLs, of both versions: how long they live, and what is missing or wrong in them."""

from dataclasses import replace

import pytest
from tests.support.signing import KEY, NOW, Sent, sign, verify, with_header, with_query

from tarry.aws.auth import Family, RawRequest
from tarry.aws.errors import AwsError

V4 = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"]


async def refused(request: RawRequest, *, now_s: int = NOW, protocol: Family = "rest-xml", service: str = "s3") -> AwsError:
    with pytest.raises(AwsError) as caught:
        await verify(request, now_s=now_s, protocol=protocol, service=service)
    return caught.value


async def test_v4_lives_as_long_as_it_says() -> None:
    request = sign(Sent(signer="s3-query", expires_s=604_800))
    for now_s in (NOW - 900, NOW, NOW + 604_800):
        assert (await verify(request, now_s=now_s)).payload_hash == "UNSIGNED-PAYLOAD"
    error = await refused(request, now_s=NOW + 604_801)
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, "Request has expired")
    assert error.extras == {"X-Amz-Expires": "604800", "Expires": "2026-10-22T12:00:00Z", "ServerTime": "2026-10-22T12:00:01Z"}
    error = await refused(request, now_s=NOW - 901)
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, "Request is not valid yet.")


async def test_v2_lives_as_long_as_it_says() -> None:
    request = sign(Sent(signer="v2-query", expires_s=60))
    assert (await verify(request, now_s=NOW + 60)).payload_hash == "UNSIGNED-PAYLOAD"
    error = await refused(request, now_s=NOW + 61)
    assert (error.code, error.status, error.message) == ("AccessDenied", 403, "Request has expired")
    assert error.extras == {"Expires": "2026-10-15T12:01:00Z", "ServerTime": "2026-10-15T12:01:01Z"}


@pytest.mark.parametrize("name", V4)
async def test_v4_lacks_a_parameter(name: str) -> None:
    error = await refused(with_query(sign(Sent(signer="s3-query")), f"{name}=", f"Not-{name}="))
    assert (error.code, error.status) == ("AuthorizationQueryParametersError", 400)
    assert error.message.startswith("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential,")


@pytest.mark.parametrize("name", V4)
async def test_v4_lacks_a_parameter_elsewhere(name: str) -> None:
    request = with_query(sign(Sent(signer="query", service="sts")), f"{name}=", f"Not-{name}=")
    error = await refused(request, protocol="query", service="sts")
    assert (error.code, error.status) == ("IncompleteSignature", 400)
    assert error.message == f"AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Signature", "Expires"])
async def test_v2_lacks_a_parameter(name: str) -> None:
    error = await refused(with_query(sign(Sent(signer="v2-query")), f"{name}=", f"Not{name}="))
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message == "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"


@pytest.mark.parametrize("expires", ["soon", "-5", "9" * 5000, "1.5", "%D9%A3"])
async def test_v2_expires_is_a_time(expires: str) -> None:
    request = sign(Sent(signer="v2-query"))
    error = await refused(with_query(request, f"Expires={NOW + 3600}", f"Expires={expires}"))
    assert (error.code, error.status) == ("AccessDenied", 403)
    assert error.message.startswith("Invalid date (should be seconds since epoch): ")
    assert len(error.message) < 2000


@pytest.mark.parametrize(
    ("expires", "text"),
    [
        ("604801", "X-Amz-Expires must be less than a week (in seconds)"),
        ("-1", "X-Amz-Expires must be non-negative"),
        ("soon", "X-Amz-Expires should be a number"),
        ("9" * 5000, "X-Amz-Expires should be a number"),
        ("%D9%A3", "X-Amz-Expires should be a number"),
    ],
)
async def test_v4_expires_has_bounds_that_botocore_does_not_check(expires: str, text: str) -> None:
    error = await refused(with_query(sign(Sent(signer="s3-query")), "Expires=3600", f"Expires={expires}"))
    assert (error.code, error.status) == ("AuthorizationQueryParametersError", 400)
    assert error.message.startswith(text)
    request = with_query(sign(Sent(signer="query", service="sts")), "Expires=3600", f"Expires={expires}")
    assert (await refused(request, protocol="query", service="sts")).code == "IncompleteSignature"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("%2Fus-east-1%2F", "%2Feu-west-1%2F", "the region 'eu-west-1' is wrong; expecting 'us-east-1'"),
        ("%2Fs3%2F", "%2Fec2%2F", 'incorrect service "ec2". This endpoint belongs to "s3".'),
        ("%2Faws4_request", "%2Fx", 'incorrect terminal "x"'),
        ("%2F20261015%2F", "%2F20261014%2F", "Invalid credential date."),
        ("%2F", "%252F", 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'),
    ],
)
async def test_v4_scope(old: str, new: str, text: str) -> None:
    error = await refused(with_query(sign(Sent(signer="s3-query")), old, new))
    assert (error.code, error.status) == ("AuthorizationQueryParametersError", 400)
    assert error.message.startswith(f"Error parsing the X-Amz-Credential parameter; {text}")
    assert error.extras.get("Region") == ("us-east-1" if "region" in text else None)


async def test_v4_date_and_algorithm() -> None:
    error = await refused(with_query(sign(Sent(signer="s3-query")), "T120000Z", ""))
    assert error.message.startswith("X-Amz-Date must be in the ISO8601 Long Format")
    error = await refused(with_query(sign(Sent(signer="s3-query")), "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"))
    assert (error.code, error.status) == ("AuthorizationQueryParametersError", 400)


async def test_other_services_url_expires_with_their_words() -> None:
    request = sign(Sent(signer="query", service="sts", expires_s=60))
    await verify(request, protocol="query", service="sts", now_s=NOW + 60)
    error = await refused(request, protocol="query", service="sts", now_s=NOW + 61)
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert error.message == "Signature expired: 20261015T120000Z is now earlier than 20261015T120001Z (20261015T120101Z - 1 min.)"


async def test_a_signed_header_declares_the_payload() -> None:
    digest = "0" * 64
    request = sign(Sent(signer="s3-query", method="PUT", headers={"x-amz-meta-a": "1", "Content-Type": "text/csv"}))
    assert (await verify(request)).payload_hash == "UNSIGNED-PAYLOAD"
    assert (await refused(with_header(request, b"content-type", b"text/html"))).code == "SignatureDoesNotMatch"
    assert (await refused(with_header(request, b"x-amz-content-sha256", digest.encode()))).code == "AccessDenied"
    streaming = sign(Sent(signer="s3-query", query="X-Amz-Content-Sha256=STREAMING-AWS4-HMAC-SHA256-PAYLOAD"))
    assert (await refused(streaming)).code == "InvalidArgument"


@pytest.mark.parametrize("signer", ["v2-query", "v2-header"])
async def test_v2_covers_host_buckets_headers_and_subresources(signer: str) -> None:
    headers = {"Content-Type": "text/csv", "x-amz-acl": "private", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    sent = Sent(signer=signer, method="PUT", path="/key", query="uploads&x=1", headers=headers, virtual_bucket="bucket")
    request = sign(sent)
    verified = await verify(request)
    assert (verified.access_key_id, verified.service, verified.region) == (KEY.id, "s3", "us-east-1")
    for changed in (
        replace(request, virtual_bucket="other"),
        with_header(request, b"content-type", b"text/html"),
        with_header(request, b"x-amz-acl", b"public-read"),
        with_header(request, b"content-md5", None),
        replace(request, raw_query=request.raw_query.replace(b"uploads", b"tagging")),
        with_header(request, b"x-amz-meta-b", b"1"),
    ):
        assert (await refused(changed)).code == "SignatureDoesNotMatch"


async def test_v2_urls_carry_their_amz_headers_as_parameters() -> None:
    request = sign(Sent(signer="v2-query", headers={"x-amz-acl": "private"}))
    assert b"x-amz-acl=private" in request.raw_query
    await verify(with_header(request, b"x-amz-acl", None))


@pytest.mark.parametrize("value", [b"AWS ", b"AWS x", b"AWS :sig", b"AWS key:"])
async def test_v2_header_form(value: bytes) -> None:
    error = await refused(with_header(sign(Sent(signer="v2-header")), b"authorization", value))
    assert (error.code, error.status) == ("InvalidArgument", 400)


async def test_v2_cannot_start_signed_chunks() -> None:
    for form in ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"):
        assert (await refused(sign(Sent(signer="v2-header", headers={"x-amz-content-sha256": form})))).code == "InvalidArgument"
    form = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert (await verify(sign(Sent(signer="v2-header", headers={"x-amz-content-sha256": form})))).payload_hash == form
