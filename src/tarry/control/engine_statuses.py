"""What the engine shows of its instances, for many who watch one each.

An engine tells of all its instances at once. Were it asked anew for each instance that is watched, its work would grow with
the square of their number.
"""

import asyncio
from collections.abc import Mapping

from tarry.ports import Clock, Engine, EngineStatus


class EngineStatuses:
    """One look at the engine for all who are content with it."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._seen: Mapping[str, EngineStatus] = {}

    async def of(self, instance_id: str, *, after: float) -> EngineStatus | None:
        """An instance as a look that began after this time (monotonic) shows it; None where the engine does not know it now."""
        async with self._looking:
            if self._looked_at <= after or instance_id not in self._seen:
                begun = self._clock.monotonic()
                self._seen = {status.instance_id: status for status in await self._engine.observe()}
                self._looked_at = begun
            return self._seen.get(instance_id)
