"""What every ModelServer promises; the real one speaks to a server on a socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from aiohttp import web
from tests.support.aiohttp_server import end

from tarry.backends.modelserver import HttpModelServer
from tarry.core.errors import ModelServerNotConnected, ModelServerTimeout, ModelServerUnreachable
from tarry.ports import ModelRequest, ModelServer, PingAnswer
from tarry.testing.modelserver import Answering, FakeAnswer, FakeModelServer


@dataclass
class Rig:
    """A model server whose behaviour the test chooses, and the port that asks it."""

    server: ModelServer
    address: str
    answer_with: Callable[[Answering], None]
    make_unhealthy: Callable[[], None]
    closed_address: str


@pytest.fixture(params=["fake", "http"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    if request.param == "fake":
        fake = FakeModelServer(closed={"http://closed"}, unhealthy_answer="503 Unable to load model")
        yield Rig(
            fake,
            "http://fake",
            lambda new: setattr(fake, "answering", new),
            lambda: fake.unhealthy.add("http://fake"),
            "http://closed",
        )
        return
    container = _Container()
    runner = web.AppRunner(container.app, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server = HttpModelServer()
    yield Rig(server, f"http://127.0.0.1:{port}", container.answer_with, container.make_unhealthy, "http://127.0.0.1:1")

    await end(runner)


class _Container:
    """The contract on a socket, answering through the same functions as the fake."""

    def __init__(self) -> None:
        self._answering: Answering = _echo
        self._healthy = True
        self.app = web.Application(client_max_size=2**30)
        self.app.router.add_get("/ping", self._ping)
        self.app.router.add_post("/invocations", self._invoke)

    def answer_with(self, answering: Answering) -> None:
        self._answering = answering

    def make_unhealthy(self) -> None:
        self._healthy = False

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response() if self._healthy else web.Response(status=503, text="Unable to\n load  model\n")

    async def _invoke(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = ModelRequest(headers=dict(request.headers), size=len(body), chunks=pieces(body))
        answer = await self._answering(seen, body)
        response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
        response.content_length = len(answer.body) + (1 if answer.error else 0)
        await response.prepare(request)
        await response.write(answer.body[: len(answer.body) // 2])
        if answer.stalls:
            await asyncio.Event().wait()
        await response.write(answer.body[len(answer.body) // 2 :])
        if answer.error is not None and request.transport is not None:
            request.transport.abort()
        return response


async def _echo(request: ModelRequest, body: bytes) -> FakeAnswer:
    return FakeAnswer(content_type=request.headers.get("Content-Type", "none"), body=body)


async def pieces(body: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def post(body: bytes = b"", size: int | None = None, **headers: str) -> ModelRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ModelRequest(headers=named, size=len(body) if size is None else size, chunks=pieces(body))


async def ask(rig: Rig, request: ModelRequest, timeout_s: float = 10.0) -> tuple[int, str, bytes]:
    async with rig.server.invoke(rig.address, request, timeout_s=timeout_s) as response:
        return response.status, response.content_type, b"".join([chunk async for chunk in response.chunks])


def answering(answer: FakeAnswer, before: Callable[[], Awaitable[object]] | None = None) -> Answering:
    async def work(request: ModelRequest, body: bytes) -> FakeAnswer:
        if before is not None:
            await before()
        return answer

    return work


async def test_bytes_go_in_and_out_unchanged(rig: Rig) -> None:
    body = bytes(range(256)) * 4000
    assert await ask(rig, post(body, Content_Type="text/csv")) == (200, "text/csv", body)


async def test_an_empty_body_is_a_body(rig: Rig) -> None:
    assert await ask(rig, post(b"", Content_Type="text/csv")) == (200, "text/csv", b"")


@pytest.mark.parametrize("status", [200, 201, 299, 302, 400, 413, 500, 503])
async def test_every_status_comes_with_its_body(rig: Rig, status: int) -> None:
    rig.answer_with(answering(FakeAnswer(status=status, content_type="text/plain", body=b"why")))
    assert await ask(rig, post(b"x")) == (status, "text/plain", b"why")


async def test_ping_tells_health(rig: Rig) -> None:
    assert await rig.server.ping(rig.address) == PingAnswer(True)
    rig.make_unhealthy()
    assert await rig.server.ping(rig.address) == PingAnswer(False, "503 Unable to load model")
    nobody = await rig.server.ping(rig.closed_address)
    assert not nobody.healthy
    assert nobody.said


async def test_nobody_there_is_not_connected(rig: Rig) -> None:
    with pytest.raises(ModelServerNotConnected):
        async with rig.server.invoke(rig.closed_address, post(b"x"), timeout_s=10):
            pass


async def test_a_slow_answer_is_a_timeout(rig: Rig) -> None:
    rig.answer_with(answering(FakeAnswer(), before=asyncio.Event().wait))
    with pytest.raises(ModelServerTimeout, match=r"within 0\.1 seconds"):
        await ask(rig, post(b"x"), timeout_s=0.1)


async def test_an_answer_that_stalls_in_the_middle_is_a_timeout_while_reading(rig: Rig) -> None:
    rig.answer_with(answering(FakeAnswer(body=b"half of it", stalls=True)))
    seen = []

    async def read() -> None:
        async with rig.server.invoke(rig.address, post(b"x"), timeout_s=0.3) as response:
            assert (response.status, response.size) == (200, 10)
            async for chunk in response.chunks:
                seen.append(chunk)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ModelServerTimeout, match=r"within 0\.3 seconds"):
        await read()
    assert b"".join(seen) == b"half "


async def test_a_broken_answer_is_an_error_while_reading(rig: Rig) -> None:
    rig.answer_with(answering(FakeAnswer(body=b"first half", error=ModelServerUnreachable("broke"))))
    with pytest.raises(ModelServerUnreachable) as raised:
        await ask(rig, post(b"x"))
    assert not isinstance(raised.value, ModelServerNotConnected)


@pytest.mark.parametrize("size", [2, 0, 4])
async def test_a_body_of_another_size_than_announced_is_refused(rig: Rig, size: int) -> None:
    with pytest.raises(ValueError, match="request body"):
        await ask(rig, post(b"abc", size=size), timeout_s=5)


async def test_many_requests_run_side_by_side(rig: Rig) -> None:
    barrier = asyncio.Barrier(20)
    rig.answer_with(answering(FakeAnswer(body=b"ok"), before=barrier.wait))
    answers = await asyncio.gather(*(ask(rig, post(b"x")) for _ in range(20)))
    assert {body for _, _, body in answers} == {b"ok"}


async def test_leaving_early_harms_nobody(rig: Rig) -> None:
    rig.answer_with(answering(FakeAnswer(body=b"x" * 5_000_000)))
    async with rig.server.invoke(rig.address, post(b"x"), timeout_s=10) as response:
        assert response.status == 200
    assert len((await ask(rig, post(b"x")))[2]) == 5_000_000
