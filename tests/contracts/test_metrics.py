"""What ports.Metrics promises, held against the counts of a process and the fake."""

import pytest

from tarry.backends.metrics import ProcessMetrics
from tarry.ports import Metrics
from tarry.testing.metrics import FakeMetrics


@pytest.fixture(params=[ProcessMetrics, FakeMetrics])
def metrics(request: pytest.FixtureRequest) -> Metrics:
    made: Metrics = request.param()
    return made


def test_nothing_is_counted_at_first(metrics: Metrics) -> None:
    assert metrics.snapshot() == {}


def test_counts_add_up_by_name_and_endpoint(metrics: Metrics) -> None:
    metrics.count("Done", "a")
    metrics.count("Done", "a", 2.5)
    metrics.count("Done", "b")
    metrics.count("Lost", "a", 0.0)
    assert metrics.snapshot() == {("Done", "a"): 3.5, ("Done", "b"): 1.0, ("Lost", "a"): 0.0}


def test_a_snapshot_does_not_change_any_more(metrics: Metrics) -> None:
    metrics.count("Done", "a")
    before = metrics.snapshot()
    metrics.count("Done", "a")
    metrics.count("Done", "b")
    assert before == {("Done", "a"): 1.0}


def test_looking_for_what_was_not_counted_counts_nothing(metrics: Metrics) -> None:
    assert ("Done", "a") not in metrics.snapshot()
    with pytest.raises(KeyError):
        metrics.snapshot()["Done", "a"]
    assert metrics.snapshot() == {}
