"""botocore is the oracle: what its signers sign is verified, and nothing that differs in one bit."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.signing import KEY, NOW, SCOPE, SIGNERS, Ring, Sent, header_of, sign, verify, with_header

from tarry.aws.auth import Family, How, RawRequest, authenticate, claimed_service
from tarry.aws.errors import AwsError
from tarry.aws.request import join_headers
from tarry.core.errors import Bug

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=20)
NAMES = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="&=#+%"), min_size=1, max_size=6)
HEADER_VALUES = st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=20)
HOW = {
    "header": How.HEADER_V4,
    "s3-header": How.HEADER_V4,
    "query": How.QUERY_V4,
    "s3-query": How.QUERY_V4,
    "v2-header": How.HEADER_V2,
    "v2-query": How.QUERY_V2,
}
S3 = ["s3-header", "s3-query", "v2-header", "v2-query"]


def quoted(text: str, safe: str = "") -> str:
    from urllib.parse import quote

    return quote(text, safe=safe)


def claimed(request: RawRequest) -> str | None:
    """As the router asks."""
    return claimed_service(join_headers(request.headers).get("authorization", ""), request.raw_query)


def service_of(signer: str) -> tuple[Family, str]:
    return ("rest-xml", "s3") if signer in S3 else ("json", "sagemaker")


@given(
    signer=st.sampled_from(sorted(SIGNERS)),
    key=KEYS,
    parameters=st.dictionaries(NAMES.filter(lambda name: not name.startswith("x-amz-")), KEYS, max_size=4),
    meta=HEADER_VALUES,
    body=st.binary(max_size=50),
)
@settings(max_examples=200, deadline=None)
async def test_whatever_botocore_signs_is_verified(
    signer: str, key: str, parameters: dict[str, str], meta: str, body: bytes
) -> None:
    protocol, service = service_of(signer)
    in_query = "query" in signer
    query = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in parameters.items())
    sent = Sent(
        signer=signer,
        method="GET" if in_query else "PUT",
        path="/bucket/" + quoted(key, "/~"),
        query=query,
        headers={} if in_query else {"x-amz-meta-note": meta, "Content-Type": "text/csv"},
        body=b"" if in_query else body,
        service=service,
    )
    request = sign(sent)
    assert claimed(request) == service
    verified = await verify(request, protocol=protocol, service=service)
    assert verified.access_key_id == KEY.id
    assert verified.principal_arn == KEY.principal_arn
    assert (verified.service, verified.region) == (service, "us-east-1")
    assert verified.date == "20261015"
    assert verified.how == HOW[signer]


@pytest.mark.parametrize(
    "path", ["/a//b/../c%20d", "/bucket/./x", "/bucket/a%2Fb", "//", "/", "/b/%E1%88%B4", "/b/a+b%2Bc", "/b/..", "/b//"]
)
@pytest.mark.parametrize("signer", ["s3-header", "header", "s3-query", "query", "v2-query"])
async def test_awkward_paths_are_verified_from_their_raw_bytes(signer: str, path: str) -> None:
    protocol, service = service_of(signer)
    if signer != "header" and path == "/b/a+b%2Bc":
        path = path.replace("+", "%2B")  # OURS: botocore would sign a raw plus as it is; it always encodes it
    await verify(sign(Sent(signer=signer, path=path, service=service)), protocol=protocol, service=service)


@pytest.mark.parametrize(
    "query", ["uploads", "uploads=", "a=2&a=1&A=3", "b=x%20y&a=", "prefix=a+b", "x=%2B", "list-type=2&prefix="]
)
@pytest.mark.parametrize("signer", ["s3-header", "header", "v2-header"])
async def test_awkward_queries_are_verified(signer: str, query: str) -> None:
    protocol, service = service_of(signer)
    await verify(sign(Sent(signer=signer, query=query, service=service)), protocol=protocol, service=service)


async def test_a_signed_plus_is_no_space_and_a_signed_space_is_no_plus() -> None:
    signed_plus = sign(Sent(query="prefix=a%2Bb"))
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        await verify(replace(signed_plus, raw_query=b"prefix=a+b"))
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        await verify(replace(signed_plus, raw_query=b"prefix=a%20b"))
    signed_space = sign(Sent(query="prefix=a%20b"))
    await verify(replace(signed_space, raw_query=b"prefix=a+b"))


async def test_repeated_headers_count_in_the_order_of_arrival() -> None:
    request = sign(Sent(headers={"x-amz-meta-a": 'v2,v  1 "b c"'}))
    split = with_header(request, b"x-amz-meta-a", None)
    first, second = (b"x-amz-meta-a", b"  v2 "), (b"X-Amz-Meta-A", b'v 1   "b   c"')
    await verify(replace(split, headers=[first, *split.headers, second]))
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        await verify(replace(split, headers=[second, *split.headers, first]))


def flipped(raw: bytes, at: int, bit: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]


@given(data=st.data(), signer=st.sampled_from(sorted(SIGNERS)))
@settings(max_examples=300, deadline=None)
async def test_one_changed_bit_is_refused(data: st.DataObject, signer: str) -> None:
    protocol, service = service_of(signer)
    headers = {} if "query" in signer else {"x-amz-meta-note": "abc", "Content-Type": "text/csv"}
    request = sign(Sent(signer=signer, path="/bucket/key", query="uploadId=q1&acl", headers=headers, service=service))
    places = ["path", "query", "method"] + ([] if "query" in signer else ["authorization", "x-amz-meta-note", "content-type"])
    place = data.draw(st.sampled_from(places))
    original = {"path": request.raw_path, "query": request.raw_query, "method": request.method.encode()}
    raw = original[place] if place in original else header_of(request, place.encode())
    at, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 6))
    changed = flipped(raw, at, bit)
    if place in ("path", "query"):
        changed = re.sub(rb"[^!-~]", b"!", changed)
    if place == "authorization" and changed.lower() == raw.lower() and b"SignedHeaders" in changed:
        return  # the case of SignedHeaders says nothing
    altered = {
        "path": lambda: replace(request, raw_path=changed),
        "query": lambda: replace(request, raw_query=changed),
        "method": lambda: replace(request, method=changed.decode("latin-1")),
    }.get(place, lambda: with_header(request, place.encode(), changed))()
    if b" ".join(changed.split()) == b" ".join(raw.split()) or same_meaning(request, altered):
        return
    with pytest.raises(AwsError):
        await verify(altered, protocol=protocol, service=service)


def same_meaning(one: RawRequest, other: RawRequest) -> bool:
    """Whether both queries hold the same parameters for whoever reads them: the order of different names says nothing."""
    from urllib.parse import parse_qsl

    def parsed(request: RawRequest) -> list[tuple[str, str]]:
        return sorted(parse_qsl(request.raw_query.decode(), keep_blank_values=True))

    alike = parsed(one) == parsed(other)
    return alike and one.raw_query != other.raw_query


@pytest.mark.parametrize("signer", ["header", "query"])
async def test_a_changed_body_is_refused(signer: str) -> None:
    request = replace(sign(Sent(signer=signer, method="POST", service="sagemaker")), payload_sha256="0" * 64)
    with pytest.raises(AwsError, match="InvalidSignatureException"):
        await verify(request, protocol="json", service="sagemaker")


async def test_a_body_that_was_not_hashed_is_a_bug_and_never_passes() -> None:
    request = replace(sign(Sent(signer="header", service="sagemaker")), payload_sha256=None)
    with pytest.raises(Bug):
        await verify(request, protocol="json", service="sagemaker")


@pytest.mark.parametrize("secret", ["", "wrong", KEY.secret.lower()])
@pytest.mark.parametrize("signer", sorted(SIGNERS))
async def test_another_secret_is_refused(signer: str, secret: str) -> None:
    protocol, service = service_of(signer)
    with pytest.raises(AwsError, match=r"SignatureDoesNotMatch|InvalidSignatureException"):
        await verify(sign(Sent(signer=signer, service=service, secret=secret)), protocol=protocol, service=service)


@given(
    authorization=st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda scheme, credential, headers, signature: (
                f"{scheme} Credential={credential}, SignedHeaders={headers}, Signature={signature}".encode("utf-8", "replace")
            ),
            st.sampled_from(["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", "AWS4-", "AWS", "AWS4-ECDSA-P256-SHA256"]),
            st.one_of(st.text(max_size=20), st.just(f"{KEY.id}/20261015/us-east-1/s3/aws4_request"), st.just("{0}/{x}/{/}/a/b")),
            st.one_of(st.text(max_size=20), st.just("host;x-amz-content-sha256;x-amz-date")),
            st.text(max_size=20),
        ),
    ),
    date=st.one_of(st.none(), st.binary(max_size=20), st.just(b"20261015T120000Z"), st.just(b"99991231T235959Z")),
    protocol=st.sampled_from(["json", "rest-json", "query", "rest-xml"]),
    query=st.one_of(
        st.just(b""),
        st.binary(max_size=40),
        st.lists(
            st.tuples(
                st.sampled_from(
                    [
                        "X-Amz-Algorithm",
                        "X-Amz-Credential",
                        "X-Amz-Signature",
                        "X-Amz-Date",
                        "X-Amz-SignedHeaders",
                        "X-Amz-Expires",
                        "X-Amz-Content-Sha256",
                        "X-Amz-Security-Token",
                        "AWSAccessKeyId",
                        "Signature",
                        "Expires",
                    ]
                ),
                st.sampled_from(
                    [
                        "AWS4-HMAC-SHA256",
                        f"{KEY.id}/20261015/us-east-1/s3/aws4_request",
                        KEY.id,
                        "20261015T120000Z",
                        "00000000T000000Z",
                        "00010101T000000Z",
                        "host",
                        "%FF%00",
                        "9" * 5000,
                        "-1",
                        "1792069200",
                        "99999999999",
                        "",
                    ]
                ),
            ),
            max_size=9,
        ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode()),
    ),
    with_header_too=st.booleans(),
)
@settings(max_examples=600, deadline=None)
async def test_malformed_requests_raise_nothing_but_awserror(
    authorization: bytes, date: bytes | None, protocol: Family, query: bytes, *, with_header_too: bool
) -> None:
    headers = [(b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD")]
    if with_header_too:
        headers.append((b"authorization", authorization))
    if date is not None:
        headers.append((b"x-amz-date", date))
    request = RawRequest(method="GET", raw_path=b"/%zz/\xff", raw_query=query, headers=headers, host="h", payload_sha256="0" * 64)
    claimed(request)
    with pytest.raises(AwsError):
        await verify(request, protocol=protocol)


async def test_what_is_no_key_id_never_reaches_the_keyring() -> None:
    ring = Ring()
    for key_id in ("a\x00b", "x" * 129, "ключ"):
        request = sign(Sent())
        value = header_of(request, b"authorization").decode().replace(KEY.id, key_id)
        with pytest.raises(AwsError, match="InvalidAccessKeyId"):
            await verify(with_header(request, b"authorization", value.encode()), ring=ring)
    assert ring.asked == []


@pytest.mark.parametrize(
    ("authorization", "query", "expected"),
    [
        (None, b"", None),
        (b"AWS AKID:sig", b"", "s3"),
        (b"AWS4-HMAC-SHA256 Credential=a/d/r/monitoring/aws4_request,SignedHeaders=host,Signature=0", b"", "monitoring"),
        (b"AWS4-ECDSA-P256-SHA256 Credential=a/d/s3/aws4_request, SignedHeaders=host", b"", "s3"),
        (b"AWS4-HMAC-SHA256 Credential=x", b"", None),
        (b"Bearer abc", b"", None),
        (b"", b"", None),
        (None, b"X-Amz-Credential=a%2Fd%2Fr%2Fsts%2Faws4_request", "sts"),
        (None, b"X-Amz-Credential=a%252Fd", None),
        (None, b"AWSAccessKeyId=a&Signature=b&Expires=1", "s3"),
        (None, b"AWSAccessKeyId=a&Signature=b&SignatureVersion=2", None),
        (None, b"&&=&", None),
    ],
)
def test_the_claimed_service(authorization: bytes | None, query: bytes, expected: str | None) -> None:
    headers = [] if authorization is None else [(b"Authorization", authorization)]
    request = RawRequest(method="GET", raw_path=b"/", raw_query=query, headers=headers, host="h")
    assert claimed(request) == expected


@pytest.mark.parametrize("blank", [b" ", b"\t", b"   "])
@pytest.mark.parametrize("cut", [b", Credential", b", SignedHeaders", b", Signature="])
async def test_the_router_and_the_verifier_read_odd_headers_alike(blank: bytes, cut: bytes) -> None:
    request = sign(Sent())
    parts = header_of(request, b"authorization").partition(b" ")[2].split(b", ")
    value = b"AWS4-HMAC-SHA256" + blank + b", ".join(reversed(parts))
    first, _, second = value.partition(cut)
    pair = (
        [(b"authorization", first), (b"Authorization", cut.removeprefix(b", ") + second)]
        if second
        else [(b"Authorization", value)]
    )
    odd = with_header(request, b"authorization", None)
    odd = replace(odd, headers=[*odd.headers, *pair])
    await verify(odd)
    assert claimed(odd) == "s3"


async def test_what_the_router_takes_for_unsigned_is_never_verified() -> None:
    for signer, old, new in (
        ("s3-query", b"X-Amz-Credential", b"X-Amz-%43redential"),
        ("v2-query", b"Signature=", b"SignatureVersion=2&Signature="),
    ):
        request = sign(Sent(signer=signer))
        odd = replace(request, raw_query=request.raw_query.replace(old, new))
        assert claimed(odd) is None
        with pytest.raises(AwsError):
            await verify(odd)


async def test_an_empty_authorization_header_is_none() -> None:
    request = with_header(sign(Sent(signer="s3-query")), b"authorization", b"")
    assert claimed(request) == "s3"
    await verify(request)


async def test_an_http_date_stands_in_for_x_amz_date() -> None:
    request = sign(Sent(headers={"Date": "x"}))
    assert not any(name == b"x-amz-date" for name, _ in request.headers)
    await verify(request)


async def test_a_key_signs_again_after_a_second_request_with_the_cached_signing_key() -> None:
    for _ in range(2):
        verified = await authenticate(
            sign(Sent()), keyring=Ring(), scope=SCOPE, now_us=NOW * 1_000_000, protocol="rest-xml", service="s3"
        )
        assert verified.seed is not None
        assert KEY.secret not in repr(verified)
        assert "signing_key" not in repr(verified)
