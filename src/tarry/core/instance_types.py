"""What an ML instance type stands for: processors, memory, accelerators.

SageMaker's ``ml.<family>.<size>`` is EC2's ``<family>.<size>``. Within a family everything grows with the size, so a family is
a few numbers and not a table of its own. The numbers give defaults: how many requests an instance works on at once where nobody
has said. They reserve nothing, unless ``[engine] capacity`` is ``strict``: an ``ml.g5.xlarge`` configuration runs on a laptop's
CPU. ``local`` is the machine itself, whatever it has.

AWS: EC2 user guide, instance type specifications (general purpose, compute, memory, accelerated).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """``memory_gib`` is None for the few families whose size was not found in AWS's pages; accelerators of which ``kind``."""

    name: str
    vcpus: int
    memory_gib: float | None
    accelerators: int = 0
    kind: str | None = None


_VCPUS: Mapping[str, int] = {
    "medium": 1, "large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "6xlarge": 24, "8xlarge": 32, "9xlarge": 36,
    "10xlarge": 40, "12xlarge": 48, "16xlarge": 64, "18xlarge": 72, "24xlarge": 96, "32xlarge": 128, "36xlarge": 144,
    "48xlarge": 192,
}  # fmt: skip

_GIB_PER_VCPU: Mapping[str, float | None] = {
    "m4": 4, "m5": 4, "m5d": 4, "m6i": 4, "m6g": 4, "m6gd": 4, "m7i": 4, "m8g": 4,
    "c4": 1.875, "c5": 2, "c5d": 2, "c6i": 2, "c6in": 2, "c6g": 2, "c6gd": 2, "c6gn": 2, "c7g": 2, "c7i": 2, "c8g": 2,
    "r5": 8, "r5d": 8, "r6i": 8, "r6g": 8, "r6gd": 8, "r7i": 8, "r7gd": 8, "r8g": 8,
    "g4dn": 4, "g5": 4, "g6": 4, "g6e": 8, "g7e": 8, "g7": None,
    "p2": 15.25, "p3": 7.625, "p4d": 12, "p4de": 12, "p5": 2048 / 192, "p5e": 2048 / 192, "p5en": 2048 / 192,
    "p6-b200": 2048 / 192, "p6-b300": 4096 / 192, "p6e-gb200": 960 / 144,
    "inf1": 2, "inf2": 4, "trn1": 4, "trn1n": 4, "trn2": 2048 / 192, "dl1": 8,
}  # fmt: skip

_EXACT: Mapping[str, tuple[int, float]] = {
    # vCPUs and GiB where the family's rule does not hold
    "t2.medium": (2, 4), "t2.large": (2, 8), "t2.xlarge": (4, 16), "t2.2xlarge": (8, 32), "c4.8xlarge": (36, 60),
    "p5.4xlarge": (16, 256), "p2.8xlarge": (32, 488), "p2.16xlarge": (64, 732),
}  # fmt: skip

_ONE_TO_16XLARGE = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_ACCELERATORS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    # kind, and how many by size; sizes that are not named have one
    "g4dn": ("NVIDIA T4", {"12xlarge": 4}),
    "g5": ("NVIDIA A10G", _ONE_TO_16XLARGE),
    "g6": ("NVIDIA L4", _ONE_TO_16XLARGE),
    "g6e": ("NVIDIA L40S", _ONE_TO_16XLARGE),
    "g7": ("NVIDIA RTX PRO", {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8}),
    "g7e": ("NVIDIA RTX PRO 6000", {"12xlarge": 2, "24xlarge": 4, "48xlarge": 8}),
    "p2": ("NVIDIA K80", {"8xlarge": 8, "16xlarge": 16}),
    "p3": ("NVIDIA V100", {"8xlarge": 4, "16xlarge": 8}),
    "p4d": ("NVIDIA A100", {"24xlarge": 8}),
    "p4de": ("NVIDIA A100", {"24xlarge": 8}),
    "p5": ("NVIDIA H100", {"48xlarge": 8}),
    "p5e": ("NVIDIA H200", {"48xlarge": 8}),
    "p5en": ("NVIDIA H200", {"48xlarge": 8}),
    "p6-b200": ("NVIDIA B200", {"48xlarge": 8}),
    "p6-b300": ("NVIDIA B300", {"48xlarge": 8}),
    "p6e-gb200": ("NVIDIA B200", {"36xlarge": 4}),
    "inf1": ("AWS Inferentia", {"6xlarge": 4, "24xlarge": 16}),
    "inf2": ("AWS Inferentia2", {"24xlarge": 6, "48xlarge": 12}),
    "trn1": ("AWS Trainium", {"32xlarge": 16}),
    "trn1n": ("AWS Trainium", {"32xlarge": 16}),
    "trn2": ("AWS Trainium2", {"48xlarge": 16}),
    "dl1": ("Intel Gaudi", {"24xlarge": 8}),
}

LOCAL = "local"
"""The machine itself, as the SageMaker SDK's local mode calls it."""
_CONCURRENCY_UNKNOWN = 4


def default_concurrency(name: str, served_at_once: Sequence[int | None], local_vcpus: int) -> int:
    """How many requests an instance of this type works on at once, where MaxConcurrentInvocationsPerInstance is left out.

    ``served_at_once`` has what the image of each of its containers says of itself; None: nothing. ``local_vcpus`` is what
    ``local`` has. A pipeline works on as many as its slowest container.

    OURS: AWS picks a number and does not say which; one for each vCPU is what users of it suppose. A type that only a newer
    botocore knows has 4.
    """
    vcpus = _vcpus(name, local_vcpus)
    return min((vcpus if image is None else image for image in served_at_once), default=vcpus)


def _vcpus(name: str, local_vcpus: int) -> int:
    if name == LOCAL:
        return local_vcpus
    known = instance_type(name)
    return _CONCURRENCY_UNKNOWN if known is None else known.vcpus


def instance_type(name: str) -> InstanceType | None:
    """The type of this name, such as ``ml.m5.xlarge``. None for ``local``, and for what only a newer botocore knows."""
    prefix, _, rest = name.partition(".")
    family, _, size = rest.partition(".")
    known = family in _GIB_PER_VCPU and size in _VCPUS
    if prefix != "ml" or not (known or rest in _EXACT):
        return None
    kind, counts = _ACCELERATORS.get(family, (None, {}))
    vcpus, memory_gib = _EXACT.get(rest) or _by_rule(family, size)
    accelerators = 0 if kind is None else counts.get(size, 1)
    return InstanceType(name=name, vcpus=vcpus, memory_gib=memory_gib, accelerators=accelerators, kind=kind)


def _by_rule(family: str, size: str) -> tuple[int, float | None]:
    vcpus, gib_per_vcpu = _VCPUS[size], _GIB_PER_VCPU[family]
    return vcpus, None if gib_per_vcpu is None else round(vcpus * gib_per_vcpu, 2)
