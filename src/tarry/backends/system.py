"""The machine's clock and its source of random numbers, behind the ports Clock and Ids."""

import asyncio
import secrets
import time
import uuid


class SystemClock:
    """Time as the machine has it."""

    def now_us(self) -> int:
        """See ports.Clock."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """See ports.Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ports.Clock."""
        await asyncio.sleep(seconds)


class SystemIds:
    """Identifiers from the operating system's random numbers."""

    def uuid(self) -> str:
        """See ports.Ids."""
        return str(uuid.uuid4())

    def token(self) -> str:
        """See ports.Ids: 256 bits."""
        return secrets.token_urlsafe(32)
