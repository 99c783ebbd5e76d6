"""A process engine on a temporary directory, with the stub image."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.support.model_objects import ModelObjects

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.images import ImageCatalogue
from tarry.backends.model_data import ModelData
from tarry.core.catalog import ModelDataSource
from tarry.ports import ContainerSpec, InstanceSpec

STUB_IMAGE = Path(__file__).parent / "images" / "stub"


def process_engine(
    directory: Path,
    objects: ModelObjects | None = None,
    ports: PortRange | None = None,
    capacity: Mapping[str, int] | None = None,
) -> ProcessEngine:
    """An engine that has not been opened yet."""
    return ProcessEngine(
        directory,
        images=ImageCatalogue([STUB_IMAGE], directory / "environments"),
        model_data=ModelData(objects or ModelObjects(), directory / "models"),
        ports=ports or PortRange(20000, 29999),
        region="eu-central-1",
        capacity=capacity,
    )


def spec(instance_id: str = "i-1", *, url: str | None = None, startup_timeout_s: int = 20, **environment: str) -> InstanceSpec:
    """An instance of the stub image."""
    return InstanceSpec(
        instance_id=instance_id,
        endpoint_name="my-endpoint",
        variant_name="AllTraffic",
        instance_type="ml.m5.xlarge",
        containers=(
            ContainerSpec(
                image="123456789012.dkr.ecr.us-east-1.amazonaws.com/stub:1",
                model_data=None if url is None else ModelDataSource(s3_uri=url),
                environment=environment,
            ),
        ),
        model_data_timeout_s=10,
        startup_timeout_s=startup_timeout_s,
    )


def pipeline(count: int, instance_id: str = "i-1", **last: str) -> InstanceSpec:
    """An instance of so many stub containers; the variables are for the last one."""
    one = spec(instance_id)
    containers = [replace(one.containers[0], hostname=f"container-{number}") for number in range(1, count + 1)]
    containers[-1] = replace(containers[-1], environment=last)
    return replace(one, containers=tuple(containers))
