"""Starts under way: an instance is started once, however often that is asked, and a start can be ended from outside."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from tarry.core.errors import InstanceStartError

Addresses = tuple[str, ...]


class Starts:
    """One task for each instance that is being started."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Addresses]] = {}

    @property
    def ids(self) -> Iterable[str]:
        """The instances that are being started."""
        return tuple(self._tasks)

    async def run(
        self, instance_id: str, start: Callable[[], Coroutine[Any, Any, Addresses]], ended: Callable[[], None]
    ) -> Addresses:
        """Wait for the start that is under way, or begin one; ``ended`` hears of its end, good or bad.

        When the caller is cancelled, the start goes on: ``end`` it. Errors: those of ``start``; InstanceStartError where somebody
        else has ended it.
        """
        task = self._tasks.get(instance_id)
        if task is None:
            task = asyncio.create_task(start(), name=f"start {instance_id}")
            self._tasks[instance_id] = task
            task.add_done_callback(lambda _: self._forget(instance_id, ended))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise InstanceStartError("The instance was stopped while it was starting.") from None

    async def end(self, instance_id: str) -> None:
        """Cancel a start, and wait until it has undone itself. Unknown ids are no error."""
        task = self._tasks.get(instance_id)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def _forget(self, instance_id: str, ended: Callable[[], None]) -> None:
        self._tasks.pop(instance_id, None)
        ended()


def _is_cancelled() -> bool:
    """Whether the current task was asked to end (and not merely something that it waited for)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
