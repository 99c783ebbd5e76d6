"""Which class stands behind which port, and which loops run: explicit constructor calls, from the bottom to the top."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import structlog

from tarry.aws.app import App
from tarry.aws.call import Service
from tarry.aws.services.iam import iam_service
from tarry.aws.services.s3 import s3_service
from tarry.aws.services.sagemaker import sagemaker_service
from tarry.aws.services.sagemaker_runtime import sagemaker_runtime_service
from tarry.aws.services.sns import sns_service
from tarry.aws.services.sts import sts_service
from tarry.aws.services.tarry import tarry_service
from tarry.backends.alarms import NoAlarms
from tarry.backends.database.invocation_records import SqlInvocationRecords
from tarry.backends.database.keyring import SqlKeyring
from tarry.backends.database.outbox import SqlOutbox
from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_control import SqlQueueControl
from tarry.backends.database.queue_decisions import decided_handles
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.logs import LogFiles
from tarry.backends.engines.owner import TOKEN_FILE, read_or_make_token
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.engines.room import Room
from tarry.backends.engines.sandbox import choose_sandbox
from tarry.backends.engines.variables import Cloud
from tarry.backends.metrics import ProcessMetrics
from tarry.backends.model_archive import ArchiveBounds
from tarry.backends.model_data import ModelData
from tarry.backends.modelserver import HttpModelServer
from tarry.backends.system import SystemClock, SystemIds, free_bytes
from tarry.backends.wakeups import LocalWakeups
from tarry.bootstrap.directory import DataDirectory
from tarry.bootstrap.docker import open_docker
from tarry.bootstrap.first_key import ensure_first_key
from tarry.bootstrap.images import added_images, open_catalogue
from tarry.bootstrap.instance_policy import read_instance_policy
from tarry.bootstrap.sdk_config import write_sdk_config
from tarry.control.access_keys import AccessKeyCommands
from tarry.control.commands import Commands
from tarry.control.context import Context
from tarry.control.instance_keys import InstanceKeys
from tarry.control.instance_logs import InstanceLogCommands
from tarry.control.instances import InstanceLimits
from tarry.control.invocations import InvocationPorts
from tarry.control.reconciler import Reconciler
from tarry.control.retention import Retention
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
from tarry.embedded.topics.notifier import EmbeddedNotifier, announce_in_transaction
from tarry.embedded.topics.pusher import Pusher, PushSettings
from tarry.embedded.topics.signer import Signer
from tarry.embedded.topics.subscriptions import Subscriptions
from tarry.embedded.topics.topics import Topics
from tarry.ports import (
    Clock,
    Engine,
    Ids,
    Images,
    InstanceLogs,
    InvocationQueue,
    InvocationRecords,
    Keyring,
    ModelServer,
    Notifier,
    ObjectStore,
    Outbox,
    QueueControl,
    Store,
    Wakeups,
)
from tarry.settings import EngineSettings, Settings

log = structlog.get_logger(__name__)

Loop = Callable[[], Coroutine[Any, Any, None]]


class Tarry:
    """Everything in one process, connected. ``failed`` ends only if a loop ends in a bug: then the server has to stop."""

    def __init__(
        self,
        app: App,
        commands: Commands,
        reconciler: Reconciler,
        slots: Slots,
        loops: Mapping[str, Loop],
        resources: AsyncExitStack,
    ) -> None:
        self.app = app
        self._commands = commands
        self._reconciler = reconciler
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._slots = slots
        self._loops = loops
        self._resources = resources
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Put away the instances of an earlier server, then start the loops: no work may go to one that is gone."""
        await self._reconciler.take_over()
        for name, loop in self._loops.items():
            task = asyncio.create_task(loop(), name=name)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def drain(self, timeout_s: float) -> int:
        """No new claims, no more long polls; wait for running invocations; how many went back to the queue."""
        self._commands.invocations.end_waits()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What every part stands on."""

    settings: Settings
    directory: DataDirectory
    scope: Scope
    public_url: str
    resources: AsyncExitStack
    clock: Clock
    ids: Ids
    wakeups: Wakeups


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    database: Database
    store: Store
    queue: InvocationQueue
    outbox: Outbox
    records: InvocationRecords
    control: QueueControl
    keyring: Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cloud:
    """The embedded cloud, and the ports that it serves."""

    buckets: Buckets
    objects: ObjectStore
    topics: Topics
    subscriptions: Subscriptions
    signer: Signer
    pusher: Pusher
    notifier: Notifier


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instances:
    models: ModelServer
    images: Images
    engine: Engine
    logs: InstanceLogs


async def build(settings: Settings, directory: DataDirectory, scope: Scope, public_url: str) -> Tarry:
    """Open the data directory's parts and connect them. Errors: those of opening (a newer schema, a full disk, a broken key)."""
    async with AsyncExitStack() as resources:
        ground = _Ground(
            settings=settings,
            directory=directory,
            scope=scope,
            public_url=public_url,
            resources=resources,
            clock=SystemClock(),
            ids=SystemIds(),
            wakeups=LocalWakeups(),
        )
        data = await _open_data(ground)
        cloud = await _open_cloud(ground, data)
        instances = await _open_instances(ground, cloud)
        return _connect(ground, data, cloud, instances, resources.pop_all())


async def _open_data(ground: _Ground) -> _Data:
    database = await Database.open(ground.directory.database)
    ground.resources.push_async_callback(database.close)
    settings = ground.settings.queue
    terms = LeaseTerms(clock=ground.clock, ids=ground.ids, lease_s=settings.lease_s, epoch=await next_epoch(database))
    keyring = SqlKeyring(database)
    await ensure_first_key(ground.directory, keyring, ground.scope, ground.clock)
    write_sdk_config(ground.directory.root, ground.scope)
    return _Data(
        database=database,
        store=SqlStore(database, ground.wakeups),
        # Buckets and topics live in the same database: publishing and announcing are part of the decision's own commit.
        queue=SqlInvocationQueue(
            database,
            terms,
            ground.wakeups,
            publish_in_transaction=publish_in_transaction,
            announce_in_transaction=announce_in_transaction,
            bounds=Bounds(settings.queued_max, settings.disk_reserve_bytes, partial(free_bytes, ground.directory.root)),
        ),
        outbox=SqlOutbox(database, ground.clock),
        records=SqlInvocationRecords(database, ground.clock),
        control=SqlQueueControl(database, ground.clock, ground.wakeups),
        keyring=keyring,
    )


async def _open_cloud(ground: _Ground, data: _Data) -> _Cloud:
    database, clock, ids, wakeups = data.database, ground.clock, ground.ids, ground.wakeups
    buckets = Buckets(database, ground.directory.root, clock, ids, region=ground.scope.region, decided=decided_handles)
    await buckets.start()
    ground.resources.push_async_callback(buckets.close)
    topics = Topics(database, scope=ground.scope, clock=clock, ids=ids, wakeups=wakeups)
    signer = Signer.load(ground.directory.root, clock.now_us())
    envelopes = Envelopes(signer, lambda: ground.public_url)
    pushes = PushSettings(ca_bundle=ground.settings.topics.ca_bundle)
    pusher = Pusher(Deliveries(database, clock), envelopes, clock, wakeups, pushes)
    return _Cloud(
        buckets=buckets,
        objects=EmbeddedObjectStore(buckets),
        topics=topics,
        subscriptions=Subscriptions(database, clock=clock, ids=ids, wakeups=wakeups),
        signer=signer,
        pusher=await ground.resources.enter_async_context(pusher),
        notifier=EmbeddedNotifier(topics),
    )


async def _open_instances(ground: _Ground, cloud: _Cloud) -> _Instances:
    settings, root = ground.settings, ground.directory.root
    if ground.directory.remember_engine(settings.engine.kind) == "docker" and settings.engine.kind != "docker":
        log.warning(
            "the Docker engine ran here before: its containers may run on, and this engine knows nothing of them",
            to_remove=f"docker ps -aq --filter label=tarry.owner=$(cat {root / 'engine-token'}) | xargs -r docker rm -f",
        )
    bounds = ArchiveBounds(disk_reserve_bytes=settings.queue.disk_reserve_bytes)
    model_data = ModelData(cloud.objects, root / "models", bounds)
    if settings.engine.kind == "docker":
        images, engine, logs = await open_docker(
            settings, root, model_data, ground.scope.region, ground.public_url, ground.resources
        )
        return _Instances(models=HttpModelServer(), images=images, engine=engine, logs=logs)
    return await _open_processes(ground, model_data)


async def _open_processes(ground: _Ground, model_data: ModelData) -> _Instances:
    settings, root = ground.settings, ground.directory.root
    logs = LogFiles(root, settings.engine.log_max_bytes)
    images = open_catalogue(settings, _progress, read_or_make_token(root / TOKEN_FILE))
    secrets = () if settings.server.tls_key is None else (settings.server.tls_key,)
    engine = ProcessEngine(
        root,
        sandbox=await choose_sandbox(settings.engine.sandbox, settings.engine.user, root, secrets),
        images=images,
        model_data=model_data,
        ports=PortRange(*settings.engine.ports),
        room=Room(settings.engine.placement),
        region=ground.scope.region,
        cloud=Cloud(endpoint_url=ground.public_url, ca_bundle=settings.server.tls_cert),
        logs=logs,
        processes_max=settings.engine.processes_max,
    )
    await engine.open()
    await asyncio.to_thread(added_images(root).discard_old)
    ground.resources.push_async_callback(engine.close, grace_s=settings.engine.stop_grace_s)
    return _Instances(models=HttpModelServer(engine.recognise), images=images, engine=engine, logs=logs)


def _connect(ground: _Ground, data: _Data, cloud: _Cloud, instances: _Instances, resources: AsyncExitStack) -> Tarry:
    clock, ids, scope, wakeups, metrics = ground.clock, ground.ids, ground.scope, ground.wakeups, ProcessMetrics()
    store, queue, models, lease_s = data.store, data.queue, instances.models, ground.settings.queue.lease_s
    alarms = NoAlarms()
    keys = InstanceKeys(data.keyring, clock, read_instance_policy(ground.settings.engine.instance_policy))
    limits = _instance_limits(ground.settings.engine)
    reconciler = Reconciler(
        store, instances.engine, models, instances.images, cloud.notifier, alarms, keys, clock, ids, wakeups, limits
    )
    resources.push_async_callback(reconciler.close)
    endpoints = EndpointDirectory(store, clock, wakeups, scope.region)
    settlement = Settlement(queue, cloud.objects, data.records, clock, metrics)
    input_bytes_max = ground.settings.queue.input_bytes_max
    worker = Worker(queue, cloud.objects, models, data.records, settlement, clock, input_bytes_max=input_bytes_max)
    slots = Slots(store, queue, worker, models, clock, wakeups, lease_s)
    invocations = InvocationPorts(queue=queue, records=data.records, control=data.control, wakeups=wakeups)
    context = Context(store=store, clock=clock, ids=ids, scope=scope, objects=cloud.objects)
    commands, logs = Commands(context, alarms, invocations), InstanceLogCommands(context, instances.logs)
    app = App(
        services={
            "sagemaker": sagemaker_service(commands),
            "sagemaker-runtime": sagemaker_runtime_service(Intake(endpoints, queue, clock, ids), endpoints),
            "s3": s3_service(cloud.buckets, scope),
            "sns": sns_service(cloud.topics, cloud.subscriptions),
            "iam": iam_service(scope),
            "sts": sts_service(),
            "tarry": tarry_service(AccessKeyCommands(data.keyring, clock, scope), commands, logs),
        },
        keyring=data.keyring,
        scope=scope,
        clock=clock,
        ids=ids,
        public_url=lambda: ground.public_url,
        endpoint_of=commands.invocations.endpoint_of,
        internal={cloud.signer.certificate_path: cloud.signer.certificate},
    )
    loops: dict[str, Loop] = {
        "endpoints": endpoints.run,
        "reconciler": reconciler.run,
        "slots": slots.run,
        "sweeper": Sweeper(queue, settlement, clock, wakeups, slots.renew).run,
        "retention": Retention(store, data.control, instances.logs, clock, **ground.settings.retention.model_dump()).run,
        "dispatcher": Dispatcher(data.outbox, cloud.notifier, metrics, clock, wakeups).run,
        "pusher": cloud.pusher.run,
    }
    return Tarry(app, commands, reconciler, slots, loops, resources)


def _instance_limits(settings: EngineSettings) -> InstanceLimits:
    return InstanceLimits(
        unanswered_s=settings.unanswered_s,
        stop_grace_s=settings.stop_grace_s,
        provision_timeout_s=settings.provision_timeout_s,
    )


class _Nothing:
    """Stands where a part would, for services that are only asked which operations they have."""

    def __getattr__(self, name: str) -> "_Nothing":
        return self


def all_services() -> Mapping[str, Service]:
    """The services with their operations but nothing behind them: for the compatibility page."""
    nothing = cast("Any", _Nothing())
    return {
        "sagemaker": sagemaker_service(nothing),
        "sagemaker-runtime": sagemaker_runtime_service(nothing, nothing),
        "s3": s3_service(nothing, nothing),
        "sns": sns_service(nothing, nothing),
        "iam": iam_service(nothing),
        "sts": sts_service(),
        "tarry": tarry_service(nothing, nothing, nothing),
    }


def _progress(line: str) -> None:
    log.info("image", progress=line)
