"""How many requests an instance works on at once where its configuration does not say."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.control import World, a_variant

from tarry.control.requests import CreateEndpoint, CreateEndpointConfig, CreateModel
from tarry.core.catalog import AsyncInferenceConfig, Container, InstancePool, Variant
from tarry.core.placement import Machine


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.images.known |= {"single", "many"}
    world.images.at_once |= {"single": 1, "many": 50}
    world.engine.machine = Machine(vcpus=3, memory_bytes=8 << 30, memory_free_bytes=4 << 30)
    yield world
    await world.reconciler.close()


async def concurrency(world: World, variant: Variant, *images: str, said: int | None = None) -> int:
    containers = tuple(Container(image=image, hostname=f"c{number}") for number, image in enumerate(images))
    await world.commands.models.create(CreateModel(name="m", containers=containers))
    inference = AsyncInferenceConfig(s3_output_path="s3://b/out", max_concurrent_invocations_per_instance=said)
    request = CreateEndpointConfig(name="c", variants=(variant,), async_inference=inference)
    await world.commands.endpoint_configs.create(request)
    await world.commands.endpoints.create(CreateEndpoint(name="Ep", config_name="c"))
    await world.settle()
    (row,) = world.instances("InService")
    return row.concurrency


@pytest.mark.parametrize(
    ("instance_type", "images", "said", "expected"),
    [
        ("ml.m5.xlarge", ["stub:1"], None, 4),
        ("local", ["stub:1"], None, 3),
        ("ml.m5.xlarge", ["1.dkr.ecr.us-east-1.amazonaws.com/single:2"], None, 1),
        ("ml.m5.xlarge", ["many:1"], None, 50),
        ("ml.m5.xlarge", ["many:1", "stub:1"], None, 4),
        ("ml.m5.xlarge", ["single:1"], 7, 7),
    ],
)
async def test_the_default_comes_from_type_and_images(
    world: World, instance_type: str, images: list[str], said: int | None, expected: int
) -> None:
    assert await concurrency(world, replace(a_variant(), instance_type=instance_type), *images, said=said) == expected


@pytest.mark.parametrize(("environment", "expected"), [({"WORKERS": "6"}, 6), ({}, 4)])
async def test_a_models_variables_may_say_it(world: World, environment: dict[str, str], expected: int) -> None:
    world.images.at_once["many"] = "WORKERS"
    container = Container(image="many:1", environment=environment)
    await world.commands.models.create(CreateModel(name="other", containers=(container,)))
    assert await concurrency(world, replace(a_variant(), model_name="other"), "stub:1") == expected


async def test_a_pools_own_model_counts(world: World) -> None:
    await world.commands.models.create(CreateModel(name="other", containers=(Container(image="single:1"),)))
    pool = InstancePool(instance_type="ml.m5.xlarge", model_name="other")
    variant = Variant(name="A", model_name="m", pools=(pool,), initial_instance_count=1)
    assert await concurrency(world, variant, "stub:1") == 1
