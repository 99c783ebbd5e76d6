"""Which endpoints take invocations, and with which configuration: looked up on every accept, so kept in memory.

An entry lives until the next hint that endpoints changed, and for a second at most. An accept that slips through on an
entry which has just become wrong is caught by ``InvocationQueue.put``, which refuses endpoints that are being deleted.
"""

import asyncio

from tarry.core.deployment import Deployment
from tarry.core.endpoint import ACCEPTING, Endpoint
from tarry.core.errors import EndpointNotFound
from tarry.core.invocation import AcceptView
from tarry.ports import CHANNEL_ENDPOINTS, Clock, Store, Wakeups

MAX_AGE_S = 1.0
ENTRIES_MAX = 10_000


class EndpointDirectory:
    """Endpoint name (without case) → what acceptance needs to know."""

    def __init__(self, store: Store, clock: Clock, wakeups: Wakeups, region: str) -> None:
        self._store = store
        self._clock = clock
        self._wakeups = wakeups
        self._region = region
        self._entries: dict[str, tuple[float, AcceptView]] = {}
        self._readings: dict[str, asyncio.Task[AcceptView | None]] = {}
        """One for all who ask at once: sixty-four requests in flight would otherwise read sixty-four times each second."""

    async def lookup(self, name: str) -> AcceptView:
        """The view of an endpoint that takes invocations. Errors: EndpointNotFound."""
        key = name.lower()
        entry = self._entries.get(key)
        if entry is not None and self._clock.monotonic() - entry[0] < MAX_AGE_S:
            return entry[1]
        reading = self._readings.get(key)
        if reading is None:
            reading = self._readings[key] = asyncio.create_task(self._keep(key))
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())  # told, even if nobody waits any more
        view = await asyncio.shield(reading)
        if view is None:
            # AWS: an endpoint that is not routable is "not found" to the runtime (amazon-sagemaker-examples#293, #559).
            raise EndpointNotFound(name)
        return view

    async def run(self) -> None:
        """Forget everything at each hint; runs until cancelled."""
        async with self._wakeups.listen(CHANNEL_ENDPOINTS) as hints:
            while True:
                if await hints.wait(60.0):
                    self._entries.clear()
                    self._readings.clear()

    async def _keep(self, key: str) -> AcceptView | None:
        """Read an endpoint, and keep what was read unless a hint came meanwhile."""
        now = self._clock.monotonic()
        try:
            view = await self._read(key)
            if view is not None and self._readings.get(key) is asyncio.current_task():
                if len(self._entries) >= ENTRIES_MAX:
                    self._entries.clear()
                self._entries[key] = (now, view)
            return view
        finally:
            if self._readings.get(key) is asyncio.current_task():
                del self._readings[key]

    async def _read(self, name: str) -> AcceptView | None:
        endpoint = await self._store.named(Endpoint, name)
        if endpoint is None or endpoint.status not in ACCEPTING or endpoint.active_deployment_id is None:
            return None
        deployment = await self._store.get(Deployment, endpoint.active_deployment_id)
        if deployment is None:
            return None
        return AcceptView(
            endpoint_id=endpoint.id,
            endpoint_name=endpoint.name,
            region=self._region,
            config=deployment.config.async_inference,
            retry=endpoint.retry,
        )
