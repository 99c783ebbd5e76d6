"""Bodies are bounded in size and time, and read by nobody who does not want them."""

import asyncio
from typing import Any

import pytest

from tarry.aws import body as module
from tarry.aws.auth import RawRequest
from tarry.aws.body import BodyReader, BodyTooLargeError, BodyTooSlowError, ClientGoneError
from tarry.aws.request import Request


class Wire:
    """ASGI's receive, from a list; after its end it blocks."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.left = list(messages)
        self.asked = 0

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def reader(wire: Wire, **headers: str) -> BodyReader:
    raw = RawRequest(method="PUT", raw_path=b"/", raw_query=b"", headers=(), host="x")
    return BodyReader(wire, Request(raw=raw, headers={name.replace("_", "-"): value for name, value in headers.items()}))


async def test_no_body_is_never_asked_for() -> None:
    wire = Wire()
    for headers in ({}, {"content_length": "0"}):
        found = reader(wire, **headers)
        assert found.finished
        assert await found.read(10) == b""
        assert [part async for part in found.stream()] == []
    assert wire.asked == 0


async def test_announced_size_is_refused_unread() -> None:
    wire = Wire(piece(b"x" * 11, more=False))
    found = reader(wire, content_length="11")
    with pytest.raises(BodyTooLargeError):
        await found.read(10)
    assert wire.asked == 0
    assert not found.finished


async def test_unannounced_size_is_refused_at_the_bound() -> None:
    wire = Wire(piece(b"x" * 6), piece(b"x" * 6), piece(b"x" * 6, more=False))
    with pytest.raises(BodyTooLargeError):
        await reader(wire, transfer_encoding="chunked").read(10)
    assert wire.asked == 2


async def test_pieces_are_joined() -> None:
    found = reader(Wire(piece(b"a"), piece(b""), piece(b"b", more=False)), transfer_encoding="chunked")
    assert await found.read(2) == b"ab"
    assert found.finished


async def test_a_client_that_goes_away_leaves_no_body() -> None:
    with pytest.raises(ClientGoneError):
        await reader(Wire(piece(b"a"), GONE), content_length="5").read(10)
    with pytest.raises(ClientGoneError):
        _ = [part async for part in reader(Wire(piece(b"a"), GONE), content_length="5").stream()]


async def test_a_client_that_stops_sending_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_BODY_S_MAX", 0.01)
    monkeypatch.setattr(module, "PIECE_S_MAX", 0.01)
    with pytest.raises(BodyTooSlowError):
        await reader(Wire(piece(b"a")), content_length="5").read(10)
    with pytest.raises(BodyTooSlowError):
        _ = [part async for part in reader(Wire(piece(b"a")), content_length="5").stream()]


async def test_discard_ends_by_itself() -> None:
    wire = Wire(*[piece(b"x" * 100)] * 10)
    await reader(wire, content_length="1000").discard(bytes_max=250, seconds_max=5)
    assert wire.asked == 3
    await reader(Wire(), content_length="1000").discard(bytes_max=250, seconds_max=0.01)
    await reader(Wire(GONE), content_length="1000").discard(bytes_max=250, seconds_max=5)
