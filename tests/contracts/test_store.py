"""What ports.Store promises, held against SQL and the fake."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import entities as make

from tarry.backends.database.schema import metadata
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.core.catalog import EndpointConfig, Model, TagSet
from tarry.core.deployment import Deployment, DeploymentState, Routing, Share
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.errors import AlreadyExists, Bug, Conflict, InvalidRequest
from tarry.core.history import InvocationRecord
from tarry.core.instance import Instance, InstanceState
from tarry.ports import CHANNEL_ENDPOINTS, Add, PageQuery, Remove, Replace, SortBy, Store, channel_queue
from tarry.testing.store import FakeStore
from tarry.testing.wakeups import FakeWakeups


@dataclass
class Case:
    store: Store
    wakeups: FakeWakeups


@pytest.fixture(params=["sql", "fake"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    wakeups = FakeWakeups()
    if request.param == "fake":
        yield Case(FakeStore(wakeups), wakeups)
        return
    database = await Database.open(tmp_path / "tarry.db", create=metadata)
    try:
        yield Case(SqlStore(database, wakeups), wakeups)
    finally:
        await database.close()


@pytest.fixture
def store(case: Case) -> Store:
    return case.store


EVERY_KIND: list[tuple[type[Any], Any]] = [
    (Model, make.model("Model-Ä")),
    (EndpointConfig, make.config()),
    (Endpoint, make.endpoint()),
    (Deployment, make.deployment()),
    (Routing, make.routing(weights={("d", "v"): 0.7, ("d", "w"): 0.3})),
    (Instance, make.instance()),
    (TagSet, make.tag_set(a="1", b="")),
]


@pytest.mark.parametrize(("kind", "entity"), EVERY_KIND, ids=lambda value: getattr(value, "__name__", ""))
async def test_an_entity_comes_back_as_it_was(store: Store, kind: type[Any], entity: Any) -> None:
    assert await store.get(kind, entity.id) is None
    await store.apply(Add(entity))
    assert await store.get(kind, entity.id) == entity
    await store.apply(Replace(entity))
    assert await store.get(kind, entity.id) == replace(entity, revision=1)
    await store.apply(Remove(replace(entity, revision=1)))
    assert await store.get(kind, entity.id) is None


@pytest.mark.parametrize(("kind", "entity"), EVERY_KIND, ids=lambda value: getattr(value, "__name__", ""))
async def test_only_the_revision_that_was_read_can_be_changed(store: Store, kind: type[Any], entity: Any) -> None:
    with pytest.raises(Conflict):
        await store.apply(Replace(entity))
    with pytest.raises(Conflict):
        await store.apply(Remove(entity))
    await store.apply(Add(entity))
    await store.apply(Replace(entity))
    with pytest.raises(Conflict):
        await store.apply(Replace(entity))
    with pytest.raises(Conflict):
        await store.apply(Remove(entity))
    with pytest.raises(AlreadyExists):
        await store.apply(Add(entity))
    stored: Any = await store.get(kind, entity.id)
    assert stored.revision == 1


async def test_of_many_writers_of_one_revision_one_wins(store: Store) -> None:
    await store.apply(Add(make.endpoint()))
    results = await asyncio.gather(
        *(store.apply(Replace(make.endpoint(config_name=f"c{n}"))) for n in range(20)), return_exceptions=True
    )
    assert [type(result) for result in results].count(Conflict) == 19
    found = await store.get(Endpoint, "endpoint-e")
    assert found is not None
    assert found.revision == 1
    assert results[int(found.config_name[1:])] is None


@pytest.mark.parametrize("maker", [make.model, make.config, make.endpoint])
async def test_names_are_unique_without_case(store: Store, maker: Any) -> None:
    first = maker("Some-Name")
    await store.apply(Add(first))
    assert await store.named(type(first), "sOME-nAME") == first
    assert await store.named(type(first), "other") is None
    with pytest.raises(AlreadyExists, match="SOME-NAME"):
        await store.apply(Add(maker("SOME-NAME", id="another")))
    await store.apply(Remove(first))
    assert await store.named(type(first), "Some-Name") is None
    await store.apply(Add(maker("some-name", id="another")))
    second: Any = await store.named(type(first), "Some-Name")
    assert second.id == "another"


async def test_the_name_of_a_deleted_endpoint_is_free_and_its_tombstone_stays(store: Store) -> None:
    old = make.endpoint("e", id="old")
    await store.apply(Add(old))
    assert await store.named(Endpoint, "e") == old
    await store.apply(Replace(replace(old, status=EndpointStatus.DELETED)))
    assert await store.named(Endpoint, "e") is None
    assert (await store.page(Endpoint, PageQuery())).items == ()
    await store.apply(Add(make.endpoint("E", id="new")))
    tombstone = await store.get(Endpoint, "old")
    assert tombstone is not None
    assert tombstone.status is EndpointStatus.DELETED
    assert await store.find(Endpoint, status=EndpointStatus.DELETED) == [tombstone]
    assert [each.id for each in await store.find(Endpoint, name_key="e")] == ["old", "new"]
    with pytest.raises(AlreadyExists):  # nobody rises from the dead under a name that is taken
        await store.apply(Replace(replace(tombstone, status=EndpointStatus.IN_SERVICE)))


async def test_all_changes_happen_or_none(case: Case) -> None:
    store = case.store
    await store.apply(Add(make.endpoint()))
    case.wakeups.hints.clear()
    with pytest.raises(AlreadyExists):
        await store.apply(
            Add(make.model()), Replace(make.endpoint(config_name="other")), Add(make.routing()), Add(make.endpoint("E", id="x"))
        )
    assert await store.get(Model, "model-m") is None
    assert await store.get(Routing, "endpoint-e") is None
    assert await store.get(Endpoint, "endpoint-e") == make.endpoint()
    assert case.wakeups.hints == []


async def test_a_change_is_seen_by_the_next_read_even_if_it_was_read_before(store: Store) -> None:
    now = make.endpoint()
    await store.apply(Add(now))
    for n in range(20):
        assert await store.get(Endpoint, now.id) == now
        assert await store.named(Endpoint, now.name) == now
        await store.apply(Replace(replace(now, config_name=f"c{n}")))
        now = replace(now, config_name=f"c{n}", revision=now.revision + 1)


async def test_reads_beside_writes_never_go_back(store: Store) -> None:
    await store.apply(Add(make.endpoint()))
    done = False

    async def read() -> list[int]:
        seen = []
        while not done:
            found = await store.get(Endpoint, "endpoint-e")
            assert found is not None
            seen.append(found.revision)
            await asyncio.sleep(0)
        return seen

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for n in range(50):
        await store.apply(Replace(replace(make.endpoint(), revision=n)))
    done = True
    for seen in await asyncio.gather(*readers):
        assert seen == sorted(seen)


async def test_find_by_indexed_fields(store: Store) -> None:
    one, two = make.instance("1"), make.instance("2", state=InstanceState.PENDING, deployment_id="d2")
    three = make.instance("3", endpoint_id="other", state=InstanceState.FAILED)
    await store.apply(Add(one), Add(two), Add(three))
    assert await store.find(Instance) == [one, two, three]
    assert await store.find(Instance, endpoint_id="endpoint-e") == [one, two]
    assert await store.find(Instance, state=[InstanceState.IN_SERVICE, InstanceState.FAILED]) == [one, three]
    assert await store.find(Instance, endpoint_id="endpoint-e", deployment_id="d2", state="Pending") == [two]
    assert await store.find(Instance, state=[]) == []
    assert await store.find(Instance, limit=2) == [one, two]
    assert await store.find(Instance, limit=0, endpoint_id="endpoint-e") == []
    await store.apply(Add(make.deployment()), Add(make.deployment("d2", state=DeploymentState.FAILED)))
    assert [d.id for d in await store.find(Deployment, endpoint_id="endpoint-e", state="Failed")] == ["d2"]
    assert await store.find(InvocationRecord, endpoint_id="endpoint-e", state=["Queued", "Running"], instance_id="1") == []
    with pytest.raises(Bug):
        await store.find(Instance, addresses="http://127.0.0.1:1")
    with pytest.raises(Bug):
        await store.named(Deployment, "d")


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("sort_by", list(SortBy))
async def test_pages_are_complete_and_in_order(store: Store, sort_by: SortBy, ascending: bool) -> None:
    statuses = [EndpointStatus.IN_SERVICE, EndpointStatus.FAILED]
    made = [
        make.endpoint(name, created_at_us=make.NOW_US + n // 3, status=statuses[n % 2])
        for n, name in enumerate(["b", "A", "c", "E", "d", "g", "F", "h"])
    ]
    await store.apply(*(Add(endpoint) for endpoint in made))
    keys = {
        SortBy.NAME: lambda e: e.name.lower(),
        SortBy.CREATION_TIME: lambda e: e.created_at_us,
        SortBy.STATUS: lambda e: e.status,
    }
    expected = sorted(made, key=lambda e: (keys[sort_by](e), made.index(e)), reverse=not ascending)
    seen: list[Endpoint] = []
    token = None
    pages = 0
    while pages == 0 or token is not None:
        pages += 1
        page = await store.page(Endpoint, PageQuery(limit=3, token=token, sort_by=sort_by, ascending=ascending))
        seen += page.items
        token = page.next_token
    assert seen == expected
    assert pages == 3
    exact = await store.page(Endpoint, PageQuery(limit=8))
    assert exact.next_token is None


async def test_pages_do_not_shift_when_entities_come_and_go(store: Store) -> None:
    made = {name: make.model(name, created_at_us=make.NOW_US) for name in "abcdef"}
    await store.apply(*(Add(model) for model in made.values()))
    query = PageQuery(limit=2, sort_by=SortBy.NAME, ascending=True)
    first = await store.page(Model, query)
    assert [model.name for model in first.items] == ["a", "b"]
    await store.apply(Remove(made["b"]), Remove(made["c"]), Add(make.model("aa")), Add(make.model("dd")))
    second = await store.page(Model, replace(query, token=first.next_token))
    assert [model.name for model in second.items] == ["d", "dd"]


async def test_page_filters(store: Store) -> None:
    made = [make.endpoint(n, created_at_us=i, modified_at_us=10 + i) for i, n in enumerate(["my_one", "My-Two", "100%"])]
    made[2] = replace(made[2], status=EndpointStatus.CREATING)
    await store.apply(*(Add(endpoint) for endpoint in made))

    async def names(**query: Any) -> list[str]:
        found = await store.page(Endpoint, PageQuery(sort_by=SortBy.CREATION_TIME, ascending=True, **query))
        return [endpoint.name for endpoint in found.items]

    assert await names(name_contains="MY") == ["my_one", "My-Two"]
    assert await names(name_contains="_") == ["my_one"]
    assert await names(name_contains="%") == ["100%"]
    assert await names(status="Creating") == ["100%"]
    assert await names(created_after_us=0, created_before_us=2) == ["My-Two"]
    assert await names(modified_after_us=10, modified_before_us=12) == ["My-Two"]
    assert await names(name_contains="nothing") == []


def forged(document: str) -> str:
    return base64.urlsafe_b64encode(document.encode()).decode()


async def test_bad_page_queries(store: Store) -> None:
    await store.apply(*(Add(make.endpoint(name)) for name in "abc"))
    by_name = await store.page(Endpoint, PageQuery(limit=1, sort_by=SortBy.NAME))
    assert by_name.next_token
    bad = ["", "x", "====", "é", "W10=", "[]", "WzFd", by_name.next_token[:-3], "A" * 100_000, "bnVsbA==", "W1tbW1tb" * 3000]
    for token in bad:
        with pytest.raises(InvalidRequest):
            await store.page(Endpoint, PageQuery(token=token))
    for document in ('["Name",false,"\\ud800",1]', '["Name",false,7,1]', '["Name",false,"a",1.5]', '["Name",false,"a",true]'):
        with pytest.raises(InvalidRequest):  # forged, with what no page ends in
            await store.page(Endpoint, PageQuery(token=forged(document), sort_by=SortBy.NAME))
    with pytest.raises(InvalidRequest):
        await store.page(Endpoint, PageQuery(token=forged('["CreationTime",false,"a",1]')))
    with pytest.raises(InvalidRequest):  # a token of another order
        await store.page(Endpoint, PageQuery(token=by_name.next_token, sort_by=SortBy.CREATION_TIME))
    for limit in (0, -1):
        with pytest.raises(InvalidRequest):
            await store.page(Endpoint, PageQuery(limit=limit))
    await store.apply(Add(make.model()))
    with pytest.raises(InvalidRequest):
        await store.page(Model, PageQuery(sort_by=SortBy.STATUS))
    with pytest.raises(InvalidRequest):
        await store.page(Model, PageQuery(modified_after_us=1))


async def test_a_routing_gives_a_bucket_once(store: Store) -> None:
    for buckets in [(1, 1), (100,), (-1,)]:
        with pytest.raises(Bug):
            await store.apply(Add(Routing(id="endpoint-e", shares=(Share("d", "v", buckets),))))
    assert await store.get(Routing, "endpoint-e") is None


async def test_hints_follow_changes(case: Case) -> None:
    await case.store.apply(Add(make.model()), Add(make.tag_set()), Add(make.config()))
    assert case.wakeups.hints == []
    await case.store.apply(Add(make.endpoint()), Add(make.deployment()))
    assert set(case.wakeups.hints) == {CHANNEL_ENDPOINTS}
    case.wakeups.hints.clear()
    await case.store.apply(Add(make.instance()))
    assert set(case.wakeups.hints) == {CHANNEL_ENDPOINTS, channel_queue("endpoint-e")}
    case.wakeups.hints.clear()
    await case.store.apply(Add(make.routing("other")))
    assert set(case.wakeups.hints) == {CHANNEL_ENDPOINTS, channel_queue("other")}


async def test_hints_follow_every_kind_of_change(case: Case) -> None:
    """Whoever changes rows hints nobody himself."""
    instance, routing = make.instance(), make.routing("other")
    await case.store.apply(Add(make.endpoint()), Add(make.deployment()), Add(instance), Add(routing))
    for change, channels in (
        (Replace(make.endpoint()), {CHANNEL_ENDPOINTS}),
        (Replace(make.deployment()), {CHANNEL_ENDPOINTS}),
        (Replace(instance), {CHANNEL_ENDPOINTS, channel_queue("endpoint-e")}),
        (Replace(routing), {CHANNEL_ENDPOINTS, channel_queue("other")}),
        (Remove(replace(instance, revision=1)), {CHANNEL_ENDPOINTS, channel_queue("endpoint-e")}),
        (Remove(replace(routing, revision=1)), {CHANNEL_ENDPOINTS, channel_queue("other")}),
    ):
        case.wakeups.hints.clear()
        await case.store.apply(change)
        assert set(case.wakeups.hints) == channels
