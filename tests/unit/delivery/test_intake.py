"""Acceptance: what is fixed, what is refused, what a change of the endpoint does."""

from uuid import UUID

import pytest
from tests.support.delivery import World

from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import EndpointNotFound, InvalidRequest, Throttled
from tarry.core.invocation import InvocationState, InvokeRequest


def _request(**over: object) -> InvokeRequest:
    values: dict[str, object] = {"endpoint_name": "E", "input_location": "s3://b/in/1"}
    return InvokeRequest(**(values | over))  # type: ignore[arg-type]


async def test_accepted_means_queued_with_its_locations() -> None:
    world = await World().deploy()
    accepted = (await world.intake.invoke(_request(inference_id="mine"))).invocation
    assert accepted.inference_id == "mine"
    assert accepted.output_location == f"s3://b/out/{accepted.id}.out"
    assert accepted.failure_location == f"s3://b/out/{accepted.id}-error.out"
    record = await world.record(accepted.id)
    assert record.state is InvocationState.QUEUED
    assert record.invocation.endpoint_name == "e"
    assert record.invocation.expires_at_us - record.invocation.received_at_us == 21_600_000_000
    assert record.invocation.timeout_s == 900


async def test_a_repeat_is_told_as_such() -> None:
    world = await World().deploy()
    asked = _request(inference_id="mine", same_within_s=60)
    first, second = await world.intake.invoke(asked), await world.intake.invoke(asked)
    assert (first.repeated, second.repeated) == (False, True)
    assert second.invocation == first.invocation


async def test_without_an_inference_id_ours_is_taken() -> None:
    world = await World().deploy()
    accepted = (await world.intake.invoke(_request())).invocation
    assert accepted.inference_id == accepted.id
    assert UUID(accepted.id).version == 7, "decision 0012"


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"body": b"x"}, "got both"),
        ({"input_location": None}, "got neither"),
        ({"input_location": None, "body": b"x" * 128_001}, "less than or equal to 128000"),
        ({"input_location": "s3://b"}, "has no key"),
        ({"input_location": "s3://b/"}, "has no key"),
        ({"input_location": "https://b.s3.us-east-1.amazonaws.com/"}, "has no key"),
    ],
)
async def test_bad_input_is_refused_with_what_to_do(over: dict[str, object], words: str) -> None:
    world = await World().deploy()
    with pytest.raises(InvalidRequest, match=words):
        await world.intake.invoke(_request(**over))
    assert not world.queue.rows


@pytest.mark.parametrize(
    "status", [EndpointStatus.CREATING, EndpointStatus.FAILED, EndpointStatus.DELETING, EndpointStatus.DELETED]
)
async def test_an_endpoint_that_does_not_serve_is_not_found(status: EndpointStatus) -> None:
    world = await World().deploy(status=status)
    with pytest.raises(EndpointNotFound):
        await world.intake.invoke(_request())


async def test_an_endpoint_being_updated_accepts() -> None:
    world = await World().deploy(status=EndpointStatus.UPDATING)
    await world.intake.invoke(_request())


async def test_a_deleted_endpoint_is_refused_even_while_its_entry_is_remembered() -> None:
    world = await World().deploy()
    await world.intake.invoke(_request())
    await world.set_endpoint(status=EndpointStatus.DELETING)
    with pytest.raises(EndpointNotFound):
        await world.intake.invoke(_request())


async def test_a_full_queue_is_throttled() -> None:
    world = await World().deploy()
    world.queue.queued_max = 1
    await world.intake.invoke(_request())
    with pytest.raises(Throttled):
        await world.intake.invoke(_request())


async def test_a_key_longer_than_s3_allows_is_refused_at_once() -> None:
    world = await World().deploy()
    with pytest.raises(InvalidRequest, match="S3 allows 1024"):
        await world.intake.invoke(_request(output_extension="x" * 1020))
    assert not world.queue.rows
