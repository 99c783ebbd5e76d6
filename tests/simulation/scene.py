"""A plan carried out: servers come and go, requests are sent, troubles happen, and at last everything comes to rest."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.simulation.durable import COMPLETED_TOPIC, FAILED_TOPIC, fingerprint
from tests.simulation.ledger import ENDED, Violation
from tests.simulation.loop import Part
from tests.simulation.machines import SimulatedEngine
from tests.simulation.plan import ACTIVE_S, ENDPOINT, SERVER_TROUBLES, Happening, Plan, Planned, Trouble
from tests.simulation.server import Server, ServerGone, World

from tarry.control.commands import Commands
from tarry.control.requests import CreateEndpoint, CreateEndpointConfig, CreateModel, UpdateEndpoint
from tarry.core.catalog import AsyncInferenceConfig, Container, Variant
from tarry.core.deployment import DesiredCapacity
from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import NotFound, TarryError

REST_S_MAX = 900.0
"""So long the world may take to come to rest when nothing goes wrong any more: instances that keep dying are replaced slowly."""
SENDS_MAX = 10
"""So often a request is sent that insists."""


class Scene:
    """One run of a plan."""

    def __init__(self, plan: Plan, world: World, chance: random.Random, note: Callable[[str], None]) -> None:
        self._plan = plan
        self._world = world
        self._chance = chance
        self._note = note
        self._engine = SimulatedEngine(world.machines)
        self._servers: list[Server] = []
        self._server: Server | None = None
        self._deleted = False
        self._aside = Part("aside")
        """Requests and troubles under way."""

    async def play(self) -> None:
        """Everything, from the first start to the last stop. Errors: Violation."""
        await self._new_server()
        await self._deploy()
        self._world.weather.take(self._plan.weather)
        at_once = [self._at(planned.at_s, self._send(planned)) for planned in self._plan.requests]
        in_turn = [each for each in self._plan.happenings if each.trouble in SERVER_TROUBLES]
        beside = [each for each in self._plan.happenings if each.trouble not in SERVER_TROUBLES]
        at_once += [self._at(each.at_s, self._happen(each)) for each in beside]
        tasks = [self._aside.spawn(work) for work in (*at_once, self._in_turn(in_turn))]
        await asyncio.gather(*tasks, asyncio.sleep(ACTIVE_S))
        self._note("the weather clears")
        self._world.weather.clear()
        self._world.durable.fill_disk(full=False)
        await self._rest()
        await self._stop()

    async def end(self) -> None:
        """Nothing of the run goes on."""
        self._aside.kill()
        for server in self._servers:
            await server.crash()
        parts = [self._aside, *(part for server in self._servers for part in (server.control, server.delivery))]
        await _until(lambda: not any(part.tasks for part in parts), 0)

    # -------------------------------------------------------------------------------------------------- servers

    async def _new_server(self) -> Server:
        """Start a server, as a supervisor does: as often as it takes."""
        while True:
            if not self._plan.engine_survives:
                self._engine = SimulatedEngine(self._world.machines)
            server = Server(len(self._servers) + 1, self._world, self._engine, engine_survives=self._plan.engine_survives)
            self._servers.append(server)
            self._note(f"server {len(self._servers)} starts")
            try:
                await server.start()
            except (TarryError, ServerGone) as error:
                self._note(f"server {len(self._servers)} could not start: {error}")
                await server.crash()
                await asyncio.sleep(1.0)
                continue
            self._server = server
            return server

    async def _calling(self, ask: Callable[[Server], Awaitable[Any]]) -> Any:
        if self._server is None:
            raise ServerGone
        return await ask(self._server)

    async def _deploy(self) -> None:
        server = self._server
        assert server is not None
        for key, body in self._plan.inputs.items():
            await server.put_input(key, body)
        container = Container(image="stub:1")
        await server.ask(lambda c: c.models.create(CreateModel(name="m", containers=(container,))))
        for config in ("one", "two"):
            await server.ask(lambda c, name=config: c.endpoint_configs.create(self._config(name)))  # type: ignore[misc]
        await server.ask(lambda c: c.endpoints.create(CreateEndpoint(name=ENDPOINT, config_name="one")))
        await _until(self._is_in_service, 0.5)
        if self._plan.retry is not None:
            await server.ask(lambda c: c.endpoints.set_retry_policy(ENDPOINT, self._plan.retry))

    def _is_in_service(self) -> bool:
        found = self._world.durable.named(ENDPOINT)
        return found is not None and found.status is EndpointStatus.IN_SERVICE

    def _config(self, name: str) -> CreateEndpointConfig:
        plan = self._plan
        variants = tuple(
            Variant(name=name, model_name="m", instance_type="ml.m5.xlarge", initial_instance_count=count, initial_weight=weight)
            for name, count, weight in plan.variants
        )
        inference = AsyncInferenceConfig(
            s3_output_path="s3://results/out",
            success_topic=COMPLETED_TOPIC,
            error_topic=FAILED_TOPIC,
            max_concurrent_invocations_per_instance=plan.concurrency,
            include_response_on_success=plan.include_response,
            include_response_on_error=plan.include_response,
        )
        return CreateEndpointConfig(name=name, variants=variants, async_inference=inference)

    # ------------------------------------------------------------------------------------------ requests and troubles

    async def _at(self, at_s: float, work: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.sleep(at_s)
        except asyncio.CancelledError:
            work.close()
            raise
        await work

    async def _send(self, planned: Planned) -> None:
        if not planned.insists:
            await self._send_once(planned)
            return
        twins = await asyncio.gather(*(self._send_until_accepted(planned) for _ in range(2)))
        if len(set(twins) - {None}) > 1:
            raise Violation(f"idempotency: {planned.request.inference_id} is {twins}")

    async def _send_until_accepted(self, planned: Planned) -> str | None:
        for _ in range(SENDS_MAX):
            if (accepted := await self._send_once(planned)) is not None:
                return accepted
            await asyncio.sleep(self._chance.random() * 2)
        return None

    async def _send_once(self, planned: Planned) -> str | None:
        name = planned.request.inference_id
        try:
            invocation_id: str = await self._calling(lambda server: server.invoke(planned.request))
        except (TarryError, ServerGone) as error:
            self._note(f"{name} is not accepted: {error!r}")
            return None
        self._note(f"{name} is accepted as {invocation_id}")
        self._world.judge.accept(invocation_id)
        return invocation_id

    async def _in_turn(self, happenings: list[Happening]) -> None:
        """Troubles of servers, one after another: at each time there is one that should be there."""
        begin_s = self._world.terms.clock.monotonic()
        for each in happenings:
            await asyncio.sleep(max(0.0, begin_s + each.at_s - self._world.terms.clock.monotonic()))
            await self._happen(each)

    async def _happen(self, each: Happening) -> None:
        self._note(f"trouble: {each.trouble} for {each.lasts_s:.3f} s")
        match each.trouble:
            case Trouble.CRASH:
                await self._crash(each.lasts_s)
            case Trouble.SUPERSEDE:
                await self._supersede(each.lasts_s)
            case Trouble.PAUSE:
                await self._pause(each.lasts_s)
            case Trouble.TERMINATE:
                await self._restart(each.lasts_s)
            case Trouble.INSTANCE_DIES:
                if running := self._world.machines.running():
                    self._chance.choice(running).end("died")
            case Trouble.DISK_FULL:
                await self._while(each, "disk_full")
            case Trouble.STORE_DOWN:
                await self._while(each, "store_down")
            case Trouble.TOPICS_DOWN:
                await self._while(each, "topics_down")
            case Trouble.CLOCK_SET:
                self._world.set_wall(self._chance.choice((-1, 1)) * each.lasts_s)
            case _:
                await self._command(each.trouble)

    async def _crash(self, lasts_s: float) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.crash()
        await asyncio.sleep(lasts_s)
        await self._new_server()

    async def _supersede(self, lasts_s: float) -> None:
        """A delivery process is taken for dead, replaced, and comes back; in the end it is put down."""
        old, self._server = self._server, None
        assert old is not None
        old.hold()
        old.control.kill()
        await asyncio.sleep(lasts_s)
        await self._new_server()
        old.delivery.let_go()
        await asyncio.sleep(lasts_s)
        await old.crash()

    async def _pause(self, lasts_s: float) -> None:
        server = self._server
        assert server is not None
        server.hold()
        await asyncio.sleep(lasts_s)
        server.let_go()

    async def _restart(self, lasts_s: float) -> None:
        """SIGTERM; sometimes somebody loses patience."""
        server = self._server
        assert server is not None
        stopping = self._aside.spawn(server.stop(lasts_s))
        patience_s = self._chance.choice((1000.0, 1000.0, lasts_s))
        done, _ = await asyncio.wait({stopping}, timeout=patience_s)
        if not done:
            await server.crash()
        await asyncio.gather(stopping, return_exceptions=True)
        await server.crash()
        await self._new_server()

    async def _while(self, each: Happening, what: str) -> None:
        weather = self._world.weather
        if what == "disk_full" and self._world.durable.fill_disk(full=True):
            await asyncio.sleep(each.lasts_s)
            self._world.durable.fill_disk(full=False)
            return
        setattr(weather, what, True)
        await asyncio.sleep(each.lasts_s)
        setattr(weather, what, False)

    async def _command(self, trouble: Trouble) -> None:
        command = self._command_for(trouble)
        try:
            answer = await self._calling(lambda server: server.ask(command))
        except (TarryError, ServerGone) as error:
            self._note(f"{trouble} is refused: {error!r}")
            return
        self._deleted = self._deleted or trouble is Trouble.DELETE
        for redrive in answer.done if trouble is Trouble.REDRIVE else ():
            self._note(f"{redrive.ended.id} is asked again as {redrive.again}")
            self._world.judge.accept(redrive.again)

    def _command_for(self, trouble: Trouble) -> Callable[[Commands], Coroutine[Any, Any, Any]]:
        chance, rows = self._chance, self._world.judge.rows
        one = chance.choice(sorted(rows) or ["none"])
        ended = [name for name, row in rows.items() if row.state in ENDED]
        some = chance.sample(ended, min(len(ended), 2))
        counts = [DesiredCapacity(variant_name=name, instance_count=chance.randint(0, 2)) for name, _, _ in self._plan.variants]
        priority = chance.choice((-9, 0, 9))
        commands: dict[Trouble, Callable[[Commands], Coroutine[Any, Any, Any]]] = {
            Trouble.UPDATE: lambda c: c.endpoints.update(UpdateEndpoint(name=ENDPOINT, config_name="two")),
            Trouble.RESCALE: lambda c: c.endpoints.update_capacities(ENDPOINT, counts),
            Trouble.DELETE: lambda c: c.endpoints.delete(ENDPOINT),
            Trouble.STOP: lambda c: c.invocations.stop(one),
            Trouble.PURGE: lambda c: c.invocations.purge(ENDPOINT),
            Trouble.PRIORITISE: lambda c: c.invocations.prioritise(one, priority),
            Trouble.REDRIVE: lambda c: c.redrives.these(some),
        }
        return commands[trouble]

    # -------------------------------------------------------------------------------------------------------- the end

    async def _rest(self) -> None:
        """Wait until everything has ended and been told. Nobody disturbs, so it has to come true."""
        if not self._deleted:
            await self._ask_for_instances()
        clock = self._world.terms.clock
        latest_s = clock.monotonic() + REST_S_MAX
        while unfinished := await self._unfinished():
            if clock.monotonic() > latest_s:
                raise Violation(f"P2: still not at rest after {REST_S_MAX:.0f} s: {unfinished}")
            await asyncio.sleep(0.5)
        self._world.judge.at_rest()
        await self._read_everything()

    async def _ask_for_instances(self) -> None:
        """Somebody may have scaled to nothing; then the queue waits, rightly."""
        counts = [DesiredCapacity(variant_name=name, instance_count=1) for name, _, _ in self._plan.variants]
        while True:
            try:
                await self._calling(lambda server: server.ask(lambda c: c.endpoints.update_capacities(ENDPOINT, counts)))
            except NotFound:
                return
            except TarryError:
                await asyncio.sleep(1.0)
                continue
            return

    async def _unfinished(self) -> list[str]:
        server = self._server
        assert server is not None
        if server.broken is not None:
            raise Violation(f"a loop of the server ended: {server.broken!r}")
        unfinished = self._world.judge.unfinished()
        if self._deleted:
            try:
                found = await server.ask(lambda c: c.endpoints.describe(ENDPOINT))
                unfinished.append(f"the endpoint is {found.endpoint.status}")
            except NotFound:
                pass
        return unfinished

    async def _read_everything(self) -> None:
        """What the listing shows can be read, and is what it says."""
        server = self._server
        assert server is not None
        for uri, expected in self._world.durable.objects().items():
            body = await server.read(uri)
            if fingerprint(body) != expected:
                raise Violation(f"P2: {uri} reads as other bytes than it was decided for")

    async def _stop(self) -> None:
        assert self._server is not None
        await self._server.stop(5.0)


async def _until(condition: Callable[[], bool], every_s: float) -> None:
    while not condition():  # noqa: ASYNC110 - time is simulated
        await asyncio.sleep(every_s)
