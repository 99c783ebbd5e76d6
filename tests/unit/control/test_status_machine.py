"""What each status allows: every command in every status, held to a table that was written from AWS's words, not from our code.

AWS: DescribeEndpoint, API reference (EndpointStatus); "Cannot update in-progress endpoint" as SDKs and operators see it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from tests.support.control import World

from tarry.control.requests import CreateEndpoint, UpdateEndpoint
from tarry.core.deployment import DesiredCapacity
from tarry.core.endpoint import ACCEPTING, TRANSITIONS, require_transition
from tarry.core.endpoint import EndpointStatus as E
from tarry.core.errors import AlreadyExists, Bug, InProgress, InvalidRequest, NotFound
from tarry.ports import Replace

Command = Callable[[World], Awaitable[object]]


async def _update(world: World) -> None:
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c"))


async def _rescale(world: World) -> None:
    await world.commands.endpoints.update_capacities("Ep", [DesiredCapacity(variant_name="A", instance_count=2)])


async def _delete(world: World) -> None:
    await world.commands.endpoints.delete("Ep")


COMMANDS: dict[str, tuple[Command, E]] = {
    "UpdateEndpoint": (_update, E.UPDATING),
    "UpdateEndpointWeightsAndCapacities": (_rescale, E.UPDATING),
    "DeleteEndpoint": (_delete, E.DELETING),
}

TAKEN = None
IN_TURN = (TAKEN, TAKEN, TAKEN)
BUSY = (InProgress, InProgress, InProgress)
# By status: UpdateEndpoint, UpdateEndpointWeightsAndCapacities, DeleteEndpoint; whether InvokeEndpointAsync is accepted.
TABLE: dict[E, tuple[tuple[type[Exception] | None, ...], bool]] = {
    E.CREATING: (BUSY, False),
    E.IN_SERVICE: (IN_TURN, True),
    E.UPDATING: (BUSY, True),
    E.ROLLING_BACK: (BUSY, True),
    E.UPDATE_ROLLBACK_FAILED: ((TAKEN, InvalidRequest, TAKEN), True),
    E.FAILED: ((InvalidRequest, InvalidRequest, TAKEN), False),
    E.DELETING: (BUSY, False),
    E.DELETED: ((NotFound, NotFound, NotFound), False),
}
FOLLOWS: dict[E, set[E]] = {
    E.CREATING: {E.IN_SERVICE, E.FAILED},
    E.IN_SERVICE: {E.UPDATING, E.DELETING},
    E.UPDATING: {E.IN_SERVICE, E.ROLLING_BACK, E.UPDATE_ROLLBACK_FAILED},
    E.ROLLING_BACK: {E.IN_SERVICE, E.UPDATE_ROLLBACK_FAILED},
    E.UPDATE_ROLLBACK_FAILED: {E.UPDATING, E.DELETING},
    E.FAILED: {E.DELETING},
    E.DELETING: {E.DELETED},
    E.DELETED: set(),
}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.in_service()
    yield world
    await world.reconciler.close()


async def put_into(world: World, status: E) -> None:
    await world.store.apply(Replace(replace(world.endpoint(), status=status)))


@pytest.mark.parametrize("status", list(E))
@pytest.mark.parametrize("name", list(COMMANDS))
async def test_a_command_in_a_status(world: World, name: str, status: E) -> None:
    command, after = COMMANDS[name]
    expected = TABLE[status][0][list(COMMANDS).index(name)]
    await put_into(world, status)
    if expected is TAKEN:
        await command(world)
        assert world.endpoint().status is after
        return
    with pytest.raises(expected) as refused:
        await command(world)
    assert world.endpoint().status is status
    assert len(world.deployments()) == 1
    if expected is InProgress:
        # AWS: the sentence that SDKs and operators match (amazon-sagemaker-operator-for-k8s, sagemaker_client.go).
        assert str(refused.value) == f'Cannot update in-progress endpoint "{world.endpoint().arn}".'


@pytest.mark.parametrize("status", [status for status in E if status is not E.DELETED])
async def test_a_name_is_taken_in_every_status_of_a_live_endpoint(world: World, status: E) -> None:
    await put_into(world, status)
    with pytest.raises(AlreadyExists):
        await world.commands.endpoints.create(CreateEndpoint(name="eP", config_name="c"))
    assert (await world.commands.endpoints.describe("EP")).endpoint.status is status


async def test_a_name_is_free_again_after_the_end(world: World) -> None:
    await put_into(world, E.DELETED)
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))


@pytest.mark.parametrize("before", list(E))
@pytest.mark.parametrize("after", list(E))
def test_only_what_the_table_names_may_follow(before: E, after: E) -> None:
    if after in FOLLOWS[before]:
        require_transition(before, after)
        return
    with pytest.raises(Bug):
        require_transition(before, after)


def test_every_status_can_be_reached_and_every_live_one_can_be_left() -> None:
    reached = {E.CREATING, *(after for follows in TRANSITIONS.values() for after in follows)}
    assert reached == set(E)
    assert [status for status in E if not TRANSITIONS[status]] == [E.DELETED]


@pytest.mark.parametrize("status", list(E))
def test_invocations_are_accepted_by_what_serves(status: E) -> None:
    assert (status in ACCEPTING) is TABLE[status][1]
