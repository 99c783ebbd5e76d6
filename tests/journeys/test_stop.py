"""The stop of a real server with requests under way: what they are told, when, and what the log makes of it."""

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from tests.support.server_process import START_S_MAX, ServerProcess

from tarry.bootstrap.directory import DataDirectory

BODY = b"x" * 1000
SENT = 100
LONG_S, SHORT_S = "60", "0"
"""Drain times."""


@contextmanager
def _started(tmp_path: Path, drain_s: str) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "--drain-timeout", drain_s) as server:
        server.client("s3").create_bucket(Bucket="half-sent")
        yield server


def _send(server: ServerProcess, method: str, path: str, signer: Any, headers: dict[str, str]) -> socket.socket:
    """A request whose head and first bytes are sent. The server has begun with it: it has asked for its body."""
    address, given = urlsplit(server.url), {"content-length": str(len(BODY)), "expect": "100-continue", **headers}
    request = AWSRequest(method, f"{server.url}{path}", headers=given, data=BODY)
    signer.add_auth(request)
    head = [
        f"{method} {path} HTTP/1.1",
        f"host: {address.netloc}",
        *(f"{name}: {value}" for name, value in request.headers.items()),
    ]
    connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=START_S_MAX)
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.sendall(BODY[:SENT])
    return connection


def _half_sent(server: ServerProcess) -> tuple[socket.socket, socket.socket]:
    """An object, and a call of the extension API."""
    credentials = Credentials(*DataDirectory(server.data_dir).read_credentials())
    unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    put = _send(server, "PUT", "/half-sent/object", S3SigV4Auth(credentials, "s3", "us-east-1"), unsigned)
    target = {"x-amz-target": "Tarry.ListInvocations", "content-type": "application/x-amz-json-1.1"}
    return put, _send(server, "POST", "/", SigV4Auth(credentials, "tarry", "us-east-1"), target)


def _answer(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("drain_s", [SHORT_S, LONG_S], ids=["its time is over", "a second signal"])
def test_what_is_half_sent_at_the_end_of_a_stop_is_told_so_in_its_protocol(tmp_path: Path, drain_s: str) -> None:
    with _started(tmp_path, drain_s) as server:
        half = _half_sent(server)
        _signal(server)
        server.wait_for_log("event=stopping")
        if drain_s == LONG_S:
            _signal(server)
        put, call = (_answer(each) for each in half)
        assert _exit_code(server) == 0
        said = server.log.read_text()
    assert put.startswith(b"HTTP/1.1 503 ")
    assert b"<Code>ServiceUnavailable</Code><Message>The server is stopping" in put
    assert call.startswith(b"HTTP/1.1 503 ")
    assert b"ServiceUnavailable" in call
    assert said.count("a request is cut off by the stop of the server") == 2
    assert said.rindex("a request is cut off") < said.index("stopped accepting"), "before what they use is closed"
    assert "level=error" not in said
    assert "ERROR" not in said, "a stop that somebody wanted is no error"


def test_what_is_half_sent_has_the_drain_time_to_end(tmp_path: Path) -> None:
    with _started(tmp_path, LONG_S) as server:
        put, call = _half_sent(server)
        call.close()
        url = server.url
        _signal(server)
        while _accepts(url):
            pass
        assert select.select([put], [], [], 0.5)[0] == [], "nobody cuts it off"
        put.sendall(BODY[SENT:])
        assert _answer(put).startswith(b"HTTP/1.1 200 ")
        assert _exit_code(server) == 0


def _signal(server: ServerProcess) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)


def _exit_code(server: ServerProcess) -> int:
    """Of a server that ends long before its drain time."""
    assert server.process is not None
    return server.process.wait(int(LONG_S) // 2)


def _accepts(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as connection:
        return connection.connect_ex((address.hostname or "", address.port or 0)) == 0
