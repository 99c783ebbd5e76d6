"""The canonical request, part by part, against botocore's and against AWS's rules where botocore leaves them."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import urlsplit
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tarry.aws.auth.canonical import (
    canonical_headers,
    canonical_query,
    canonical_request,
    decoded_query,
    s3_path,
    service_path,
    split_query,
    variants,
)

ORACLE = SigV4Auth(Credentials("a", "b"), "service", "us-east-1")
ENCODED = st.lists(st.sampled_from(["a", "Z", "0", "-", ".", "_", "~", "%20", "%2F", "%E1%88%B4", "%25"]), max_size=6).map(
    "".join
)
SEGMENTS = st.lists(st.one_of(ENCODED, st.sampled_from(["", ".", "..", "a:b", "$"])), max_size=6)


@given(SEGMENTS)
def test_paths_of_services(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    assert service_path(path.encode()).decode() == ORACLE._normalize_url_path(path)


@given(st.lists(ENCODED, max_size=6))
def test_paths_of_s3_are_as_sent_where_well_encoded(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    assert s3_path(path.encode(), keep_slashes=True).decode() == path
    assert path.encode() in [target for target, _ in variants(path.encode(), [], s3=True)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", b"/"),
        (b"/a//b/../c%20d", b"/a//b/../c%20d"),
        (b"/a b$&'()*", b"/a%20b%24%26%27%28%29%2A"),
        (b"/%41%7e", b"/A~"),
        (b"/a+b", b"/a%2Bb"),
        (b"/a%2Fb", b"/a/b"),
        (b"/a%2", b"/a%252"),
        (b"/\xe1\x88\xb4", b"/%E1%88%B4"),
    ],
)
def test_paths_of_s3(raw: bytes, expected: bytes) -> None:
    assert s3_path(raw) == expected


@given(st.lists(st.tuples(ENCODED.filter(bool), ENCODED), max_size=6))
def test_queries(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    expected = ORACLE._canonical_query_string_url(urlsplit(f"http://h/?{query}"))
    assert canonical_query(split_query(query.encode())).decode() == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"uploads", b"uploads="),
        (b"b=1&B=2&a=2&a=1&a", b"B=2&a=&a=1&a=2&b=1"),
        (b"a=b=c", b"a=b%3Dc"),
        (b"a=%7e%41/", b"a=~A%2F"),
        (b"&&", b""),
        (b"a=b+c", b"a=b%20c"),
    ],
)
def test_queries_by_rule(raw: bytes, expected: bytes) -> None:
    assert canonical_query(split_query(raw)) == expected


def test_every_variant_means_the_same() -> None:
    found = list(variants(b"/a%2fb", split_query(b"x=1+2"), s3=True))
    assert found == [
        (b"/a/b", b"x=1%202"),
        (b"/a%2Fb", b"x=1%202"),
        (b"/a/b", b"x=1+2"),
        (b"/a%2Fb", b"x=1+2"),
    ]
    assert len(list(variants(b"/a%2fb", split_query(b"x=1"), s3=False))) == 1


@given(st.lists(st.tuples(st.sampled_from(["x-a", "X-A", "x-b"]), st.text('ab \t",', max_size=8)), max_size=5))
def test_headers(headers: list[tuple[str, str]]) -> None:
    request = AWSRequest("GET", "http://h/")
    for name, value in headers:
        request.headers.add_header(name, value)
    expected = ORACLE.canonical_headers(ORACLE.headers_to_sign(request))
    ours = canonical_headers([(name.encode(), value.encode()) for name, value in headers], "h")
    assert b"\n".join(name + b":" + ours[name] for name in sorted(ours)).decode() == expected


def test_the_host_that_the_client_used_replaces_the_header() -> None:
    assert canonical_headers([(b"Host", b"inner:1"), (b"host", b"x")], "outer.example:8780")[b"host"] == b"outer.example:8780"


def test_the_whole() -> None:
    text = canonical_request(b"GET", (b"/p", b"q="), {b"host": b"h"}, [b"gone", b"host"], b"hash")
    assert text == b"GET\n/p\nq=\ngone:\nhost:h\n\ngone;host\nhash"


def test_decoded_queries_take_the_first_of_repeated_names() -> None:
    assert decoded_query(split_query(b"a=1&a=2&b=%C3%A9+x&%63=%FF&d")) == {"a": "1", "b": "é x", "%63": "�", "d": ""}
