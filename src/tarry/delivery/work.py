"""What has been done so far on one claim: which step came when, and what the container said.

The worker writes it while it goes on; the settlement puts it into the outcome, and, where the container's own words cannot be
published, into the failure object.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from tarry.core.invocation import FinalAttempt
from tarry.ports import Claim

EXCERPT_BYTES_MAX = 1024


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Work:
    """One attempt on its way. Times are microseconds since the epoch, UTC; None: it has not come so far."""

    claim: Claim
    downloaded_at_us: int | None = None
    answered_at_us: int | None = None
    uploaded_at_us: int | None = None
    status: int | None = None
    """What the container answered."""
    excerpt: bytes = b""
    """The first bytes of its answer."""
    on_answered: Callable[[], None] = _nothing
    """Called once the container has nothing more to do with it: its whole answer is here, or the connection is closed."""
    with_container: bool = True
    stopping: bool = False
    """Somebody wants this invocation to be stopped: its attempt is cancelled for that."""

    async def watched(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks, the first of them remembered."""
        async for chunk in chunks:
            if len(self.excerpt) < EXCERPT_BYTES_MAX:
                self.excerpt = (self.excerpt + chunk)[:EXCERPT_BYTES_MAX]
            yield chunk

    def answered(self) -> None:
        """The container is free for another request, whatever becomes of this one's answer."""
        self.with_container = False
        self.on_answered()

    def attempt(self) -> FinalAttempt | None:
        """The attempt for the records; None for a claim that no instance had."""
        if self.claim.overdue is not None:
            return None
        return FinalAttempt(
            number=self.claim.attempt,
            instance_id=self.claim.lease.instance_id,
            claimed_at_us=self.claim.claimed_at_us,
            downloaded_at_us=self.downloaded_at_us,
            answered_at_us=self.answered_at_us,
            uploaded_at_us=self.uploaded_at_us,
        )


async def one_chunk(body: bytes) -> AsyncIterator[bytes]:
    """Bytes in the form of a stream."""
    yield body
