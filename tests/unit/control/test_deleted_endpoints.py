"""What a deleted endpoint has left: listed by its name, and asked again of the endpoint that has the name now."""

from dataclasses import replace

import pytest
from tests.support import entities as make
from tests.support.control import World

from tarry.control.invocations import SAME_NAME_MAX
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import InvalidRequest, NotFound
from tarry.core.history import InvocationRecord
from tarry.core.invocation import InvocationState, Outcome
from tarry.ports import Add, Decision, InvocationQuery, Page, Replace


@pytest.fixture
def world() -> World:
    return World()


async def endpoint(world: World, id: str, name: str = "e") -> Endpoint:
    await world.store.apply(Add(make.endpoint(name, id=id, status=EndpointStatus.IN_SERVICE)))
    return await here(world, id)


async def here(world: World, id: str) -> Endpoint:
    found = await world.store.get(Endpoint, id)
    assert found is not None
    return found


async def left_behind(world: World, id: str, *invocations: str) -> None:
    """An endpoint that was deleted while these waited: each has ended for that."""
    old = await endpoint(world, id)
    for each in invocations:
        await world.queue.put(make.invocation(each, endpoint_id=id, input_location=None), b"body")
    await world.store.apply(Replace(replace(old, status=EndpointStatus.DELETING)))
    outcome = Outcome(state=InvocationState.FAILED, ended_at_us=make.NOW_US, reason="endpoint deleted")
    for claim in (await world.queue.reap(100)).overdue:
        decision = Decision(invocation_id=claim.invocation.id, outcome=outcome, staged=None, notification=None)
        await world.queue.decide(claim.lease, decision)
        await world.queue.finish(claim.invocation.id)
    await world.store.apply(Replace(replace(await here(world, id), status=EndpointStatus.DELETED)))


async def pages(world: World, limit: int) -> list[list[str]]:
    told: list[list[str]] = []
    query = InvocationQuery(limit=limit)
    while True:
        page: Page[InvocationRecord] = await world.commands.invocations.page(query, "E")
        told.append([record.id for record in page.items])
        if page.next_token is None:
            return told
        query = replace(query, token=page.next_token)


async def test_a_name_stands_for_all_that_had_it_newest_first(world: World) -> None:
    await left_behind(world, "one", "1", "2")
    await left_behind(world, "two")
    await left_behind(world, "three", "3")
    assert await pages(world, 10) == [["3", "2", "1"]]
    await endpoint(world, "four")
    await world.queue.put(make.invocation("4", endpoint_id="four"), None)
    await endpoint(world, "other", "another-name")
    await world.queue.put(make.invocation("5", endpoint_id="other"), None)
    assert await pages(world, 10) == [["4", "3", "2", "1"]]
    assert await pages(world, 1) == [["4"], ["3"], ["2"], ["1"]]
    assert await pages(world, 3) == [["4", "3", "2"], ["1"]]


async def test_one_page_does_not_look_at_endpoints_without_end(world: World) -> None:
    await left_behind(world, "first", "1")
    for number in range(SAME_NAME_MAX):
        await left_behind(world, f"e{number}")
    assert await pages(world, 10) == [[], ["1"]]


async def test_a_name_that_nobody_had_and_the_token_of_another_are_refused(world: World) -> None:
    with pytest.raises(NotFound, match="never"):
        await world.commands.invocations.page(InvocationQuery(), "never")
    await endpoint(world, "one")
    with pytest.raises(InvalidRequest, match="begin the list again"):
        await world.commands.invocations.page(InvocationQuery(token="two.x"), "e")


async def test_what_a_deletion_ended_is_asked_again_of_the_present_endpoint(world: World) -> None:
    commands, redrives = world.commands.invocations, world.commands.redrives
    await left_behind(world, "old", "1", "2")
    for dry_run in (True, False):
        with pytest.raises(InvalidRequest, match='The endpoint "e" has been deleted: create one of that name'):
            await redrives.these(["1"], dry_run=dry_run)
    new = await endpoint(world, "new")
    _, state = await commands.queue("e")
    assert (state.queued, state.oldest_received_at_us) == (0, None)  # of itself it sees nothing of the old one's
    (one,) = (await redrives.these(["1"])).done
    (two,) = (await redrives.matching(InvocationQuery(), "e", limit=10)).done
    for redrive, of in ((one, "1"), (two, "2")):
        assert redrive.again is not None
        again = (await commands.describe(redrive.again)).history.record.invocation
        assert (again.endpoint_id, again.redrive_of) == ("new", of)
        assert await world.ports.records.body(again.id) == b"body"
    await world.store.apply(Replace(replace(new, status=EndpointStatus.DELETING)))
    with pytest.raises(InvalidRequest, match="is being deleted"):
        await redrives._present("e")
