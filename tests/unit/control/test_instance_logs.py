"""Finding what instances have printed: page by page, with what is known of them, also of endpoints that are gone."""

import pytest
from tests.support import entities as make
from tests.support.control import World

from tarry.control.instance_logs import InstanceLogCommands, LogQuery
from tarry.core.errors import InvalidRequest, NotFound
from tarry.core.instance import InstanceState
from tarry.ports import Add, LogName
from tarry.testing.instance_logs import FakeInstanceLogs


class Logs:
    """The commands over fakes, with an endpoint that has an instance."""

    def __init__(self, world: World) -> None:
        self.world, self.fake = world, FakeInstanceLogs()
        self.commands = InstanceLogCommands(world.commands.models._context, self.fake)
        self.endpoint = make.endpoint().name

    def write(self, instance_id: str, at_us: int, *, variant: str = "v", container: str | None = None) -> None:
        name = LogName(endpoint_name=self.endpoint, variant_name=variant, instance_id=instance_id, container=container)
        self.fake.write(name, b"words", at_us)

    async def found(self, **query: object) -> list[str]:
        page = await self.commands.page(self.endpoint, LogQuery(**{"limit": 100, **query}))  # type: ignore[arg-type]
        return [one.log.name.instance_id for one in page.items]


@pytest.fixture
async def logs() -> Logs:
    world = World()
    await world.store.apply(Add(make.endpoint()), Add(make.instance()))
    return Logs(world)


async def test_pages_go_from_the_newest_to_the_oldest_and_miss_nothing(logs: Logs) -> None:
    for number in range(5):
        logs.write(f"i-{number}", number // 2)  # times that are equal, too
    seen, token = [], None
    while True:
        page = await logs.commands.page(logs.endpoint, LogQuery(limit=2, token=token))
        seen += [one.log.name.instance_id for one in page.items]
        token = page.next_token
        if token is None:
            break
        assert len(page.items) == 2
    assert seen == ["i-4", "i-3", "i-2", "i-1", "i-0"]


async def test_containers_of_an_instance_are_told_apart_by_the_page(logs: Logs) -> None:
    for number in (1, 2, 3):
        logs.write("i", 7, container=f"container-{number}")
    page = await logs.commands.page(logs.endpoint, LogQuery(limit=2))
    rest = await logs.commands.page(logs.endpoint, LogQuery(limit=2, token=page.next_token))
    containers = [one.log.name.container for one in (*page.items, *rest.items)]
    assert containers == ["container-3", "container-2", "container-1"]


async def test_what_is_asked_for_is_told_alone(logs: Logs) -> None:
    logs.write("i-1", 1)
    logs.write("i-2", 2, variant="other")
    assert await logs.found(variant_name="other") == ["i-2"]
    assert await logs.found(instance_id="i-1") == ["i-1"]
    assert await logs.found(written_after_us=1) == ["i-2"]
    assert await logs.found(variant_name="none") == []


async def test_an_instance_is_told_with_its_state_until_nothing_is_known_of_it(logs: Logs) -> None:
    running = make.instance()
    logs.write(running.id, 2)
    logs.write("long-gone", 1)
    page = await logs.commands.page(logs.endpoint.upper(), LogQuery(limit=9))
    assert [(one.log.name.instance_id, one.state) for one in page.items] == [
        (running.id, running.state),
        ("long-gone", None),
    ]
    assert running.state is InstanceState.IN_SERVICE


async def test_logs_outlive_the_last_trace_of_their_endpoint(logs: Logs) -> None:
    nobody = Logs(World())
    nobody.write("i-1", 1)
    assert await nobody.found() == ["i-1"]


async def test_an_endpoint_without_logs_has_none_and_an_unknown_one_is_an_error(logs: Logs) -> None:
    assert await logs.found() == []
    with pytest.raises(NotFound, match=r'Could not find endpoint ".*unknown"'):
        await logs.commands.page("unknown", LogQuery(limit=1))


@pytest.mark.parametrize("token", ["", "1", "1,i", "x,i,c", "-1,i,"])
async def test_a_token_that_was_not_given_out_is_refused(logs: Logs, token: str) -> None:
    logs.write("i-1", 1)
    with pytest.raises(InvalidRequest, match="begin the list again"):
        await logs.commands.page(logs.endpoint, LogQuery(limit=1, token=token))


async def test_an_offset_before_the_beginning_is_refused(logs: Logs) -> None:
    logs.write("i-1", 1)
    name = LogName(endpoint_name=logs.endpoint, variant_name="v", instance_id="i-1")
    with pytest.raises(InvalidRequest, match="Expected an Offset of 0 or more, got -1"):
        await logs.commands.read(name, -1, 1)
    assert (await logs.commands.read(name, 1, 2)).content == b"or"
