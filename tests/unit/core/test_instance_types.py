"""Every instance type that SageMaker takes is known."""

import pytest
from botocore.loaders import Loader

from tarry.core.errors import InvalidRequest
from tarry.core.instance_types import default_concurrency, instance_type

NAMES: list[str] = Loader().load_service_model("sagemaker", "service-2")["shapes"]["ProductionVariantInstanceType"]["enum"]


@pytest.mark.parametrize("name", NAMES)
def test_every_type_of_the_description_is_known(name: str) -> None:
    found = instance_type(name)
    assert found.vcpus >= 1
    assert found.memory_gib is None or 1 <= found.memory_gib / found.vcpus <= 32
    assert (found.accelerators > 0) == (found.kind is not None)
    accelerated = name.split(".")[1].rstrip("0123456789").startswith(("g", "p", "inf", "trn", "dl"))
    assert (found.accelerators > 0) == accelerated


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib", "accelerators"),
    [
        ("ml.t2.medium", 2, 4, 0),
        ("ml.m5.xlarge", 4, 16, 0),
        ("ml.c5.18xlarge", 72, 144, 0),
        ("ml.r5.large", 2, 16, 0),
        ("ml.c4.8xlarge", 36, 60, 0),
        ("ml.m7i.48xlarge", 192, 768, 0),
        ("ml.g4dn.xlarge", 4, 16, 1),
        ("ml.g5.12xlarge", 48, 192, 4),
        ("ml.p3.2xlarge", 8, 61, 1),
        ("ml.p2.16xlarge", 64, 732, 16),
        ("ml.p4d.24xlarge", 96, 1152, 8),
        ("ml.p5.48xlarge", 192, 2048, 8),
        ("ml.inf2.xlarge", 4, 16, 1),
    ],
)
def test_types_that_people_know(name: str, vcpus: int, memory_gib: float, accelerators: int) -> None:
    found = instance_type(name)
    assert (found.vcpus, found.memory_gib, found.accelerators) == (vcpus, memory_gib, accelerators)


@pytest.mark.parametrize("name", ["m5.xlarge", "ml.m5", "ml.zz.xlarge", "ml.m5.huge", ""])
def test_what_is_no_type_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is not known"):
        instance_type(name)


@pytest.mark.parametrize(
    ("name", "images", "concurrency"),
    [
        ("ml.m5.xlarge", [None], 4),
        ("ml.c5.18xlarge", [None], 72),
        ("ml.quantum.xlarge", [None], 4),
        ("local", [None], 3),
        ("ml.m5.xlarge", [1], 1),
        ("ml.m5.xlarge", [16], 16),
        ("ml.m5.xlarge", [16, None, 9], 4),
        ("ml.m5.xlarge", [None, 2], 2),
    ],
)
def test_an_instance_works_on_as_many_requests_as_its_images_say_or_its_type_has_vcpus(
    name: str, images: list[int | None], concurrency: int
) -> None:
    assert default_concurrency(name, images, local_vcpus=3) == concurrency
