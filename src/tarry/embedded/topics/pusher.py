"""Delivers pushes over HTTP: every subscriber in a lane of its own, so that a slow or dead one holds up nobody else.

A lane takes a few due pushes at a time, makes them side by side, and writes down how all of them ended in one transaction.
After a failure it goes on one by one, until something succeeds again. A crash between the delivery and the writing down
delivers once more, with the same MessageId.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import structlog

from tarry.core.errors import DependencyError, Throttled
from tarry.core.retry import SNS_HTTP, RetrySchedule
from tarry.core.topics import Push
from tarry.embedded.topics.deliveries import Deliveries, Tried
from tarry.embedded.topics.envelope import Envelopes
from tarry.ports import CHANNEL_PUSHES, Clock, Wakeups

log = structlog.get_logger(__name__)

ERROR_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """How pushes are made. ``ca_bundle`` names more authorities (PEM) that https subscribers may be certified by."""

    schedule: RetrySchedule = SNS_HTTP
    time_limit_s: float = 15.0  # AWS: a subscriber has 15 seconds to answer (SendMessageToHttp.prepare)
    pushes_per_subscriber_max: int = 8
    lanes_max: int = 512
    retention_s: float = 24 * 3600.0
    sweep_every_s: float = 300.0
    poll_s: float = 1.0
    ca_bundle: Path | None = None


class Pusher:
    """Delivers what is due. An async context: it holds the HTTP connections. ``run`` works until it is cancelled."""

    def __init__(
        self, deliveries: Deliveries, envelopes: Envelopes, clock: Clock, wakeups: Wakeups, settings: PushSettings | None = None
    ) -> None:
        self._deliveries = deliveries
        self._envelopes = envelopes
        self._clock = clock
        self._wakeups = wakeups
        self._settings = settings or PushSettings()
        self._http: aiohttp.ClientSession | None = None
        self._lanes: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context()
        if self._settings.ca_bundle is not None:
            context.load_verify_locations(cafile=self._settings.ca_bundle)
        # No limit here: waiting for a connection would count against the subscriber's time. The lanes are the limit.
        connector = aiohttp.TCPConnector(limit=0, ssl=context)
        timeout = aiohttp.ClientTimeout(total=self._settings.time_limit_s)
        self._http = aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def run(self) -> None:
        """Deliver until cancelled. A disk or a database that fails is logged and waited for; nothing is lost by it."""
        async with self._wakeups.listen(CHANNEL_PUSHES) as hints, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep())
            while True:
                try:
                    due = await self._deliveries.lanes_due()
                except (DependencyError, Throttled) as error:
                    log.warning("pushes could not be read", error=str(error))
                    due = []
                for lane in due:
                    if lane not in self._lanes and len(self._lanes) < self._settings.lanes_max:
                        self._lanes[lane] = tasks.create_task(self._work(lane))
                await hints.wait(self._settings.poll_s)

    async def _work(self, lane: int) -> None:
        """Make a lane's due pushes until there are none."""
        try:
            width = self._settings.pushes_per_subscriber_max
            while pushes := await self._deliveries.due(lane, width):
                tried = await asyncio.gather(*(self._try(push) for push in pushes))
                await self._deliveries.record(tried)
                failed = any(one.error is not None for one in tried)
                width = 1 if failed else self._settings.pushes_per_subscriber_max
        except (DependencyError, Throttled) as error:
            log.warning("pushes could not be written down", error=str(error))
            await self._clock.sleep(ERROR_PAUSE_S)
        finally:
            del self._lanes[lane]

    async def _try(self, push: Push) -> Tried:
        error, permanent = await self._post(push)
        if error is None:
            return Tried(push=push)
        wait_s = None if permanent else self._settings.schedule.delay_s_after(push.tries + 1)
        log.warning(
            "a message could not be delivered" if wait_s is None else "a message will be delivered later",
            message_id=push.message.id,
            subscription_arn=push.subscription.arn,
            tries=push.tries + 1,
            error=error,
            retry_after_s=wait_s,
        )
        return Tried(push=push, error=error, retry_after_s=wait_s)

    async def _post(self, push: Push) -> tuple[str | None, bool]:
        """One request; returns what went wrong, and whether trying again is useless. The answer's body is not read."""
        if self._http is None:
            raise RuntimeError("Pusher.run needs the pusher's context: `async with pusher: await pusher.run()`")
        envelope = self._envelopes.make(push)
        try:
            async with self._http.post(
                envelope.url, data=envelope.body, headers=envelope.headers, allow_redirects=False
            ) as response:
                return _verdict(response.status)
        except TimeoutError:
            return f"no answer within {self._settings.time_limit_s:g} s", False
        except aiohttp.InvalidURL:
            return "the endpoint is not a URL that can be called", True
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}", False

    async def _sweep(self) -> None:
        while True:
            try:
                while await self._deliveries.sweep(self._settings.retention_s):
                    pass
            except (DependencyError, Throttled) as error:
                log.warning("old pushes could not be removed", error=str(error))
            await self._clock.sleep(self._settings.sweep_every_s)


def _verdict(status: int) -> tuple[str | None, bool]:
    if 200 <= status < 300:
        return None, False
    # AWS: 4xx other than 429 is not tried again (sns/latest/dg/sns-dead-letter-queues.html: client-side errors).
    # OURS: nor is a redirect, which is never followed: AWS does not say, and the next answer would be the same.
    permanent = 300 <= status < 500 and status != 429
    return f"HTTP status {status}", permanent
