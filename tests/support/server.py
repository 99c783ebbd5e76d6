"""An ASGI application behind a real uvicorn on an ephemeral port of 127.0.0.1, in a thread of its own, over TLS if wanted.

Synchronous clients (boto3, the AWS CLI, sockets) can then be used from plain tests. The application is built inside of the
thread's event loop, since what it opens belongs to that loop.
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

START_S_MAX = 30

Build = Callable[[AsyncExitStack, str], Awaitable[Any]]
"""Makes the application; what it opens goes onto the stack. The second argument is the server's URL."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 (and other addresses) and its key, as files."""

    cert: Path
    key: Path

    @classmethod
    def make(cls, directory: Path, *others: str) -> "Certificate":
        """A new one, valid for an hour."""
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
        now = datetime.now(UTC)
        addresses = [x509.IPAddress(ip_address(one)) for one in ("127.0.0.1", *others)]
        names = x509.SubjectAlternativeName([*addresses, x509.DNSName("localhost")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        )
        made = cls(directory / "cert.pem", directory / "key.pem")
        made.cert.write_bytes(builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return made


async def abort_connections(server: uvicorn.Server) -> None:
    """End what uvicorn leaves open when its patience with a half-finished request has ended."""
    for connection in list(server.server_state.connections):
        transport = getattr(connection, "transport", None)
        if transport is not None:
            transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)


@contextmanager
def serving(build: Build, certificate: Certificate | None = None) -> Iterator[str]:
    """Serve until the context ends; gives the URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        url = f"{'https' if certificate else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        thread = _Thread(build, listener, url, certificate)
        thread.start()
        try:
            thread.wait_until_ready()
            yield url
        finally:
            thread.stop()


class _Thread(threading.Thread):
    def __init__(self, build: Build, listener: socket.socket, url: str, certificate: Certificate | None) -> None:
        super().__init__(name="server", daemon=True)
        self._build, self._listener, self._url, self._certificate = build, listener, url, certificate
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - told to the test, in its own thread
            self._error = error
        finally:
            self._ready.set()

    def wait_until_ready(self) -> None:
        assert self._ready.wait(START_S_MAX), "the server does not start"
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self.join(START_S_MAX)
        assert not self.is_alive(), "the server does not stop"
        if self._error is not None:
            raise self._error

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            app = await self._build(stack, self._url)
            tls = self._certificate
            config = uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=2,
                ssl_certfile=tls.cert if tls else None,
                ssl_keyfile=tls.key if tls else None,
            )
            self._server = uvicorn.Server(config)
            self._ready.set()  # the socket listens already: who connects now is served as soon as the server runs
            await self._server.serve(sockets=[self._listener])
            await abort_connections(self._server)
