"""S3 behind the whole door on a real server, and the clients that talk to it: boto3, and requests signed by hand."""

import hashlib
import hmac
import http.client
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from tests.support.door import no_invocations
from tests.support.server import Certificate, serving

from tarry.aws.app import App
from tarry.aws.services.s3 import s3_service
from tarry.backends.database.schema import metadata
from tarry.backends.database.transactions import Database
from tarry.backends.system import SystemClock, SystemIds
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.embedded.buckets.buckets import Buckets
from tarry.testing.keyring import FakeKeyring

ACCOUNT = "123456789012"
KEY_ID, SECRET = "AKIAEXAMPLEEXAMPLE00", "secret/of+the=tests"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """A served S3."""

    url: str
    region: str
    cert: Path | None = None

    def client(self, **config: Any) -> Any:
        """An unmodified boto3 client."""
        return self.session().client("s3", config=Config(retries={"total_max_attempts": 1}, **config), **self._where())

    def resource(self) -> Any:
        """boto3's resource."""
        return self.session().resource("s3", **self._where())

    def session(self) -> Any:
        """A session with the right keys."""
        return boto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, region_name=self.region)

    def _where(self) -> dict[str, Any]:
        return {"endpoint_url": self.url, "verify": str(self.cert) if self.cert else None}

    def send(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes | list[bytes] = b""
    ) -> Answer:
        """A plain HTTP request as it is given, without encoding anything; a list is sent with HTTP's chunked coding."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.putrequest(method, target, skip_host=bool(headers and "host" in headers), skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if isinstance(body, list):
                connection.putheader("Transfer-Encoding", "chunked")
            elif (body or method in ("PUT", "POST")) and "content-length" not in (headers or {}):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(iter(body) if isinstance(body, list) else body, encode_chunked=isinstance(body, list))
            if isinstance(body, bytes) and (headers or {}).get("content-length", str(len(body))) != str(len(body)):
                assert connection.sock is not None
                connection.sock.shutdown(1)  # no more bytes, fewer than announced
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def signed(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | list[bytes] = b"",
        payload_hash: str | None = None,
    ) -> Answer:
        """A request with a V4 signature made by hand; the target is taken as encoded already."""
        whole = body if isinstance(body, bytes) else b"".join(body)
        given = {**(headers or {}), "x-amz-content-sha256": payload_hash or hashlib.sha256(whole).hexdigest()}
        signature = Signature.make(self, method, target, given)
        return self.send(method, target, headers={**given, **signature.headers}, body=body)


@dataclass(frozen=True, slots=True)
class Signature:
    """A V4 signature and what the signatures of chunks go on from."""

    headers: Mapping[str, str]
    key: bytes
    timestamp: str
    scope: str
    value: str

    @classmethod
    def make(cls, server: Server, method: str, target: str, headers: Mapping[str, str]) -> "Signature":
        """Sign all given headers and the host."""
        timestamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{timestamp[:8]}/{server.region}/s3/aws4_request"
        signed = {"host": urlsplit(server.url).netloc, **headers, "x-amz-date": timestamp}
        names = sorted(signed)
        path, _, query = target.partition("?")
        query = "&".join(sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part))
        lines = [method, path, query, *(f"{name}:{signed[name]}" for name in names), "", ";".join(names)]
        canonical = "\n".join([*lines, signed["x-amz-content-sha256"]])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", timestamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = f"AWS4{SECRET}".encode()
        for piece in scope.split("/"):
            key = hmac.digest(key, piece.encode(), "sha256")
        value = hmac.digest(key, to_sign.encode(), "sha256").hex()
        authorization = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(names)}, Signature={value}"
        return cls({"x-amz-date": timestamp, "authorization": authorization}, key, timestamp, scope, value)

    def chunk(self, previous: str, data: bytes) -> tuple[bytes, str]:
        """A signed chunk of an aws-chunked body, and its signature."""
        hashed = hashlib.sha256(data).hexdigest()
        lines = ["AWS4-HMAC-SHA256-PAYLOAD", self.timestamp, self.scope, previous, EMPTY_SHA256, hashed]
        value = hmac.digest(self.key, "\n".join(lines).encode(), "sha256").hex()
        return f"{len(data):x};chunk-signature={value}\r\n".encode() + data + b"\r\n", value


def target_of(bucket: str, key: str) -> str:
    """The encoded request target of an object."""
    return f"/{bucket}/{quote(key, safe='/~')}"


@contextmanager
def s3_server(directory: Path, *, region: str = "us-east-1", certificate: Certificate | None = None) -> Iterator[Server]:
    """Serve S3 from a directory."""
    scope = Scope(account_id=ACCOUNT, region=region)
    arn = f"arn:aws:iam::{ACCOUNT}:user/tester"

    async def build(stack: AsyncExitStack, url: str) -> App:
        database = await Database.open(directory / "tarry.db", create=metadata)
        stack.push_async_callback(database.close)
        buckets = Buckets(database, directory, SystemClock(), SystemIds(), region=region)
        await buckets.start()
        stack.push_async_callback(buckets.close)
        return App(
            services={"s3": s3_service(buckets, scope)},
            keyring=FakeKeyring(AccessKey(id=KEY_ID, secret=SECRET, name="test", principal_arn=arn, created_at_us=0)),
            scope=scope,
            clock=SystemClock(),
            ids=SystemIds(),
            public_url=lambda: url,
            endpoint_of=no_invocations,
        )

    with serving(build, certificate) as url:
        yield Server(url, region, certificate.cert if certificate else None)
