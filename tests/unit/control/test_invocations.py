"""The commands on invocations: waits, stops and moves by name, purges, redrives, and what a call says that did not come far."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support import entities as make
from tests.support.control import World

from tarry.control import redrives
from tarry.control.invocations import CHANGE_S, Changed
from tarry.core.endpoint import Endpoint
from tarry.core.errors import Conflict, InvalidRequest, NotFound, StorageFull, TarryError, Throttled
from tarry.core.invocation import Invocation, InvocationState
from tarry.core.retry_policy import RetryPolicy
from tarry.ports import Add, Change, InvocationQuery, channel_invocation

S = InvocationState
ANY = InvocationQuery()


@pytest.fixture
async def world() -> World:
    made = World()
    await made.store.apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
    return made


async def put(world: World, *ids: str, name: str | None = None, body: bytes | None = None, **over: object) -> None:
    for each in ids:
        named = {"named_by_caller": name is not None, "inference_id": name or each}
        location = {"input_location": None} if body is not None else {}
        await world.queue.put(make.invocation(each, **named, **location, **over), body)


async def end(world: World, state: InvocationState = S.FAILED, count: int = 1) -> None:
    """The first that wait come to this end."""
    for claim in await world.queue.claim(make.instance(), count):
        await world.queue.decide(claim.lease, make.decision(claim.invocation.id, state))
        await world.queue.finish(claim.invocation.id)


def refuse(world: World, errors: Callable[[int], TarryError | None]) -> None:
    """Puts fail as ``errors`` says of the n-th."""
    real, count = world.queue.put, iter(range(10_000))

    async def put_or_fail(invocation: Invocation, body: bytes | None, *, same_since_us: int | None = None) -> Invocation:
        if (error := errors(next(count))) is not None:
            raise error
        return await real(invocation, body, same_since_us=same_since_us)

    world.queue.put = put_or_fail  # type: ignore[method-assign]


# ---------------------------------------------------------------------------------------------------------------- waits


async def test_a_wait_ends_at_the_hint(world: World) -> None:
    await put(world, "1")
    waiting = asyncio.create_task(world.commands.invocations.wait("1", 3600))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    await end(world, S.STOPPED)
    assert channel_invocation("1") in world.wakeups.hints
    assert (await waiting).history.record.state is S.STOPPED


async def test_a_wait_that_is_over_tells_how_it_is(world: World) -> None:
    await put(world, "1")
    described = await world.commands.invocations.wait("1", 0)
    assert described.history.record.state is S.QUEUED
    assert described.place is not None
    with pytest.raises(NotFound):
        await world.commands.invocations.wait("none", 0)


# ---------------------------------------------------------------------------------------------------------------- names


async def test_a_stop_by_name_ends_all_that_have_not_ended_and_lists_them(world: World) -> None:
    await put(world, *(f"n{n}" for n in range(150)), name="mine")
    await put(world, "other")
    await end(world, count=2)
    (running,) = await world.queue.claim(make.instance(), 1)
    stopped = await world.commands.invocations.stop_named("mine")
    assert [record.id for record in stopped.records] == [f"n{n}" for n in reversed(range(2, 150))]
    assert all(record.stop_requested for record in stopped.records)
    assert not stopped.more_may_match
    assert running.invocation.id == "n2"
    assert not (await world.commands.invocations.record("other")).stop_requested
    assert (await world.commands.invocations.stop_named("mine")).records == stopped.records, (
        "what is to be stopped has not ended yet"
    )
    with pytest.raises(NotFound):
        await world.commands.invocations.stop_named("other")  # its id; nobody called it so


async def test_all_of_a_name_that_wait_are_moved(world: World) -> None:
    await put(world, "1", "2", "3", name="mine")
    await world.queue.claim(make.instance(), 1)
    moved = await world.commands.invocations.prioritise_named("mine", 7)
    assert [(record.id, record.priority) for record in moved.records] == [("3", 7), ("2", 7)]
    await world.queue.claim(make.instance(), 2)
    with pytest.raises(InvalidRequest, match='"mine" waits: the newest, "3", is Running'):
        await world.commands.invocations.prioritise_named("mine", 1)
    with pytest.raises(InvalidRequest, match="from -9 to 9"):
        await world.commands.invocations.prioritise_named("mine", 10)
    assert (await world.commands.invocations.newest("mine")).id == "3"


@pytest.mark.parametrize("operation", ["stop", "prioritise"])
async def test_changing_all_of_a_name_ends_in_time_and_the_next_call_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    ids = [f"n{n:03}" for n in range(250)]  # three pages
    await put(world, *ids, name="mine")
    changes = []

    def slow(change: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def slowly(id: str, *more: Any) -> object:
            changes.append(id)
            world.clock.advance(CHANGE_S / 150)
            return await change(id, *more)

        return slowly

    monkeypatch.setattr(world.ports.control, operation, slow(getattr(world.ports.control, operation)))
    commands = world.commands.invocations

    async def call() -> Changed:
        return await (commands.stop_named("mine") if operation == "stop" else commands.prioritise_named("mine", 3))

    first, second = await call(), await call()
    assert (len(first.records), first.more_may_match) == (200, True)
    assert (len(second.records), second.more_may_match) == (250, False)
    assert changes == ids[::-1], "what is as it is wanted takes no time again"


async def test_a_purge_is_of_one_endpoint(world: World) -> None:
    await world.store.apply(Add(make.endpoint("other")))
    await put(world, "1", "2")
    await put(world, "elsewhere", endpoint_id="endpoint-other")
    assert await world.commands.invocations.purge("e") == 2
    assert not (await world.commands.invocations.record("elsewhere")).stop_requested
    with pytest.raises(NotFound):
        await world.commands.invocations.purge("none")


# -------------------------------------------------------------------------------------------------------------- redrives


async def test_what_is_asked_again_is_the_same_with_its_last_priority(world: World) -> None:
    await put(world, "1", body=b"inline", priority=1)
    await world.commands.invocations.prioritise("1", 7)
    await end(world)
    (one,) = (await world.commands.redrives.these(["1", "1"])).done
    assert one.again is not None
    again = await world.commands.invocations.record(one.again)
    before = await world.commands.invocations.record("1")
    assert (again.priority, again.invocation.priority, before.redriven_as) == (7, 7, again.id)
    assert again.invocation.output_location == before.invocation.output_location
    (claim,) = await world.queue.claim(make.instance(), 1)
    assert (claim.invocation.id, claim.body) == (again.id, b"inline")


async def test_of_a_name_the_newest_is_asked_again(world: World) -> None:
    await put(world, "1", "2", name="mine")
    await end(world, count=2)
    (one,) = (await world.commands.redrives.these([], ["mine"])).done
    assert one.ended.id == "2"
    with pytest.raises(InvalidRequest, match="is Queued"):
        await world.commands.redrives.these([], ["mine"])


@pytest.mark.parametrize("wrong", ["completed", "redriven", "none"])
async def test_nothing_is_asked_again_if_one_of_them_cannot_be(world: World, wrong: str) -> None:
    await put(world, "completed")
    await end(world, S.COMPLETED)
    await put(world, "1", "redriven")
    await end(world, count=2)
    await world.commands.redrives.these(["redriven"])
    with pytest.raises(InvalidRequest if wrong != "none" else NotFound):
        await world.commands.redrives.these(["1", wrong])
    assert (await world.commands.invocations.record("1")).redriven_as is None


async def test_of_redrives_of_one_at_the_same_time_one_is_done_and_the_others_are_told_which(world: World) -> None:
    await put(world, "1")
    await end(world)
    answers = await asyncio.gather(*(world.commands.redrives.these(["1"]) for _ in range(4)), return_exceptions=True)
    (done,) = [each for each in answers if isinstance(each, redrives.Redriven)]
    refused = [each for each in answers if isinstance(each, InvalidRequest)]
    assert len(refused) == 3
    assert {str(each) for each in refused} == {f'The invocation "1" has been redriven as "{done.done[0].again}".'}


async def test_all_that_match_are_asked_again_once_newest_first(world: World) -> None:
    await put(world, "1", "2", "3")
    await end(world, count=2)
    await end(world, S.COMPLETED)
    matching = world.commands.redrives.matching
    assert [each.ended.id for each in (await matching(ANY, "e", limit=9, dry_run=True)).done] == ["2", "1"]
    first = await matching(ANY, "e", limit=1)
    assert [each.ended.id for each in first.done] == ["2"]
    assert (first.remaining, first.more_may_match) == (0, True)
    dry = await matching(ANY, "e", limit=1, dry_run=True)
    assert [(each.ended.id, each.again) for each in dry.done] == [("1", None)], "what has been redriven does not count"
    assert not dry.more_may_match
    assert [each.ended.id for each in (await matching(ANY, "e", limit=9)).done] == ["1"]
    assert (await matching(ANY, "e", limit=9)).done == ()
    for states, endpoint, error in (({S.QUEUED}, "e", InvalidRequest), (set(), "none", NotFound)):
        with pytest.raises(error):
            await matching(replace(ANY, states=frozenset(states)), endpoint, limit=9)


async def test_puts_are_made_together(world: World) -> None:
    """So they share commits: one fsync each made ten thousand of them a matter of minutes."""
    ids = [f"n{n}" for n in range(redrives.GROUP)]
    await put(world, *ids)
    await end(world, count=len(ids))
    real, waiting, all_here = world.queue.put, iter(range(1, len(ids) + 1)), asyncio.Event()

    async def put_together(invocation: Invocation, body: bytes | None, *, same_since_us: int | None = None) -> Invocation:
        if next(waiting) == len(ids):
            all_here.set()
        await all_here.wait()
        return await real(invocation, body, same_since_us=same_since_us)

    world.queue.put = put_together  # type: ignore[method-assign]
    async with asyncio.timeout(10):
        assert len((await world.commands.redrives.matching(ANY, "e", limit=1000)).done) == len(ids)


@pytest.mark.parametrize("error", [Throttled("too many wait"), StorageFull("no room")], ids=repr)
async def test_what_was_done_before_a_refusal_is_told(world: World, error: TarryError) -> None:
    ids = [f"n{n:03}" for n in range(redrives.GROUP + 20)]
    await put(world, *ids)
    await end(world, count=len(ids))
    refuse(world, lambda n: error if n >= 10 else None)
    redriven = await world.commands.redrives.these(ids)
    assert [each.ended.id for each in redriven.done] == ids[:10]
    assert (redriven.remaining, redriven.reason) == (len(ids) - 10, str(error))
    for each in redriven.done:
        assert (await world.commands.invocations.record(each.ended.id)).redriven_as == each.again
    with pytest.raises(type(error)):  # nothing was done: nothing is hidden
        await world.commands.redrives.these(ids[10:])


async def test_it_answers_in_time_with_what_was_done(world: World) -> None:
    ids = [f"n{n:03}" for n in range(redrives.GROUP * 3)]
    await put(world, *ids)
    await end(world, count=len(ids))

    def slow(n: int) -> None:
        if n in (redrives.GROUP - 1, 2 * redrives.GROUP - 1):
            world.clock.advance(redrives.ASK_S * 0.6)

    refuse(world, slow)
    redriven = await world.commands.redrives.matching(ANY, "e", limit=1000)
    assert (len(redriven.done), redriven.remaining) == (2 * redrives.GROUP, redrives.GROUP)
    assert "Ask again for the rest" in (redriven.reason or "")
    rest = await world.commands.redrives.matching(ANY, "e", limit=1000)
    assert (len(rest.done), rest.remaining, rest.reason) == (redrives.GROUP, 0, None)


async def test_looking_for_what_matches_comes_to_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redrives, "PAGE", 2)
    await put(world, "1", "2", "3", "4", "5")
    await end(world, count=5)
    page = world.ports.records.page

    async def slow_page(query: InvocationQuery) -> object:
        world.clock.advance(redrives.LOOK_S * 0.6)
        return await page(query)

    monkeypatch.setattr(world.ports.records, "page", slow_page)
    dry = await world.commands.redrives.matching(ANY, "e", limit=1000, dry_run=True)
    assert ([each.ended.id for each in dry.done], dry.more_may_match) == (["5", "4", "3", "2"], True)


async def test_who_was_first_is_left_alone(world: World) -> None:
    await put(world, "1", "2")
    await end(world, count=2)
    refuse(world, lambda n: Conflict("somebody was first") if n == 0 else None)
    redriven = await world.commands.redrives.these(["1", "2"])
    assert ([each.ended.id for each in redriven.done], redriven.remaining) == (["2"], 0)


# ------------------------------------------------------------------------------------------------------- retry policies


@pytest.mark.parametrize(("conflicts", "goes"), [(0, True), (4, True), (5, False)])
async def test_a_retry_policy_is_set_beside_other_changes(world: World, conflicts: int, goes: bool) -> None:
    apply: Callable[..., Awaitable[None]] = world.store.apply
    left = [Conflict("changed")] * conflicts

    async def apply_or_fail(*changes: Change) -> None:
        if left:
            raise left.pop()
        await apply(*changes)

    world.store.apply = apply_or_fail  # type: ignore[method-assign]
    policy = RetryPolicy(attempts_max=2)
    setting = world.commands.endpoints.set_retry_policy("e", policy)
    if not goes:
        with pytest.raises(Conflict):
            await setting
        return
    assert (await setting).retry == policy
    stored = await world.store.named(Endpoint, "e")
    assert stored is not None
    assert stored.retry == policy
    with pytest.raises(InvalidRequest):
        await world.commands.endpoints.set_retry_policy("e", RetryPolicy(attempts_max=99))
    assert (await world.commands.endpoints.set_retry_policy("e", None)).retry is None
