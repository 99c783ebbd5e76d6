"""Whether a machine takes one more instance: pure, from what runs on it, what it has free, and what its owner allows.

Instances go where there is room by measured use: an instance type gives defaults and reserves nothing, so an ``ml.g5.xlarge``
configuration runs on a laptop. An owner who wants the numbers of the types to hold says so (``strict``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tarry.core.instance_types import instance_type

SOLD_AS = 16 / 15
"""OURS: firmware and kernel keep up to a sixteenth of the memory that a machine is sold with; types have round numbers."""

_GIB = 2**30
_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What instances share: processors, bytes of memory, and how many of those could be had now, without swapping."""

    vcpus: int
    memory_bytes: int
    memory_free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRules:
    """What the machine's owner allows.

    ``instances_max`` maps patterns of instance types to how many of them may run; the first that matches a type counts.
    """

    memory_reserve_bytes: int = 0
    instances_max: Mapping[str, int] = field(default_factory=dict)
    strict: bool = False


def refusal(name: str, placed: Sequence[str], machine: Machine, rules: PlacementRules) -> str | None:
    """Why an instance of the type ``name`` cannot be placed beside those of the types ``placed`` now; None: it can."""
    return _too_many(name, placed, rules) or _too_little_memory(machine, rules) or _too_large(name, placed, machine, rules)


def _too_many(name: str, placed: Sequence[str], rules: PlacementRules) -> str | None:
    pattern = next((one for one in rules.instances_max if fnmatchcase(name, one)), None)
    if pattern is None or sum(fnmatchcase(one, pattern) for one in placed) < rules.instances_max[pattern]:
        return None
    kind = "instances" if pattern == "*" else f"instances of {pattern}"
    return f"At most {rules.instances_max[pattern]} {kind} may run here: [engine] instances_max."


def _too_little_memory(machine: Machine, rules: PlacementRules) -> str | None:
    if machine.memory_free_bytes >= rules.memory_reserve_bytes:
        return None
    return (
        f"This machine has {machine.memory_free_bytes // _MIB} MiB of free memory, less than the "
        f"{rules.memory_reserve_bytes // _MIB} MiB of [engine] memory_reserve."
    )


def _too_large(name: str, placed: Sequence[str], machine: Machine, rules: PlacementRules) -> str | None:
    """``local`` is the machine as it is, and a type that is not known has no numbers: both count as nothing."""
    wanted = instance_type(name)
    if not rules.strict or wanted is None:
        return None
    others = [found for one in placed if (found := instance_type(one)) is not None]
    vcpus, memory_gib = sum(one.vcpus for one in others), sum(one.memory_gib or 0 for one in others)
    has_gib = machine.memory_bytes / _GIB
    if vcpus + wanted.vcpus <= machine.vcpus and memory_gib + (wanted.memory_gib or 0) <= has_gib * SOLD_AS:
        return None
    needs = f"{wanted.vcpus} vCPUs" if wanted.memory_gib is None else f"{wanted.vcpus} vCPUs and {wanted.memory_gib:g} GiB"
    return (
        f'With [engine] capacity = "strict" {name} needs {needs}; this machine has {machine.vcpus} and {has_gib:.1f}, of which '
        f"{vcpus} and {memory_gib:g} are taken."
    )
