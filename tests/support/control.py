"""Values and a small world of fakes for tests of the control plane."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tarry.control.commands import Commands
from tarry.control.context import Context
from tarry.control.instance_keys import InstanceKeys
from tarry.control.invocations import InvocationPorts
from tarry.control.reconciler import Reconciler
from tarry.control.requests import CreateEndpoint, CreateEndpointConfig, CreateModel
from tarry.core.catalog import AsyncInferenceConfig, Container, EndpointConfig, Model, ModelDataSource, Variant
from tarry.core.deployment import DeployedVariant, Deployment, DeploymentState
from tarry.core.endpoint import Endpoint, EndpointStatus
from tarry.core.instance import Instance
from tarry.core.names import Scope
from tarry.ports import Store
from tarry.testing.alarms import FakeAlarms
from tarry.testing.clock import FakeClock
from tarry.testing.engine import FakeEngine
from tarry.testing.ids import FakeIds
from tarry.testing.images import FakeImages
from tarry.testing.invocations import FakeInvocationRecords, FakeQueueControl
from tarry.testing.keyring import FakeKeyring
from tarry.testing.modelserver import FakeModelServer
from tarry.testing.notifier import FakeNotifier
from tarry.testing.objects import FakeObjectStore
from tarry.testing.outbox import FakeOutbox
from tarry.testing.queue import FakeInvocationQueue
from tarry.testing.store import FakeStore
from tarry.testing.wakeups import FakeWakeups

T = TypeVar("T")

SCOPE = Scope(account_id="123456789012", region="us-east-1")
ROLE = "arn:aws:iam::123456789012:role/runner"
TOPIC = "arn:aws:sns:us-east-1:123456789012:told"


def a_variant(name: str = "A", *, count: int = 1, weight: float = 1.0) -> Variant:
    return Variant(name=name, model_name="m", instance_type="ml.m5.xlarge", initial_instance_count=count, initial_weight=weight)


def a_model() -> Model:
    container = Container(image="stub:1", model_data=ModelDataSource(s3_uri="s3://b/m.tar.gz"))
    arn = SCOPE.sagemaker_arn("model", "m")
    return Model(id="m-id", name="m", arn=arn, containers=(container,), execution_role_arn=ROLE, created_at_us=1)


def a_deployment(id: str, *variants: Variant, state: DeploymentState = DeploymentState.STARTING, **changes: Any) -> Deployment:
    chosen = variants or (a_variant(),)
    config = EndpointConfig(
        id=f"c-{id}",
        name=f"config-{id}",
        arn=SCOPE.sagemaker_arn("endpoint-config", f"config-{id}"),
        variants=chosen,
        async_inference=AsyncInferenceConfig(
            s3_output_path="s3://b/out",
            success_topic=changes.pop("success_topic", None),
            error_topic=changes.pop("error_topic", None),
        ),
        created_at_us=1,
    )
    deployed = tuple(
        DeployedVariant(
            variant=variant, model=a_model(), desired_weight=variant.initial_weight, desired_count=variant.initial_instance_count
        )
        for variant in chosen
    )
    values: dict[str, Any] = {"generation": 1, "created_at_us": 1, **changes}
    return Deployment(id=id, endpoint_id="e", config=config, variants=deployed, state=state, **values)


def an_endpoint(status: EndpointStatus = EndpointStatus.CREATING, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {"config_name": "config-d1", "created_at_us": 1, "modified_at_us": 1, **changes}
    return Endpoint(id="e", name="Ep", arn=SCOPE.sagemaker_arn("endpoint", "Ep"), status=status, **values)


@dataclass
class World:
    """Commands and a reconciler over fakes. Nothing moves but by ``settle`` and ``pass_time``."""

    wakeups: FakeWakeups = field(default_factory=FakeWakeups)
    clock: FakeClock = field(default_factory=FakeClock)
    engine: FakeEngine = field(default_factory=FakeEngine)
    models: FakeModelServer = field(default_factory=FakeModelServer)
    images: FakeImages = field(default_factory=FakeImages)
    notifier: FakeNotifier = field(default_factory=lambda: FakeNotifier(TOPIC))
    alarms: FakeAlarms = field(default_factory=FakeAlarms)
    ids: FakeIds = field(default_factory=FakeIds)
    keyring: FakeKeyring = field(default_factory=FakeKeyring)

    objects: FakeObjectStore = field(default_factory=FakeObjectStore)

    def __post_init__(self) -> None:
        for key in ("m.tar.gz", "m", "m/weights", "k"):
            self.objects.put(f"s3://b/{key}", b"model data")
        self.store = FakeStore(self.wakeups)
        self.outbox = FakeOutbox(self.clock)
        self.queue = FakeInvocationQueue(self.store, self.outbox, self.clock, self.ids, self.wakeups)
        ports = InvocationPorts(
            queue=self.queue,
            records=FakeInvocationRecords(self.queue, self.store, self.outbox),
            control=FakeQueueControl(self.queue, self.wakeups),
            wakeups=self.wakeups,
        )
        self.ports = ports
        self.commands = self.commands_over(self.store)
        self.reconciler = self.new_reconciler()

    def commands_over(self, store: Store) -> Commands:
        """Commands over another store than the world's own."""
        context = Context(store=store, clock=self.clock, ids=self.ids, scope=SCOPE, objects=self.objects)
        return Commands(context, self.alarms, self.ports)

    def new_reconciler(self) -> Reconciler:
        keys = InstanceKeys(self.keyring, self.clock)
        return Reconciler(
            self.store,
            self.engine,
            self.models,
            self.images,
            self.notifier,
            self.alarms,
            keys,
            self.clock,
            self.ids,
            self.wakeups,
        )

    async def restart(self) -> None:
        """A new process: process instances have died with the old one."""
        await self.reconciler.close()
        self.engine = FakeEngine()
        self.reconciler = self.new_reconciler()

    async def settle(self, passes: int = 12) -> None:
        """Reconcile until nothing changes any more at this moment."""
        for _ in range(passes):
            await self.reconciler.reconcile()
            for _ in range(20):
                await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step_s: float = 1.0) -> None:
        while seconds > 0:
            self.clock.advance(min(step_s, seconds))
            seconds -= step_s
            await self.settle(2)

    async def until(self, condition: Callable[[], bool], *, within_s: float = 120) -> None:
        waited = 0.0
        while not condition():
            assert waited < within_s, "it never came true"
            await self.pass_time(1.0)
            waited += 1.0

    async def model_and_config(
        self, config: str = "c", *variants: Variant, topics: tuple[str | None, str | None] = (None, None), image: str = "stub:1"
    ) -> None:
        if await self.store.named(Model, "m") is None:
            container = Container(image=image, model_data=ModelDataSource(s3_uri="s3://b/m.tar.gz"), environment={"A": "1"})
            await self.commands.models.create(CreateModel(name="m", containers=(container,), execution_role_arn=ROLE))
        await self.commands.endpoint_configs.create(
            CreateEndpointConfig(
                name=config,
                variants=variants or (a_variant(),),
                async_inference=AsyncInferenceConfig(s3_output_path="s3://b/out", success_topic=topics[0], error_topic=topics[1]),
            )
        )

    async def in_service(self, name: str = "Ep", config: str = "c", *variants: Variant, **options: Any) -> None:
        await self.model_and_config(config, *variants, **options)
        await self.commands.endpoints.create(CreateEndpoint(name=name, config_name=config))
        await self.settle()
        assert self.endpoint(name).status is EndpointStatus.IN_SERVICE, self.endpoint(name)

    def endpoint(self, name: str = "Ep") -> Endpoint:
        found = [it for it in self._of(Endpoint) if it.name == name]
        return found[-1]

    def deployments(self) -> list[Deployment]:
        return self._of(Deployment)

    def instances(self, *states: str) -> list[Instance]:
        return [it for it in self._of(Instance) if not states or it.state in states]

    def _of(self, kind: type[T]) -> list[T]:
        return [entity for (of, _), entity in self.store.entities.items() if of is kind]
