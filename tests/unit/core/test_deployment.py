"""How an endpoint's queue is split by weights."""

import uuid
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tarry.core.deployment import BUCKETS, split_buckets
from tarry.core.invocation import bucket_of

WEIGHTS = st.dictionaries(
    st.text(alphabet="abcdefghij", min_size=1, max_size=2), st.floats(0, 1000, allow_subnormal=False), min_size=1, max_size=10
)


@given(WEIGHTS)
def test_every_bucket_has_one_owner_and_shares_are_within_one_bucket_of_the_weights(weights: dict[str, float]) -> None:
    shares = split_buckets({("d", name): weight for name, weight in weights.items()})
    assert sorted(bucket for share in shares for bucket in share.buckets) == list(range(BUCKETS))
    total = sum(weights.values())
    if total > 0:
        counts = {share.variant_name: len(share.buckets) for share in shares}
        for name, weight in weights.items():
            assert abs(counts.get(name, 0) - weight / total * BUCKETS) < 1


def test_a_weight_of_zero_gets_nothing_beside_others_and_all_zero_split_evenly() -> None:
    assert [(share.variant_name, len(share.buckets)) for share in split_buckets({("d", "A"): 0, ("d", "B"): 1})] == [("B", 100)]
    assert [len(share.buckets) for share in split_buckets({("d", "A"): 0, ("d", "B"): 0})] == [50, 50]
    assert split_buckets({}) == ()


@pytest.mark.parametrize("weights", [{"A": 1.0, "B": 1.0}, {"A": 9.0, "B": 1.0}, {"A": 1.0, "B": 2.0, "C": 7.0}])
def test_invocations_are_split_as_the_weights_say(weights: dict[str, float]) -> None:
    """Chi-square over ids as the server makes them; the seed is fixed, so this is no game of chance."""
    random, count = Random(7), 20_000
    owners = {
        bucket: share.variant_name
        for share in split_buckets({("d", name): weight for name, weight in weights.items()})
        for bucket in share.buckets
    }
    got = Counter(owners[bucket_of(str(uuid.UUID(int=random.getrandbits(128), version=4)))] for _ in range(count))
    total = sum(weights.values())
    # The buckets are whole numbers: the share that is expected is that of the buckets.
    expected = {name: sum(owner == name for owner in owners.values()) / BUCKETS * count for name in weights}
    assert all(abs(expected[name] / count - weights[name] / total) < 0.01 for name in weights)
    chi_square = sum((got[name] - expected[name]) ** 2 / expected[name] for name in weights)
    assert chi_square < 13.8  # p = 0.001 at two degrees of freedom
