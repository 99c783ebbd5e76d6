"""One container from its start to its end: what it writes goes into its log file, how it ends is kept.

Containers outlive the daemon's connection, the daemon and this server, so everything here is resumed where it was left. The log
file's own time of modification is the time of the last piece in it, as the container's log has it: what is written after that is
still missing. A ``kill -9`` between writing a piece and setting that time loses at most what comes within those microseconds;
in the moment after a file that had become too long was emptied, it repeats what the daemon keeps.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass

import structlog

from tarry.backends.engines.docker_api import ContainerFacts, DockerApi, DockerAway, DockerRefused, LogPiece
from tarry.backends.engines.docker_options import Labels
from tarry.backends.engines.exit_codes import exit_code
from tarry.backends.engines.logs import LogFiles
from tarry.ports import LogName

log = structlog.get_logger(__name__)

RETRY_S = 0.5
"""Pause before a daemon that went away is asked again."""
_LOG_REST_S = 10.0
"""What is still in the daemon when the container has ended has to come within this time."""
_PIECES_AT_ONCE, _PAUSE_S = 500, 0.05
"""A container that floods its log is read no faster: the daemon keeps its newest 20 MB."""
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended: its exit code (negative: by that signal), and what else is known about it."""

    exit_code: int
    cause: str | None = None


class Watch:
    """Follows one container that has been started. ``close`` leaves it running."""

    def __init__(self, api: DockerApi, logs: LogFiles, container_id: str, labels: Labels) -> None:
        self.container_id = container_id
        self.labels = labels
        self.end: End | None = None
        """None while it runs, or while nobody can tell."""
        self.ended = asyncio.Event()
        self._api = api
        self._logs = logs
        self._copied = False
        """Whether this process has written into the log: its time then counts, also if the file has just been emptied."""
        self._task = asyncio.create_task(self._follow(), name=f"watch {labels.instance_id}/{labels.index}")

    async def close(self) -> None:
        """Look no longer."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _follow(self) -> None:
        copying = asyncio.create_task(self._copy_log(), name=f"log {self.labels.instance_id}/{self.labels.index}")
        try:
            end = await self._end()
            await asyncio.wait({copying}, timeout=_LOG_REST_S)
            self.end = end
            self.ended.set()
        finally:
            copying.cancel()
            await asyncio.wait({copying})

    async def _end(self) -> End:
        while True:
            try:
                await self._api.wait(self.container_id)
                facts = await self._api.inspect(self.container_id)
                if not facts.running:
                    return _end_of(facts, self.labels)
            except DockerRefused as error:
                if error.status == 404:
                    return End(-9, "Its container has been removed by somebody else.")
                log.warning("the Docker daemon says nothing of a container", instance=self.labels.instance_id, error=str(error))
            except DockerAway:
                pass  # the container may well run on; whether it answers is seen by its pings
            await asyncio.sleep(RETRY_S)

    async def _copy_log(self) -> None:
        one = self.labels
        try:
            descriptor = self._logs.open(self._log_name)
        except OSError as error:
            log.warning("a container's log cannot be written", instance=one.instance_id, error=str(error))
            return
        try:
            more = True
            while more:
                more = await self._copy_some(descriptor)
            await self._keep_log_short()
        except DockerRefused as error:
            if error.status != 404:
                log.warning("a container's log cannot be read", instance=one.instance_id, error=str(error))
        finally:
            os.close(descriptor)

    async def _copy_some(self, descriptor: int) -> bool:
        """Copy until there is no more; whether there may be more later, since the container runs on."""
        state = os.fstat(descriptor)
        since_ns = state.st_mtime_ns + 1 if state.st_size or self._copied else 0
        with contextlib.suppress(DockerAway):
            async with contextlib.aclosing(self._api.output(self.container_id, since_ns)) as pieces:
                count = 0
                async for piece in pieces:
                    _append(descriptor, piece)
                    self._copied = True
                    count += 1
                    if count % _PIECES_AT_ONCE == 0:
                        await self._keep_log_short()
                        await asyncio.sleep(_PAUSE_S)
            if not (await self._api.inspect(self.container_id)).running:
                return False
        await self._keep_log_short()
        await asyncio.sleep(RETRY_S)
        return True

    async def _keep_log_short(self) -> None:
        if self._logs.is_long(self._log_name):
            await asyncio.to_thread(self._logs.shorten, self._log_name)

    @property
    def _log_name(self) -> LogName:
        one = self.labels
        return LogName(
            endpoint_name=one.endpoint_name, variant_name=one.variant_name, instance_id=one.instance_id, container=one.hostname
        )


def _append(descriptor: int, piece: LogPiece) -> None:
    with contextlib.suppress(OSError):  # a full disk loses the log first, and nothing else
        os.write(descriptor, piece.content)
        if piece.at_ns:
            os.utime(descriptor, ns=(piece.at_ns, piece.at_ns))


def _end_of(facts: ContainerFacts, labels: Labels) -> End:
    code = exit_code(facts.exit_code)
    if facts.out_of_memory:
        return End(
            code,
            f"It ran out of memory: on this machine {labels.instance_type} has {facts.memory_bytes / _GIB:.3g} GiB. "
            "Choose a larger instance type, or a smaller model or batch.",
        )
    return End(code)
