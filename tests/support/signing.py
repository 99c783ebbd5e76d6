"""Requests signed by botocore, and helpers to change them on their way to the verifier."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import sha256
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from botocore.auth import (
    HmacV1Auth,
    HmacV1QueryAuth,
    S3SigV4Auth,
    S3SigV4QueryAuth,
    SigV4Auth,
    SigV4QueryAuth,
)
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tarry.aws.auth import Family, RawRequest, Verified, authenticate
from tarry.core.keys import AccessKey
from tarry.core.names import Scope

NOW = 1_792_065_600  # 2026-10-15T12:00:00Z
SCOPE = Scope(account_id="123456789012", region="us-east-1")
KEY = AccessKey(
    id="AKIAIOSFODNN7EXAMPLE",
    secret="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    name="test",
    principal_arn="arn:aws:iam::123456789012:user/test",
    created_at_us=0,
)
SIGNERS: dict[str, Any] = {
    "header": SigV4Auth,
    "s3-header": S3SigV4Auth,
    "query": SigV4QueryAuth,
    "s3-query": S3SigV4QueryAuth,
    "v2-header": HmacV1Auth,
    "v2-query": HmacV1QueryAuth,
}


class Ring:
    """A keyring with one key; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def get(self, access_key_id: str) -> AccessKey | None:
        """The key, if it is that one."""
        self.asked.append(access_key_id)
        return KEY if access_key_id == KEY.id else None


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a client wants to send, and how it signs."""

    signer: str = "s3-header"
    method: str = "GET"
    path: str = "/bucket/key"
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    service: str = "s3"
    region: str = "us-east-1"
    host: str = "127.0.0.1:8780"
    now_s: int = NOW
    expires_s: int = 3600
    key_id: str = KEY.id
    secret: str = KEY.secret
    token: str | None = None
    virtual_bucket: str | None = None


def sign(sent: Sent) -> RawRequest:
    """The request as it arrives, signed by botocore."""
    url = f"http://{sent.host}{sent.path}" + (f"?{sent.query}" if sent.query else "")
    request = AWSRequest(sent.method, url, headers=sent.headers, data=sent.body)
    if sent.virtual_bucket:
        request.auth_path = f"/{sent.virtual_bucket}{sent.path}"
    credentials = Credentials(sent.key_id, sent.secret, sent.token)
    signer = SIGNERS[sent.signer]
    options = {"expires": sent.expires_s} if "query" in sent.signer else {}
    where = () if "v2" in sent.signer else (sent.service, sent.region)
    with (
        patch("botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(sent.now_s, UTC)),
        patch("botocore.auth.time.time", return_value=float(sent.now_s)),
        patch("botocore.auth.formatdate", side_effect=lambda *a, **k: formatdate(sent.now_s, usegmt=True)),
    ):
        signer(credentials, *where, **options).add_auth(request)
    target = urlsplit(request.url)
    sent_on = sent.headers if sent.signer == "v2-query" else request.headers  # there botocore leaves its notes in the headers
    headers = [(name.lower().encode(), _bytes(value)) for name, value in sent_on.items()]
    return RawRequest(
        method=sent.method,
        raw_path=target.path.encode(),
        raw_query=target.query.encode(),
        headers=[(b"host", sent.host.encode()), *headers],
        host=sent.host,
        payload_sha256=sha256(sent.body).hexdigest(),
        virtual_bucket=sent.virtual_bucket,
    )


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


async def verify(
    request: RawRequest, *, protocol: Family = "rest-xml", service: str = "s3", now_s: int = NOW, ring: Ring | None = None
) -> Verified:
    """Verify as the gateway does."""
    return await authenticate(
        request, keyring=ring or Ring(), scope=SCOPE, now_us=now_s * 1_000_000 + 999_999, protocol=protocol, service=service
    )


def with_header(request: RawRequest, name: bytes, value: bytes | None) -> RawRequest:
    """The request with a header set, or left out."""
    kept = [pair for pair in request.headers if pair[0] != name]
    return replace(request, headers=kept if value is None else [*kept, (name, value)])


def header_of(request: RawRequest, name: bytes) -> bytes:
    """A header's value."""
    return next(value for found, value in request.headers if found == name)


def with_authorization(request: RawRequest, old: str, new: str) -> RawRequest:
    """The request with text in its Authorization header replaced."""
    value = header_of(request, b"authorization").decode()
    assert old in value
    return with_header(request, b"authorization", value.replace(old, new).encode())


def with_query(request: RawRequest, old: str, new: str) -> RawRequest:
    """The request with text in its query replaced."""
    assert old in request.raw_query.decode()
    return replace(request, raw_query=request.raw_query.decode().replace(old, new).encode())
