"""Alarms that tests set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tarry.core.errors import DependencyError
from tarry.ports import AlarmState


@dataclass(slots=True)
class FakeAlarms:
    """ports.Alarms in memory: ``known`` is what there is; none can be read while ``failing``."""

    known: dict[str, AlarmState] = field(default_factory=dict)
    failing: bool = False

    async def states(self, names: Sequence[str]) -> Mapping[str, AlarmState]:
        """See ports.Alarms."""
        if self.failing:
            raise DependencyError("The alarms cannot be read.")
        return {name: self.known[name] for name in names if name in self.known}
