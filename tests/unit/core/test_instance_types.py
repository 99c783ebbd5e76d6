"""Every instance type that SageMaker takes is known."""

import pytest
from botocore.loaders import Loader

from tarry.core.instance_types import default_concurrency, instance_type

NAMES: list[str] = Loader().load_service_model("sagemaker", "service-2")["shapes"]["ProductionVariantInstanceType"]["enum"]


@pytest.mark.parametrize("name", NAMES)
def test_every_type_of_the_description_is_known(name: str) -> None:
    found = instance_type(name)
    assert found is not None
    assert found.vcpus >= 1
    assert found.memory_gib is None or 1 <= found.memory_gib / found.vcpus <= 32
    assert (found.accelerators > 0) == (found.kind is not None)
    accelerated = name.split(".")[1].rstrip("0123456789").startswith(("g", "p", "inf", "trn", "dl"))
    assert (found.accelerators > 0) == accelerated


# AWS: what DescribeInstanceTypes of EC2 says: vCPUs/GiB, and after a second stroke the accelerators.
PUBLISHED = """
t2 medium:2/4 large:2/8 xlarge:4/16 2xlarge:8/32
m4 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 10xlarge:40/160 16xlarge:64/256
m5 large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 12xlarge:48/192 24xlarge:96/384
m5d large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 12xlarge:48/192 24xlarge:96/384
c4 large:2/3.75 xlarge:4/7.5 2xlarge:8/15 4xlarge:16/30 8xlarge:36/60
p2 xlarge:4/61/1 8xlarge:32/488/8 16xlarge:64/732/16
p3 2xlarge:8/61/1 8xlarge:32/244/4 16xlarge:64/488/8
c5 large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 9xlarge:36/72 18xlarge:72/144
c5d large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 9xlarge:36/72 18xlarge:72/144
g4dn xlarge:4/16/1 2xlarge:8/32/1 4xlarge:16/64/1 8xlarge:32/128/1 12xlarge:48/192/4 16xlarge:64/256/1
r5 large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 12xlarge:48/384 24xlarge:96/768
r5d large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 12xlarge:48/384 24xlarge:96/768
inf1 xlarge:4/8/1 2xlarge:8/16/1 6xlarge:24/48/4 24xlarge:96/192/16
dl1 24xlarge:96/768/8
c6i large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128 24xlarge:96/192
c6i 32xlarge:128/256
m6i large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 8xlarge:32/128 12xlarge:48/192 16xlarge:64/256 24xlarge:96/384
m6i 32xlarge:128/512
r6i large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 8xlarge:32/256 12xlarge:48/384 16xlarge:64/512 24xlarge:96/768
r6i 32xlarge:128/1024
g5 xlarge:4/16/1 2xlarge:8/32/1 4xlarge:16/64/1 8xlarge:32/128/1 12xlarge:48/192/4 16xlarge:64/256/1 24xlarge:96/384/4
g5 48xlarge:192/768/8
g6 xlarge:4/16/1 2xlarge:8/32/1 4xlarge:16/64/1 8xlarge:32/128/1 12xlarge:48/192/4 16xlarge:64/256/1 24xlarge:96/384/4
g6 48xlarge:192/768/8
r8g medium:1/8 large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 8xlarge:32/256 12xlarge:48/384 16xlarge:64/512 24xlarge:96/768
r8g 48xlarge:192/1536
g6e xlarge:4/32/1 2xlarge:8/64/1 4xlarge:16/128/1 8xlarge:32/256/1 12xlarge:48/384/4 16xlarge:64/512/1 24xlarge:96/768/4
g6e 48xlarge:192/1536/8
p4d 24xlarge:96/1152/8
c7g large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128
m6g large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 8xlarge:32/128 12xlarge:48/192 16xlarge:64/256
m6gd large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 8xlarge:32/128 12xlarge:48/192 16xlarge:64/256
c6g large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128
c6gd large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128
c6gn large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128
r6g large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 8xlarge:32/256 12xlarge:48/384 16xlarge:64/512
r6gd large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 8xlarge:32/256 12xlarge:48/384 16xlarge:64/512
p4de 24xlarge:96/1152/8
trn1 2xlarge:8/32/1 32xlarge:128/512/16
trn1n 32xlarge:128/512/16
trn2 48xlarge:192/2048/16
inf2 xlarge:4/16/1 8xlarge:32/128/1 24xlarge:96/384/6 48xlarge:192/768/12
p5 48xlarge:192/2048/8
p5e 48xlarge:192/2048/8
p5en 48xlarge:192/2048/8
m7i large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 8xlarge:32/128 12xlarge:48/192 16xlarge:64/256 24xlarge:96/384
m7i 48xlarge:192/768
c7i large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128 24xlarge:96/192
c7i 48xlarge:192/384
r7i large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 8xlarge:32/256 12xlarge:48/384 16xlarge:64/512 24xlarge:96/768
r7i 48xlarge:192/1536
c8g medium:1/2 large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128 24xlarge:96/192
c8g 48xlarge:192/384
r7gd medium:1/8 large:2/16 xlarge:4/32 2xlarge:8/64 4xlarge:16/128 8xlarge:32/256 12xlarge:48/384 16xlarge:64/512
m8g medium:1/4 large:2/8 xlarge:4/16 2xlarge:8/32 4xlarge:16/64 8xlarge:32/128 12xlarge:48/192 16xlarge:64/256 24xlarge:96/384
m8g 48xlarge:192/768
c6in large:2/4 xlarge:4/8 2xlarge:8/16 4xlarge:16/32 8xlarge:32/64 12xlarge:48/96 16xlarge:64/128 24xlarge:96/192
c6in 32xlarge:128/256
"""
UNPUBLISHED = {"g7", "g7e", "p6-b200", "p6-b300", "p6e-gb200"}
"""Families that are too new for the list above."""
FIGURES = {
    f"ml.{line.split()[0]}.{size}": figures
    for line in PUBLISHED.split("\n")
    for size, figures in (word.split(":") for word in line.split()[1:])
}


@pytest.mark.parametrize(("name", "figures"), FIGURES.items())
def test_it_has_what_aws_publishes(name: str, figures: str) -> None:
    vcpus, memory_gib, accelerators = (float(number) for number in [*figures.split("/"), "0"][:3])
    found = instance_type(name)
    assert found is not None
    assert (found.vcpus, found.memory_gib, found.accelerators) == (vcpus, memory_gib, accelerators)


def test_the_list_has_all_but_the_newest() -> None:
    left_out = {name.split(".")[1] for name in NAMES if name not in FIGURES and name != "ml.p5.4xlarge"}
    assert left_out == UNPUBLISHED


@pytest.mark.parametrize("family", ["g7", "g7e"])
def test_within_a_family_everything_grows_with_the_size(family: str) -> None:
    types = [found for name in NAMES if name.startswith(f"ml.{family}.") and (found := instance_type(name)) is not None]
    assert len({one.memory_gib and one.memory_gib / one.vcpus for one in types}) == 1
    by_size = sorted(types, key=lambda one: one.vcpus)
    assert [one.accelerators for one in by_size] == sorted(one.accelerators for one in by_size)


@pytest.mark.parametrize("name", ["m5.xlarge", "ml.m5", "ml.zz.xlarge", "ml.m5.huge", "local", ""])
def test_what_is_no_type_has_no_figures(name: str) -> None:
    assert instance_type(name) is None


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
