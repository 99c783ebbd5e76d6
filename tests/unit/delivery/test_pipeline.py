"""A request on its way through several containers."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from tests.support import entities

from tarry.core.errors import ModelResponseInvalid, ModelServerTimeout, ModelServerUnreachable
from tarry.delivery import pipeline
from tarry.delivery.pipeline import Pipeline
from tarry.ports import ModelRequest
from tarry.testing.clock import FakeClock
from tarry.testing.modelserver import FakeAnswer, FakeModelServer

ADDRESSES = ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")


async def body_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def request(body: bytes = b"in", headers: Mapping[str, str] | None = None) -> ModelRequest:
    return ModelRequest(headers=headers or {}, size=len(body), chunks=body_of(body))


class Rig:
    """Containers that answer with their number after what they were sent, unless told otherwise."""

    def __init__(self, *addresses: str) -> None:
        self.models = FakeModelServer(answering=self.answer)
        self.clock = FakeClock()
        self.pipeline = Pipeline(self.models, self.clock, entities.instance(addresses=addresses))
        self.answers: dict[int, FakeAnswer] = {}

    async def answer(self, asked: ModelRequest, body: bytes) -> FakeAnswer:
        number = len(self.models.asked)
        self.clock.advance(1)
        return self.answers.get(number, FakeAnswer(content_type=f"type/{number}", body=body + f"-{number}".encode()))

    async def run(self, asked: ModelRequest, timeout_s: float = 60) -> tuple[int, str, bytes]:
        async with self.pipeline.invoke(asked, timeout_s=timeout_s) as response:
            body = b"".join([chunk async for chunk in response.chunks])
            return response.status, response.content_type, body


async def test_one_container_is_one_call_with_all_headers() -> None:
    rig = Rig(ADDRESSES[0])
    assert await rig.run(request(headers={"Content-Type": "a/b", "accept": "c/d"})) == (200, "type/1", b"in-1")
    assert rig.models.requests[0].headers == {"Content-Type": "a/b", "accept": "c/d"}
    assert rig.pipeline.where is None


async def test_the_answer_of_one_is_the_input_of_the_next() -> None:
    rig = Rig(*ADDRESSES)
    headers = {"Content-Type": "text/csv", "Accept": "last/only", "X-Amzn-SageMaker-Custom-Attributes": "all"}
    assert await rig.run(request(headers=headers)) == (200, "type/3", b"in-1-2-3")
    assert rig.models.asked == list(ADDRESSES)
    sent = [dict(one.headers) for one in rig.models.requests]
    assert [one["Content-Type"] for one in sent] == ["text/csv", "type/1", "type/2"]
    assert [one.get("Accept") for one in sent] == [None, None, "last/only"]
    assert all(one["X-Amzn-SageMaker-Custom-Attributes"] == "all" for one in sent)


async def test_an_answer_without_a_length_is_passed_on_with_one() -> None:
    rig = Rig(*ADDRESSES[:2])
    rig.answers[1] = FakeAnswer(body=b"x" * 3_000_000, chunked=True)
    assert await rig.run(request()) == (200, "type/2", b"x" * 3_000_000 + b"-2")
    assert rig.models.requests[1].size == 3_000_000


async def test_an_error_in_the_middle_is_the_answer() -> None:
    rig = Rig(*ADDRESSES)
    rig.answers[2] = FakeAnswer(status=422, content_type="text/plain", body=b"no")
    assert await rig.run(request()) == (422, "text/plain", b"no")
    assert rig.models.asked == list(ADDRESSES[:2])
    assert rig.pipeline.where == "container 2 of 3"


async def test_the_time_limit_covers_all_containers() -> None:
    rig = Rig(*ADDRESSES)

    async def stuck(asked: ModelRequest, body: bytes) -> FakeAnswer:
        if len(rig.models.asked) < 2:
            rig.clock.advance(59.99)
            return FakeAnswer(body=body)
        await asyncio.Event().wait()
        raise AssertionError

    rig.models.answering = stuck
    with pytest.raises(ModelServerTimeout):
        await rig.run(request(), timeout_s=60)
    assert rig.pipeline.where == "container 2 of 3"


async def test_a_closed_container_is_named_and_is_where_to_look() -> None:
    rig = Rig(*ADDRESSES)
    rig.models.closed.add(ADDRESSES[1])
    with pytest.raises(ModelServerUnreachable):
        await rig.run(request())
    assert (rig.pipeline.address, rig.pipeline.where) == (ADDRESSES[1], "container 2 of 3")


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_on_the_way_that_is_too_long_is_its_own_containers_fault(
    chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "ANSWER_BYTES_MAX", 9)
    rig = Rig(*ADDRESSES)
    rig.answers[2] = FakeAnswer(body=b"0123456789", chunked=chunked)
    with pytest.raises(ModelResponseInvalid, match="longer than 9 bytes"):
        await rig.run(request())
    assert (rig.pipeline.address, rig.pipeline.where) == (ADDRESSES[1], "container 2 of 3")


@pytest.mark.parametrize("chunked", [False, True])
async def test_an_answer_that_breaks_on_the_way_is_its_own_containers_fault(chunked: bool) -> None:
    rig = Rig(*ADDRESSES)
    rig.answers[1] = FakeAnswer(body=b"half", chunked=chunked, error=ModelResponseInvalid("broken"))
    with pytest.raises(ModelResponseInvalid):
        await rig.run(request())
    assert (rig.pipeline.address, rig.pipeline.where) == (ADDRESSES[0], "container 1 of 3")
