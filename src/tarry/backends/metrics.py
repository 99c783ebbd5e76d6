"""Counts of what happened, in memory: cheap enough to be made on every request, lost at a restart."""

from collections import defaultdict
from collections.abc import Mapping


class ProcessMetrics:
    """ports.Metrics for one process."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, str], float] = defaultdict(float)

    def count(self, name: str, endpoint_name: str, value: float = 1.0) -> None:
        """Add to a count."""
        self._counts[name, endpoint_name] += value

    def snapshot(self) -> Mapping[tuple[str, str], float]:
        """All counts since the start."""
        return dict(self._counts)
