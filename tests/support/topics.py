"""Embedded topics on a real database, an HTTP subscriber that can misbehave, and a verifier that shares no code with ours."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from ssl import SSLContext
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from tests.support.aiohttp_server import end

from tarry.aws.call import Call, Caller, Reply, Service
from tarry.aws.services.sns import sns_service
from tarry.backends.database.schema import metadata
from tarry.backends.database.transactions import Database
from tarry.backends.wakeups import LocalWakeups
from tarry.core.names import Scope
from tarry.core.retry import RetrySchedule
from tarry.embedded.topics.deliveries import Deliveries
from tarry.embedded.topics.envelope import Envelopes
from tarry.embedded.topics.pusher import Pusher, PushSettings
from tarry.embedded.topics.signer import Signer
from tarry.embedded.topics.subscriptions import Subscriptions
from tarry.embedded.topics.topics import Topics

SCOPE = Scope(account_id="123456789012", region="us-east-1")
PUBLIC_URL = "http://tarry.test:8780"
QUICK = RetrySchedule((0.0,) * 20)
CALLER = Caller(access_key_id="AKIATEST", principal_arn="arn:aws:iam::123456789012:user/tester", account_id="123456789012")


class TestClock:
    """Wall time that tests move by hand; sleeping is real, so that loops give way."""

    __test__ = False

    def __init__(self, now_us: int = 1_700_000_000_123_456) -> None:
        self.us = now_us

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.us / 1_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))

    def advance(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


class CountingIds:
    """UUIDs and tokens that a test can foresee and that differ."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def uuid(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._next):012x}"

    def time_ordered_uuid(self) -> str:
        return self.uuid()

    def token(self) -> str:
        return f"secret-{next(self._next)}"


@dataclass
class Cloud:
    """Everything of the embedded topics on one database file."""

    database: Database
    topics: Topics
    subscriptions: Subscriptions
    deliveries: Deliveries
    service: Service
    signer: Signer
    wakeups: LocalWakeups
    clock: TestClock
    public_url: str = PUBLIC_URL

    async def call(self, operation: str, *, signed: bool = True, **params: Any) -> Mapping[str, Any]:
        """Call an operation of the SNS front with parsed members, as the gateway does."""
        call = Call(
            service="sns",
            operation=operation,
            request_id="r",
            caller=CALLER if signed else None,
            headers={},
            public_url=self.public_url,
        )
        answer = await self.service.operations[operation](call, params)
        assert not isinstance(answer, Reply)
        return answer

    @asynccontextmanager
    async def pushing(self, **settings: Any) -> AsyncIterator[Pusher]:
        """Run a pusher beside the test."""
        given = replace(PushSettings(schedule=QUICK, poll_s=0.02), **settings)
        pusher = Pusher(self.deliveries, Envelopes(self.signer, lambda: self.public_url), self.clock, self.wakeups, given)
        async with pusher:
            running = asyncio.create_task(pusher.run())
            try:
                yield pusher
            finally:
                running.cancel()
                await asyncio.wait([running])
                if not running.cancelled():
                    running.result()


@asynccontextmanager
async def cloud(directory: Path, clock: TestClock | None = None) -> AsyncIterator[Cloud]:
    """Open the topics of a directory; leaving the context and entering it again is a restart."""
    clock, wakeups, ids = clock or TestClock(), LocalWakeups(), CountingIds()
    database = await Database.open(directory / "tarry.db", create=metadata)
    try:
        topics = Topics(database, scope=SCOPE, clock=clock, ids=ids, wakeups=wakeups)
        subscriptions = Subscriptions(database, clock=clock, ids=ids, wakeups=wakeups)
        signer = Signer.load(directory, clock.now_us())
        deliveries = Deliveries(database, clock)
        service = sns_service(topics, subscriptions)
        yield Cloud(database, topics, subscriptions, deliveries, service, signer, wakeups, clock)
    finally:
        await database.close()


@dataclass
class Received:
    """One request that a subscriber got."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document


@dataclass
class Receiver:
    """An HTTP subscriber: answers each request with the next of ``statuses`` (then 200), or not at all while ``hanging``."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    hanging: bool = False
    queue: asyncio.Queue[Received] = field(default_factory=asyncio.Queue)
    count: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, timeout_s: float = 20) -> Received:
        async with asyncio.timeout(timeout_s):
            return await self.queue.get()

    async def handle(self, request: web.Request) -> web.Response:
        self.count += 1
        self.queue.put_nowait(Received(request.path, dict(request.headers), await request.read()))
        if self.hanging:
            await self._released.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, headers=self.headers)

    def release(self) -> None:
        self.hanging = False
        self._released.set()


@asynccontextmanager
async def receiving(tls: SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A subscriber on an ephemeral port of 127.0.0.1."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        receiver.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/inbox"
        yield receiver
    finally:
        receiver.release()
        await end(runner)


async def subscribed(given: Cloud, receiver: Receiver, topic_arn: str, **attributes: str) -> str:
    """Subscribe a receiver and confirm it with the token that it was sent; a pusher must be running. Returns the ARN."""
    protocol = receiver.url.partition(":")[0]
    await given.call("Subscribe", TopicArn=topic_arn, Protocol=protocol, Endpoint=receiver.url, Attributes=attributes)
    letter = await receiver.next()
    assert letter.headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
    confirmed = await given.call("ConfirmSubscription", TopicArn=topic_arn, Token=letter.json["Token"])
    arn: str = confirmed["SubscriptionArn"]
    return arn


def is_authentic(document: Mapping[str, Any], certificate_pem: bytes) -> bool:
    """Check a message as the SNS developer guide tells subscribers to (written from that text, not from our code)."""
    if document["Type"] == "Notification":
        names = ["Message", "MessageId"] + (["Subject"] if "Subject" in document else []) + ["Timestamp", "TopicArn", "Type"]
    else:
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    lines: list[str] = []
    for name in names:
        lines += [name, document[name]]
    plain = "\n".join(lines) + "\n"
    key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    assert isinstance(key, RSAPublicKey)
    digest = {"1": SHA1, "2": SHA256}[document["SignatureVersion"]]()
    try:
        key.verify(base64.b64decode(document["Signature"]), plain.encode("utf-8"), PKCS1v15(), digest)
    except InvalidSignature:
        return False
    return True
