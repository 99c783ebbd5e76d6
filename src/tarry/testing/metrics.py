"""Counts that a test can look at."""

from collections.abc import Mapping


class FakeMetrics:
    """ports.Metrics. ``counts`` holds them by (name, endpoint name)."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], float] = {}

    def count(self, name: str, endpoint_name: str, value: float = 1.0) -> None:
        """See ports.Metrics."""
        self.counts[name, endpoint_name] = self.counts.get((name, endpoint_name), 0.0) + value

    def snapshot(self) -> Mapping[tuple[str, str], float]:
        """See ports.Metrics."""
        return dict(self.counts)
