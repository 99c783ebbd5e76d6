"""The loop over fakes, on a clock that tests move: from a desire to instances, and back."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.control import ROLE, TOPIC, World, a_variant

from tarry.control.requests import CreateEndpoint, CreateModel, UpdateEndpoint
from tarry.core.catalog import Container, ModelDataSource, TagSet
from tarry.core.deployment import Deployment, DeploymentState, DesiredCapacity, Routing
from tarry.core.endpoint import EndpointStatus
from tarry.core.errors import Conflict, InProgress, InstanceStartError, StorageFull, TarryError, Throttled
from tarry.core.history import InvocationRecord
from tarry.core.instance import FAILURE_REASON_CHARS_MAX, Instance, InstanceState, explain_failure
from tarry.core.invocation import Invocation, InvocationState
from tarry.ports import CHANNEL_ENDPOINTS, Add, ContainerSpec, InstanceSpec, Replace
from tarry.testing.engine import FakeEngine

E = EndpointStatus


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.reconciler.close()


def _working(world: World, instance: Instance, state: InvocationState = InvocationState.RUNNING) -> str:
    """Let an instance have an invocation; returns its id."""
    work = world.ids.uuid()
    invocation = Invocation(
        id=work,
        endpoint_id=instance.endpoint_id,
        endpoint_name="Ep",
        region="us-east-1",
        bucket=1,
        inference_id=work,
        received_at_us=1,
        expires_at_us=2,
        timeout_s=900,
        output_location="s3://b/o",
        failure_location="s3://b/f",
    )
    holder = instance.id if state is InvocationState.RUNNING else None
    world.store.records[work] = InvocationRecord(
        invocation=invocation, state=state, attempts=1, lost_attempts=0, instance_id=holder
    )
    return work


async def _rescale(world: World, count: int, variant: str = "A", weight: float | None = None) -> None:
    wanted = DesiredCapacity(variant_name=variant, instance_count=count, weight=weight)
    await world.commands.endpoints.update_capacities("Ep", [wanted])


async def test_a_new_endpoint_comes_into_service(world: World) -> None:
    await world.in_service()

    endpoint, (instance,), (deployment,) = world.endpoint(), world.instances(), world.deployments()
    assert endpoint.active_deployment_id == deployment.id
    assert deployment.state is DeploymentState.ACTIVE
    assert instance.state == "InService"
    assert instance.addresses == ("http://127.0.0.1:20001",)
    assert instance.ready_at_us == world.clock.now_us()
    assert instance.concurrency == 4  # the vCPUs of an ml.m5.xlarge
    routing = await world.store.get(Routing, endpoint.id)
    assert routing is not None
    assert [(share.variant_name, len(share.buckets)) for share in routing.shares] == [("A", 100)]
    (spec,) = world.engine.started
    assert spec.containers == (
        ContainerSpec(image="stub:1", model_data=ModelDataSource(s3_uri="s3://b/m.tar.gz"), environment={"A": "1"}),
    )


async def test_the_row_is_written_before_the_engine_acts(world: World) -> None:
    seen: list[str] = []

    class Watching(FakeEngine):
        async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
            row = await world.store.get(Instance, spec.instance_id)
            seen.append(row.state if row else "no row")
            return await super().start(spec)

    world.engine = Watching()
    world.reconciler = world.new_reconciler()
    await world.in_service()
    assert seen == ["Starting"]


async def test_a_slow_start_holds_up_nobody(world: World) -> None:
    release = asyncio.Event()

    class Slow(FakeEngine):
        async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
            if spec.endpoint_name == "slow":
                await release.wait()
            return await super().start(spec)

    world.engine = Slow()
    world.reconciler = world.new_reconciler()
    await world.model_and_config()
    await world.commands.endpoints.create(CreateEndpoint(name="slow", config_name="c"))
    await world.commands.endpoints.create(CreateEndpoint(name="quick", config_name="c"))
    await world.settle()
    assert world.endpoint("quick").status is E.IN_SERVICE
    assert world.endpoint("slow").status is E.CREATING
    release.set()
    await world.settle()
    assert world.endpoint("slow").status is E.IN_SERVICE


async def test_an_unknown_image_fails_with_its_sentence(world: World) -> None:
    await world.model_and_config(image="123.dkr.ecr.us-east-1.amazonaws.com/unheard:1")
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    endpoint = world.endpoint()
    assert endpoint.status is E.FAILED
    assert (endpoint.failure_reason or "").startswith('No image is known for "123.dkr.ecr.us-east-1.amazonaws.com/unheard:1".')
    assert not world.engine.started


async def test_what_never_answers_ping_fails_with_the_sentence_and_the_log(world: World) -> None:
    await world.model_and_config("c", replace(a_variant("Blue"), startup_timeout_s=60))
    world.models.unhealthy.add("http://127.0.0.1:20001")
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    world.engine.write(world.instances()[0].id, "ModuleNotFoundError: no module named nope")
    assert world.endpoint().status is E.CREATING
    await world.pass_time(58)
    assert world.endpoint().status is E.CREATING
    await world.pass_time(4)
    endpoint = world.endpoint()
    assert endpoint.status is E.FAILED
    reason = endpoint.failure_reason or ""
    assert reason.startswith(
        "The primary container for production variant Blue did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint. "
        f"(Here: tarry logs Ep, or logs/Ep/Blue/{world.engine.started[0].instance_id}.log in the data directory.)"
    )
    assert "ModuleNotFoundError: no module named nope" in reason
    await world.settle()
    assert await world.engine.observe() == []
    assert not world.instances("Pending", "Starting", "InService", "Draining")


@pytest.mark.parametrize("dies", [False, True])
async def test_the_container_of_a_pipeline_that_fails_is_named(world: World, dies: bool) -> None:
    containers = (Container(image="stub:1"), Container(image="stub:1"), Container(image="stub:1"))
    await world.commands.models.create(CreateModel(name="m", containers=containers, execution_role_arn=ROLE))
    await world.model_and_config("c", replace(a_variant("AllTraffic"), startup_timeout_s=60))
    world.models.unhealthy |= {"http://127.0.0.1:20002"} if not dies else {f"http://127.0.0.1:2000{n}" for n in (1, 2, 3)}
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    (row,) = world.instances()
    if dies:
        world.engine.end(row.id, exit_code=3, container=1)
    await world.pass_time(62)
    # AWS: the sentence as seen in awslabs/amazon-sagemaker-examples#1072
    assert (world.endpoint().failure_reason or "").startswith(
        "The container-2 for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint. "
        f"(Here: tarry logs Ep, or logs/Ep/AllTraffic/{row.id}%2Fcontainer-2.log in the data directory.)"
    )
    assert ("ended with exit code 3" in (world.endpoint().failure_reason or "")) is dies


async def test_a_container_that_ends_before_its_first_ping_fails_at_once(world: World) -> None:
    await world.model_and_config()
    world.models.unhealthy.add("http://127.0.0.1:20001")
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    world.engine.end(world.instances()[0].id, exit_code=3)
    await world.pass_time(2)
    assert world.endpoint().status is E.FAILED
    assert "ended with exit code 3" in (world.endpoint().failure_reason or "")


async def test_a_failed_endpoint_is_deleted_at_once(world: World) -> None:
    await world.model_and_config()
    world.engine.failures.append(InstanceStartError("no room"))
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    assert world.endpoint().failure_reason == "no room"
    await world.commands.endpoints.delete("Ep")
    await world.settle()
    assert world.endpoint().status is E.DELETED
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    assert world.endpoint().status is E.IN_SERVICE


async def test_a_dead_instance_is_replaced(world: World) -> None:
    await world.in_service()
    (first,) = world.instances()
    world.engine.end(first.id, exit_code=-9)
    await world.pass_time(3)
    (second,) = world.instances("InService")
    assert second.id != first.id
    failed = await world.store.get(Instance, first.id)
    assert failed is not None
    assert (failed.failure_reason or "").startswith("The model server was ended by signal 9.")
    assert world.endpoint().status is E.IN_SERVICE


async def test_an_instance_that_leaves_ping_unanswered_for_three_minutes_is_replaced(world: World) -> None:
    await world.in_service()
    (first,) = world.instances()
    assert first.addresses
    world.models.unhealthy.add(first.addresses[0])
    await world.pass_time(170)
    assert [row.id for row in world.instances("InService")] == [first.id]
    await world.pass_time(20)
    assert [row.id for row in world.instances("InService")] != [first.id]
    assert first.id in world.engine.stopped


async def test_ping_unanswered_during_long_work_is_forgiven_when_it_comes_back(world: World) -> None:
    await world.in_service()
    (first,) = world.instances()
    assert first.addresses
    for _ in range(3):
        world.models.unhealthy.add(first.addresses[0])
        await world.pass_time(100)
        world.models.unhealthy.clear()
        await world.pass_time(4)
    assert [row.id for row in world.instances("InService")] == [first.id]


async def test_a_crash_loop_is_slowed_down(world: World) -> None:
    await world.in_service()
    for _ in range(4):
        await world.until(lambda: bool(world.instances("InService")))
        world.engine.end(world.instances("InService")[0].id)
        await world.pass_time(3)
    assert not world.instances("InService", "Starting")
    await world.pass_time(4)
    assert not world.instances("InService", "Starting")
    await world.pass_time(8)
    assert world.instances("InService")


# -------------------------------------------------------------------------------------------------------------- updates


async def test_an_update_starts_the_new_before_the_old_drains(world: World) -> None:
    await world.in_service()
    (old,) = world.instances()
    await world.model_and_config("c2", a_variant("B"))
    work = _working(world, old)
    world.models.unhealthy.add("http://127.0.0.1:20002")
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c2"))
    await world.settle()
    assert world.endpoint().status is E.UPDATING
    assert [row.id for row in world.instances("InService")] == [old.id]
    assert world.endpoint().config_name == "c"

    world.models.unhealthy.clear()
    await world.pass_time(2)
    assert world.endpoint().status is E.IN_SERVICE
    assert world.endpoint().config_name == "c2"
    new = world.instances("InService")[0]
    routing = await world.store.get(Routing, new.endpoint_id)
    assert routing is not None
    assert {share.deployment_id for share in routing.shares} == {new.deployment_id}
    await world.pass_time(30)
    assert [row.id for row in world.instances("Draining")] == [old.id]
    assert not world.engine.stopped

    world.store.records[work] = replace(world.store.records[work], state=InvocationState.COMPLETED, instance_id=None)
    await world.pass_time(2)
    assert world.engine.stopped == [old.id]
    assert [(it.generation, it.state) for it in world.deployments()] == [
        (1, DeploymentState.STOPPED),
        (2, DeploymentState.ACTIVE),
    ]


async def test_a_failed_update_goes_on_with_the_old(world: World) -> None:
    await world.in_service()
    (old,) = world.instances()
    await world.model_and_config("c2", a_variant("B", count=2))
    world.engine.failures.append(InstanceStartError("no room"))
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c2"))
    await world.settle()
    endpoint = world.endpoint()
    assert (endpoint.status, endpoint.config_name, endpoint.failure_reason) == (E.IN_SERVICE, "c", "no room")
    assert [row.id for row in world.instances("InService", "Starting", "Draining")] == [old.id]
    assert [status.instance_id for status in await world.engine.observe()] == [old.id]

    await world.model_and_config("c3")
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c3"))
    await world.settle()
    assert world.endpoint().config_name == "c3"
    assert world.endpoint().failure_reason is None


async def test_what_is_retained_comes_from_what_runs(world: World) -> None:
    await world.in_service("Ep", "c", a_variant("A", count=2, weight=5.0))
    await world.model_and_config("c2", a_variant("A", count=1, weight=1.0))
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c2", retain_counts=True))
    await world.settle()
    active = world.deployments()[-1].variants[0]
    assert (active.desired_count, active.desired_weight) == (2, 1.0)
    assert len(world.instances("InService")) == 2


# ----------------------------------------------------------------------------------------------------------- capacities


async def test_scaling_out_and_in(world: World) -> None:
    await world.in_service()
    (first,) = world.instances()
    await world.pass_time(1)
    await _rescale(world, 3)
    assert world.endpoint().status is E.UPDATING
    await world.settle()
    assert world.endpoint().status is E.IN_SERVICE
    assert len(world.instances("InService")) == 3

    for row in world.instances("InService"):
        _working(world, row)
    await _rescale(world, 1)
    await world.settle()
    assert world.endpoint().status is E.IN_SERVICE
    assert [row.id for row in world.instances("InService")] == [first.id]
    assert len(world.instances("Draining")) == 2
    assert not world.engine.stopped
    world.store.records.clear()
    await world.settle()
    assert len(world.engine.stopped) == 2


async def test_what_was_before_is_forgotten_when_a_change_of_capacities_has_ended(world: World) -> None:
    await world.in_service()
    await _rescale(world, 2)
    assert world.deployments()[0].capacities_before
    await world.settle()
    assert (world.endpoint().status, world.deployments()[0].capacities_before) == (E.IN_SERVICE, ())


async def test_a_drain_waits_for_the_longest_of_several_invocations(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    for row in world.instances("InService"):
        for timeout_s in (3600, 60):
            work = _working(world, row)
            record = world.store.records[work]
            world.store.records[work] = replace(record, invocation=replace(record.invocation, timeout_s=timeout_s))
    await _rescale(world, 1)
    await world.pass_time(600, 30)
    assert (len(world.instances("Draining")), world.engine.stopped) == (1, [])
    await world.pass_time(3600, 300)
    assert len(world.engine.stopped) == 1


async def test_down_to_none_and_up_again(world: World) -> None:
    await world.in_service()
    await _rescale(world, 0)
    await world.settle()
    assert world.endpoint().status is E.IN_SERVICE
    assert not world.instances("InService", "Draining")
    routing = await world.store.get(Routing, world.endpoint().id)
    assert routing is not None
    assert routing.shares == ()
    await _rescale(world, 1)
    await world.settle()
    assert len(world.instances("InService")) == 1


async def test_a_variant_without_instances_lends_its_buckets(world: World) -> None:
    await world.in_service("Ep", "c", a_variant("A", weight=1.0), a_variant("B", weight=3.0))

    async def shares() -> dict[str, int]:
        routing = await world.store.get(Routing, world.endpoint().id)
        assert routing is not None
        return {share.variant_name: len(share.buckets) for share in routing.shares}

    assert await shares() == {"A": 25, "B": 75}
    await _rescale(world, 0, "B")
    await world.settle()
    assert await shares() == {"A": 100}
    await _rescale(world, 1, "B", weight=1.0)
    await world.settle()
    assert await shares() == {"A": 50, "B": 50}


async def test_capacities_that_cannot_be_started_end_with_the_reason(world: World) -> None:
    await world.in_service()
    world.engine.failures += [InstanceStartError(f"no room {n}") for n in range(5)]
    await _rescale(world, 2)
    await world.until(lambda: world.endpoint().status is E.IN_SERVICE)
    assert "no room" in (world.endpoint().failure_reason or "")
    assert world.deployments()[0].variants[0].desired_count == 1
    assert world.deployments()[0].capacities_before == ()
    await world.pass_time(120)
    assert len(world.instances("InService")) == 1


async def test_a_change_of_capacities_begins_without_the_reason_of_the_one_before(world: World) -> None:
    await world.in_service(topics=(TOPIC, None))
    world.notifier.topic_arns.clear()
    await _rescale(world, 2)
    await world.settle()
    assert "sns:Publish" in (world.deployments()[0].failure_reason or "")
    world.notifier.topic_arns.add(TOPIC)
    await _rescale(world, 3)
    assert world.deployments()[0].failure_reason is None
    await world.settle()
    assert (world.endpoint().status, world.endpoint().failure_reason) == (E.IN_SERVICE, None)


# --------------------------------------------------------------------------------------------------------------- topics


async def test_each_member_gets_a_test_notification(world: World) -> None:
    await world.in_service(topics=(TOPIC, TOPIC))
    notes = world.notifier.published
    assert [note.topic_arn for note in notes] == [TOPIC, TOPIC]
    assert len({note.id for note in notes}) == 2
    assert json.loads(notes[0].message) == {
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "TestNotification",
    }
    await _rescale(world, 2)
    await world.settle()
    assert len(world.notifier.published) == 4
    await world.model_and_config("c2", topics=(TOPIC, None))
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c2"))
    await world.settle()
    assert len(world.notifier.published) == 5


async def test_a_topic_that_does_not_exist_fails_the_creation(world: World) -> None:
    missing = TOPIC + "-not"
    await world.model_and_config(topics=(None, missing))
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    assert world.endpoint().status is E.FAILED
    assert (world.endpoint().failure_reason or "").startswith(
        f'The provided role "{ROLE}" is invalid. Please ensure the role exists, that its trust relationship policy allows the '
        'action "sts:AssumeRole" for the service principal "sagemaker.amazonaws.com", and has "sns:Publish" permissions for '
        f'topic "{missing}".'
    )
    assert await world.engine.observe() == []


async def test_an_update_to_a_bad_topic_leaves_the_old(world: World) -> None:
    await world.in_service()
    (old,) = world.instances()
    await world.model_and_config("c2", topics=(TOPIC + "-not", None))
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c2"))
    await world.settle()
    endpoint = world.endpoint()
    assert (endpoint.status, endpoint.config_name) == (E.IN_SERVICE, "c")
    assert "sns:Publish" in (endpoint.failure_reason or "")
    assert [row.id for row in world.instances("InService")] == [old.id]


async def test_a_topic_that_is_gone_when_capacities_change_is_told(world: World) -> None:
    await world.in_service(topics=(TOPIC, None))
    world.notifier.topic_arns.clear()
    await _rescale(world, 2)
    await world.settle()
    assert world.endpoint().status is E.IN_SERVICE
    assert "sns:Publish" in (world.endpoint().failure_reason or "")


async def test_a_topic_that_cannot_be_reached_is_tried_again_for_a_while(world: World) -> None:
    world.notifier.fail_next(3)
    await world.model_and_config(topics=(TOPIC, None))
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    assert world.endpoint().status is E.CREATING
    await world.pass_time(8)
    assert world.endpoint().status is E.IN_SERVICE


async def test_a_topic_that_stays_out_of_reach_fails_the_creation(world: World) -> None:
    world.notifier.fail_next(1000)
    await world.model_and_config(topics=(TOPIC, None))
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.pass_time(75)
    assert world.endpoint().status is E.FAILED


# ------------------------------------------------------------------------------------------------- deletion and restart


async def test_deletion_waits_for_invocations_and_leaves_a_tombstone(world: World) -> None:
    await world.in_service()
    endpoint, (row,) = world.endpoint(), world.instances()
    waiting = _working(world, row, InvocationState.QUEUED)
    await world.commands.tags.add(endpoint.arn, (("k", "v"),))
    await world.commands.endpoints.delete("ep")
    await world.settle()
    assert world.endpoint().status is E.DELETING
    assert world.engine.stopped == [row.id]
    with pytest.raises(InProgress):
        await world.commands.endpoints.delete("Ep")

    world.store.records[waiting] = replace(world.store.records[waiting], state=InvocationState.FAILED)
    await world.settle()
    assert world.endpoint().status is E.DELETED
    assert not world.instances()
    assert not world.deployments()
    assert await world.store.get(Routing, endpoint.id) is None
    assert await world.store.get(TagSet, endpoint.arn) is None


async def test_deletion_in_the_middle_of_nothing_stops_busy_instances(world: World) -> None:
    await world.in_service()
    (row,) = world.instances()
    work = _working(world, row)
    await world.commands.endpoints.delete("Ep")
    await world.settle()
    assert world.engine.stopped == [row.id]
    del world.store.records[work]
    await world.settle()
    assert world.endpoint().status is E.DELETED


async def test_after_a_restart_instances_are_started_anew(world: World) -> None:
    await world.in_service()
    (before,) = world.instances()
    await world.restart()
    await world.settle()
    (after,) = world.instances("InService")
    assert after.id != before.id
    assert world.endpoint().status is E.IN_SERVICE
    assert await world.store.get(Instance, before.id) is None


async def test_a_restart_in_the_middle_of_an_update_goes_on_with_it(world: World) -> None:
    await world.in_service()
    await world.model_and_config("c2")
    world.models.unhealthy.add("http://127.0.0.1:20002")
    await world.commands.endpoints.update(UpdateEndpoint(name="Ep", config_name="c2"))
    await world.settle()
    assert world.endpoint().status is E.UPDATING
    world.models.unhealthy.clear()
    await world.restart()
    await world.settle()
    assert world.endpoint().status is E.IN_SERVICE
    assert world.endpoint().config_name == "c2"
    assert len(await world.engine.observe()) == 1


async def test_instances_that_outlive_the_server_are_adopted(world: World) -> None:
    await world.in_service()
    (row,) = world.instances()
    await world.reconciler.close()
    world.reconciler = world.new_reconciler()
    await world.settle()
    assert [it.id for it in world.instances("InService")] == [row.id]
    assert len(world.engine.started) == 1
    world.engine.end(row.id)
    await world.pass_time(3)
    assert [it.id for it in world.instances("InService")] != [row.id]


async def test_what_the_engine_runs_without_a_row_is_stopped(world: World) -> None:
    spec = InstanceSpec(
        instance_id="stray",
        endpoint_name="x",
        variant_name="A",
        instance_type="ml.m5.xlarge",
        containers=(ContainerSpec(image="stub:1"),),
        model_data_timeout_s=60,
        startup_timeout_s=60,
    )
    await world.engine.start(spec)
    await world.settle()
    assert world.engine.stopped == ["stray"]


async def test_stopping_in_the_middle_of_a_start(world: World) -> None:
    cancelled: list[str] = []

    class Hanging(FakeEngine):
        async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
            if self._count == 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(spec.instance_id)
                    raise
            return await super().start(spec)

    world.engine = Hanging()
    world.reconciler = world.new_reconciler()
    await world.in_service()
    await _rescale(world, 2)
    await world.settle()
    (hanging,) = world.instances("Starting")
    active = world.deployments()[0]
    down = replace(active, variants=(replace(active.variants[0], desired_count=1),))
    await world.store.apply(Replace(down))
    await world.settle()
    assert cancelled == [hanging.id]
    assert await world.store.get(Instance, hanging.id) is None
    assert world.endpoint().status is E.IN_SERVICE


async def test_what_comes_into_service_while_it_is_to_be_stopped_is_drained(world: World) -> None:
    """Between the plan and its action, an instance that was starting gets ready and takes work: that work is not cut off."""
    may_start = asyncio.Event()

    class Slow(FakeEngine):
        async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
            if self._count == 1:
                await may_start.wait()
            return await super().start(spec)

    world.engine = Slow()
    world.reconciler = world.new_reconciler()
    await world.in_service()
    await world.pass_time(1)
    await _rescale(world, 2)
    await world.settle()
    (starting,) = world.instances("Starting")
    active = world.deployments()[0]
    await world.store.apply(Replace(replace(active, variants=(replace(active.variants[0], desired_count=1),))))
    find = world.store.find

    async def find_and_meanwhile_it_is_ready(kind: Any, **where: Any) -> list[Any]:
        rows = await find(kind, **where)
        if kind is Instance and not may_start.is_set():
            may_start.set()
            for _ in range(20):
                await asyncio.sleep(0)
            (ready,) = [row for row in world.instances("InService") if row.id == starting.id]
            _working(world, ready)
        return rows

    world.store.find = find_and_meanwhile_it_is_ready  # type: ignore[method-assign]
    await world.settle()
    assert [row.id for row in world.instances("Draining")] == [starting.id]
    assert not world.engine.stopped
    world.store.records.clear()
    await world.settle()
    assert world.engine.stopped == [starting.id]


async def test_run_is_woken_by_hints_and_ends_when_cancelled(world: World) -> None:
    task = asyncio.create_task(world.reconciler.run())
    await world.model_and_config()
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    for _ in range(500):
        await asyncio.sleep(0)
    assert world.endpoint().status is E.IN_SERVICE
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [StorageFull("full"), Throttled("busy"), Conflict("changed")], ids=repr)
async def test_rows_that_cannot_be_read_do_not_end_the_loop(
    world: World, monkeypatch: pytest.MonkeyPatch, error: TarryError
) -> None:
    find, failures = world.store.find, 3

    async def failing(*args: Any, **where: Any) -> Any:
        nonlocal failures
        if failures:
            failures -= 1
            raise error
        return await find(*args, **where)

    await world.model_and_config()
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    monkeypatch.setattr(world.store, "find", failing)
    task = asyncio.create_task(world.reconciler.run())
    for _ in range(500):
        world.wakeups.notify(CHANNEL_ENDPOINTS)
        await asyncio.sleep(0)
    assert failures == 0
    assert world.endpoint().status is E.IN_SERVICE
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_taking_over_stops_what_the_engine_does_not_know_before_anything_else(world: World) -> None:
    await world.in_service("Ep", "c", a_variant(count=2))
    kept, lost = world.instances()
    pending = replace(lost, id="pending", state=InstanceState.PENDING, addresses=(), revision=0)
    draining = replace(lost, id="draining", state=InstanceState.DRAINING, revision=0)
    failed = replace(lost, id="failed", state=InstanceState.FAILED, ended_at_us=7, revision=0)
    await world.store.apply(Add(pending), Add(draining), Add(failed))
    await world.reconciler.close()
    await world.engine.stop(lost.id)
    started, now_us = len(world.engine.started), world.clock.now_us()
    await world.new_reconciler().take_over()
    states = {row.id: (row.state, row.ended_at_us) for row in world.instances()}
    assert states == {
        kept.id: (InstanceState.IN_SERVICE, None),
        lost.id: (InstanceState.STOPPED, now_us),
        "pending": (InstanceState.STOPPED, now_us),
        "draining": (InstanceState.STOPPED, now_us),
        "failed": (InstanceState.FAILED, 7),
    }
    assert len(world.engine.started) == started
    assert [status.instance_id for status in await world.engine.observe()] == [kept.id]


async def test_one_broken_endpoint_does_not_hold_up_the_others(world: World) -> None:
    await world.in_service("Good")
    await world.commands.endpoints.create(CreateEndpoint(name="Bad", config_name="c"))
    bad = next(it for it in world.deployments() if it.endpoint_id == world.endpoint("Bad").id)
    no_model = replace(bad, variants=(replace(bad.variants[0], desired_count="many"),))  # type: ignore[arg-type]
    world.store.entities[Deployment, bad.id] = no_model
    await world.commands.endpoints.create(CreateEndpoint(name="Later", config_name="c"))
    await world.settle()
    assert world.endpoint("Later").status is E.IN_SERVICE


def test_a_failure_reason_has_the_cause_first_and_fits() -> None:
    reason = explain_failure("cause", [f"line {n}" for n in range(1000)])
    assert reason.startswith("cause\n")
    assert reason.endswith("line 999")
    assert len(reason) == FAILURE_REASON_CHARS_MAX
    assert explain_failure("x" * 2000, ["log"]) == "x" * 1024
    assert explain_failure("cause", []) == "cause"
