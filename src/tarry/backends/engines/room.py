"""The room that instances take on the machine: who runs on it now, and whether one more may."""

from collections.abc import Callable

from tarry.backends.engines.machine import measure_machine
from tarry.core.errors import InsufficientCapacity
from tarry.core.placement import Machine, PlacementRules, refusal


class Room:
    """Counts instances by type, and measures the machine whenever one more is to be placed."""

    def __init__(self, rules: PlacementRules | None = None, measure: Callable[[], Machine] = measure_machine) -> None:
        """``measure`` is quick and tells what the machine has now. Without rules everything has room."""
        self.measure = measure
        self._rules = rules or PlacementRules()
        self._types: dict[str, str] = {}

    def take(self, instance_id: str, instance_type: str) -> None:
        """Take room for an instance; repeats change nothing. Errors: InsufficientCapacity."""
        others = [kind for other, kind in self._types.items() if other != instance_id]
        if (cause := refusal(instance_type, others, self.measure(), self._rules)) is not None:
            raise InsufficientCapacity(cause)
        self.occupy(instance_id, instance_type)

    def occupy(self, instance_id: str, instance_type: str) -> None:
        """Count an instance that runs already, whether or not there would be room for it."""
        self._types[instance_id] = instance_type

    def give_back(self, instance_id: str) -> None:
        """The instance has ended. Repeats change nothing."""
        self._types.pop(instance_id, None)
