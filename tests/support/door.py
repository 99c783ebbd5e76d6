"""The door on a real uvicorn server at an ephemeral port, with services made for the test."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from botocore.config import Config
from tests.support.server import abort_connections
from tests.support.signing import KEY, SCOPE

from tarry.aws.app import App, InternalPage
from tarry.aws.call import Call, Operation, Params, Reply, Service
from tarry.backends.system import SystemClock, SystemIds
from tarry.core.names import Scope
from tarry.ports import Keyring
from tarry.testing.keyring import FakeKeyring


class Recorder:
    """Operations that note how they were called and answer what the test wants."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, dict[str, Any]]] = []
        self.bodies: list[bytes] = []
        self.answers: dict[str, Mapping[str, Any] | Reply | Exception] = {}

    def operations(self, *names: str) -> dict[str, Operation]:
        """One operation for each name."""
        return dict.fromkeys(names, self._run)

    async def _run(self, call: Call, params: Params) -> Mapping[str, Any] | Reply:
        self.calls.append((call, dict(params)))
        answer = self.answers.get(call.operation, {})
        if isinstance(answer, Exception):
            raise answer
        if call.body is not None:
            self.bodies.append(b"".join([piece async for piece in call.body]))
        return answer


async def no_invocations(id: str) -> None:
    """Whose an invocation is, where there are none."""


def make_app(
    services: Mapping[str, Service],
    *,
    internal: Mapping[str, InternalPage] | None = None,
    scope: Scope = SCOPE,
    keyring: Keyring | None = None,
) -> App:
    """An App over the given services, with the key of ``tests.support.signing`` unless another keyring is given."""
    return App(
        services=services,
        keyring=keyring or FakeKeyring(KEY),
        scope=scope,
        clock=SystemClock(),
        ids=SystemIds(),
        public_url=lambda: "http://localhost:8780",
        endpoint_of=no_invocations,
        internal=internal,
    )


@contextlib.asynccontextmanager
async def serving(app: App, *, tls: tuple[Path, Path] | None = None) -> AsyncIterator[str]:
    """The URL of a running server; it ends with the context."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    listener.setblocking(False)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        host = "localhost" if tls else "127.0.0.1"
        yield f"{'https' if tls else 'http'}://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        await abort_connections(server)
        listener.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Signals are the test runner's."""
        yield


def client(service: str, url: str, **options: Any) -> Any:
    """A boto3 client that signs with the known key and tries once."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10, **options.pop("config", {}))
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=SCOPE.region,
        aws_access_key_id=options.pop("key_id", KEY.id),
        aws_secret_access_key=KEY.secret,
        config=config,
        **options,
    )


async def exchange(url: str, data: bytes, *, context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes on a raw connection, and read until the server closes it. The request has to ask for that."""
    host, _, port = url.partition("://")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(data)
    await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read(-1)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer
