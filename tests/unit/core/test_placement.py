"""Where there is room for one more instance, as a table."""

import pytest

from tarry.core.placement import Machine, PlacementRules, refusal

GIB = 2**30
MACHINE = Machine(vcpus=8, memory_bytes=int(30.8 * GIB), memory_free_bytes=2 * GIB)  # sold as 32 GiB
M5, G5, LOCAL = "ml.m5.xlarge", "ml.g5.xlarge", "local"  # 4 vCPUs and 16 GiB each of the first two
NEW = "ml.quantum.xlarge"
STRICT = PlacementRules(strict=True)

FITS = {
    "nothing is reserved": ("ml.p5.48xlarge", [M5] * 50, PlacementRules()),
    "free memory is the reserve": (M5, [], PlacementRules(memory_reserve_bytes=2 * GIB)),
    "fewer than may run": (M5, [G5], PlacementRules(instances_max={"*": 2})),
    "no pattern matches": (M5, [M5] * 9, PlacementRules(instances_max={"ml.g5.*": 1})),
    "the first pattern counts": (M5, [M5], PlacementRules(instances_max={"ml.m5.*": 2, "*": 1})),
    "other types take nothing of a pattern": (G5, [M5] * 9, PlacementRules(instances_max={"ml.g5.*": 1})),
    "strict, and the machine is just full": (M5, [G5], STRICT),
    "strict, and the machine itself": (LOCAL, [M5, G5], STRICT),
    "strict, beside the machine itself": (M5, [LOCAL, LOCAL, G5], STRICT),
    "strict, and a type without numbers": (NEW, [M5, G5], STRICT),
    "strict, beside a type without numbers": (M5, [NEW, G5], STRICT),
}


@pytest.mark.parametrize(("name", "placed", "rules"), FITS.values(), ids=FITS)
def test_there_is_room(name: str, placed: list[str], rules: PlacementRules) -> None:
    assert refusal(name, placed, MACHINE, rules) is None


REFUSED = {
    "as many as may run": (
        M5,
        [G5, M5],
        PlacementRules(instances_max={"*": 2}),
        "At most 2 instances may run here: [engine] ins",
    ),
    "none may run": (LOCAL, [], PlacementRules(instances_max={"*": 0}), "At most 0 instances may run here"),
    "as many of the pattern": (
        "ml.g5.48xlarge",
        [G5, M5],
        PlacementRules(instances_max={"ml.g5.*": 1}),
        "At most 1 instances of ml.g5.* may run",
    ),
    "too little memory": (
        LOCAL,
        [],
        PlacementRules(memory_reserve_bytes=2 * GIB + 1),
        "This machine has 2048 MiB of free memory, less than the 2048 MiB of [engine] memory_reserve.",
    ),
    "too little memory, also where the types would fit": (
        M5,
        [],
        PlacementRules(memory_reserve_bytes=3 * GIB, strict=True),
        "[engine] memory_reserve",
    ),
    "strict, and too few vCPUs": (
        "ml.c5.2xlarge",
        ["ml.c5.large"],
        STRICT,
        '[engine] capacity = "strict" ml.c5.2xlarge needs 8 vCPUs and 16 GiB; this machine has 8 and 30.8, of which 2 and 4 are',
    ),
    "strict, and too little memory": ("ml.r5.large", [M5, "ml.r5.large"], STRICT, "ml.r5.large needs 2 vCPUs and 16 GiB"),
    "strict, and larger than the machine": ("ml.p5.48xlarge", [], STRICT, "192 vCPUs and 2048 GiB"),
    "strict, and the memory is not known": ("ml.g7.12xlarge", [], STRICT, "ml.g7.12xlarge needs 48 vCPUs; this machine has 8"),
}


@pytest.mark.parametrize(("name", "placed", "rules", "words"), REFUSED.values(), ids=REFUSED)
def test_there_is_no_room_and_why(name: str, placed: list[str], rules: PlacementRules, words: str) -> None:
    cause = refusal(name, placed, MACHINE, rules)
    assert cause is not None
    assert words in cause
