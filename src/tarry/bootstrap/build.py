"""Which class stands behind which port, and which loops run: explicit constructor calls, from the bottom to the top."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

import structlog

from tarry.aws.app import App
from tarry.aws.call import Service
from tarry.aws.services.s3 import s3_service
from tarry.aws.services.sagemaker import sagemaker_service
from tarry.aws.services.sagemaker_runtime import sagemaker_runtime_service
from tarry.aws.services.sns import sns_service
from tarry.aws.services.sts import sts_service
from tarry.backends.database.keyring import SqlKeyring
from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_decisions import decided_handles
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.images import ImageCatalogue
from tarry.backends.metrics import ProcessMetrics
from tarry.backends.model_data import ModelData
from tarry.backends.modelserver import HttpModelServer
from tarry.backends.system import SystemClock, SystemIds
from tarry.backends.wakeups import LocalWakeups
from tarry.bootstrap.directory import DataDirectory
from tarry.bootstrap.first_key import ensure_first_key
from tarry.control.commands import Commands
from tarry.control.reconciler import Reconciler
from tarry.core.names import Scope
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.dispatcher import Dispatcher
from tarry.delivery.intake import Intake
from tarry.delivery.settlement import Settlement
from tarry.delivery.slots import Slots
from tarry.delivery.sweeper import Sweeper
from tarry.delivery.worker import Worker
from tarry.embedded.buckets.buckets import Buckets
from tarry.embedded.buckets.store import EmbeddedObjectStore, publish_in_transaction
from tarry.embedded.topics.deliveries import Deliveries
from tarry.embedded.topics.envelope import Envelopes
from tarry.embedded.topics.notifier import EmbeddedNotifier
from tarry.embedded.topics.pusher import Pusher, PushSettings
from tarry.embedded.topics.signer import Signer
from tarry.embedded.topics.subscriptions import Subscriptions
from tarry.embedded.topics.topics import Topics
from tarry.settings import Settings

log = structlog.get_logger(__name__)

Loop = Callable[[], Coroutine[Any, Any, None]]


class Tarry:
    """Everything in one process, connected. ``failed`` ends only if a loop ends in a bug: then the server has to stop."""

    def __init__(self, app: App, slots: Slots, loops: Mapping[str, Loop], resources: AsyncExitStack) -> None:
        self.app = app
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slots = slots
        self._loops = loops
        self._resources = resources
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the loops."""
        for name, loop in self._loops.items():
            task = asyncio.create_task(loop(), name=name)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def drain(self, timeout_s: float) -> int:
        """No new claims; wait for running invocations; how many went back to the queue."""
        return await self._slots.drain(timeout_s)

    async def close(self) -> None:
        """End the loops, then close what they used, last opened first: instances stop, the database is flushed and closed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resources.aclose()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or self.failed.done():
            return
        error = task.exception() or RuntimeError(f"the loop {task.get_name()} ended by itself")
        log.error("a loop ended, the server stops", loop=task.get_name(), error=str(error))
        self.failed.set_exception(error)


async def build(settings: Settings, directory: DataDirectory, scope: Scope, public_url: str) -> Tarry:
    """Open the data directory's parts and connect them. Errors: those of opening (a newer schema, a full disk, a broken key)."""
    resources = AsyncExitStack()
    try:
        return await _build(settings, directory, scope, public_url, resources)
    except BaseException:
        await resources.aclose()
        raise


async def _build(settings: Settings, directory: DataDirectory, scope: Scope, public_url: str, resources: AsyncExitStack) -> Tarry:
    clock, ids, wakeups, metrics = SystemClock(), SystemIds(), LocalWakeups(), ProcessMetrics()
    database = await Database.open(directory.database)
    resources.push_async_callback(database.close)
    store, keyring, outbox = SqlStore(database, wakeups), SqlKeyring(database), SqlOutbox(database, clock)
    terms = LeaseTerms(clock=clock, ids=ids, lease_s=settings.queue.lease_s, epoch=await next_epoch(database))
    queue = SqlInvocationQueue(
        database,
        terms,
        wakeups,
        publish_in_transaction=publish_in_transaction,
        queued_max=settings.queue.queued_max,
    )
    await ensure_first_key(directory, keyring, scope, clock)

    buckets = Buckets(database, directory.root, clock, ids, region=scope.region, decided=decided_handles)
    await buckets.start()
    resources.push_async_callback(buckets.close)
    objects = EmbeddedObjectStore(buckets)

    topics = Topics(database, scope=scope, clock=clock, ids=ids, wakeups=wakeups)
    subscriptions = Subscriptions(database, clock=clock, ids=ids, wakeups=wakeups)
    signer = Signer.load(directory.root, clock.now_us())
    envelopes = Envelopes(signer, lambda: public_url)
    push_settings = PushSettings(ca_bundle=settings.topics.ca_bundle)
    pusher = await resources.enter_async_context(Pusher(Deliveries(database, clock), envelopes, clock, wakeups, push_settings))
    notifier = EmbeddedNotifier(topics)

    models = HttpModelServer()
    resources.push_async_callback(models.close)
    images = ImageCatalogue(settings.images.directories, settings.environments_dir or directory.root / "environments", _progress)
    engine = ProcessEngine(
        directory.root,
        images=images,
        model_data=ModelData(objects, directory.root / "models"),
        ports=PortRange(*settings.engine.ports),
        region=scope.region,
    )
    await engine.open()
    resources.push_async_callback(engine.close, grace_s=settings.engine.stop_grace_s)
    reconciler = Reconciler(store, engine, models, images, notifier, clock, ids, wakeups)
    resources.push_async_callback(reconciler.close)

    endpoints = EndpointDirectory(store, clock, wakeups, scope.region)
    settlement = Settlement(queue, objects, clock, metrics)
    slots = Slots(store, queue, Worker(queue, objects, models, settlement), models, clock, wakeups)
    services = {
        "sagemaker": sagemaker_service(Commands(store, clock, ids, scope, wakeups)),
        "sagemaker-runtime": sagemaker_runtime_service(Intake(endpoints, queue, clock, ids), endpoints),
        "s3": s3_service(buckets, scope),
        "sns": sns_service(topics, subscriptions),
        "sts": sts_service(),
    }
    app = App(
        services=services,
        keyring=keyring,
        scope=scope,
        clock=clock,
        ids=ids,
        public_url=lambda: public_url,
        internal={signer.certificate_path: signer.certificate},
    )
    loops: dict[str, Loop] = {
        "endpoints": endpoints.run,
        "reconciler": reconciler.run,
        "slots": slots.run,
        "sweeper": Sweeper(queue, settlement, clock).run,
        "dispatcher": Dispatcher(outbox, notifier, metrics, clock, wakeups).run,
        "pusher": pusher.run,
    }
    return Tarry(app, slots, loops, resources)


def all_services() -> Mapping[str, Service]:
    """The services with their operations but nothing behind them: for the compatibility page."""
    nothing = cast("Any", None)
    return {
        "sagemaker": sagemaker_service(nothing),
        "sagemaker-runtime": sagemaker_runtime_service(nothing, nothing),
        "s3": s3_service(nothing, nothing),
        "sns": sns_service(nothing, nothing),
        "sts": sts_service(),
    }


def _progress(line: str) -> None:
    log.info("image", progress=line)
