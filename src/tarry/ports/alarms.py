"""What watches an update: alarms on metrics, by name."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol


class AlarmState(StrEnum):
    """What an alarm says. AWS: CloudWatch API reference, MetricAlarm.StateValue."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class Alarms(Protocol):
    """Reading alarms. They are made and changed elsewhere."""

    async def states(self, names: Sequence[str]) -> Mapping[str, AlarmState]:
        """The state of each alarm as of now; names that no alarm has are left out. Errors: DependencyError."""
        ...
