"""No alarms yet: an update that names one is refused when it is asked for, instead of being watched by nobody."""

from collections.abc import Mapping, Sequence

from tarry.ports import AlarmState


class NoAlarms:
    """ports.Alarms of a server that has none."""

    async def states(self, names: Sequence[str]) -> Mapping[str, AlarmState]:
        """See ports.Alarms: no alarm has any of the names."""
        return {}
