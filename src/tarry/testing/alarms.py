"""Alarms that tests set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tarry.ports import AlarmState


@dataclass(slots=True)
class FakeAlarms:
    """ports.Alarms in memory: ``known`` is what there is."""

    known: dict[str, AlarmState] = field(default_factory=dict)

    async def states(self, names: Sequence[str]) -> Mapping[str, AlarmState]:
        """See ports.Alarms."""
        return {name: self.known[name] for name in names if name in self.known}
