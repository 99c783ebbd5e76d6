"""What the inside of Tarry needs of the outside, as Protocols. Read this package second, after ARCHITECTURE.md.

Nobody above this line knows a concrete database, store, engine or topic; ``bootstrap`` picks them. Each method says what
is atomic, what may be repeated, in which order things come, which errors there are, and what holds after a crash. Each port
has one contract suite in ``tests/contracts``, run against every backend and against the shipped fake in ``tarry.testing``.
"""

from tarry.ports.alarms import Alarms, AlarmState
from tarry.ports.instance_logs import InstanceLog, InstanceLogs, LogName, LogPart
from tarry.ports.instances import (
    ContainerSpec,
    Credentials,
    Engine,
    EngineStatus,
    Images,
    InstanceSpec,
    ModelRequest,
    ModelResponse,
    ModelServer,
    PingAnswer,
)
from tarry.ports.invocations import InvocationQuery, InvocationRecords, QueueControl
from tarry.ports.notifications import Notifier, Outbox, Outgoing
from tarry.ports.objects import ListedObject, ObjectStore, OpenObject, Staged
from tarry.ports.queue import (
    LOST,
    RETURNED,
    UNTOUCHED,
    Back,
    Claim,
    Decision,
    InvocationQueue,
    Lease,
    Overdue,
    Reaped,
    Renewed,
)
from tarry.ports.store import Add, Change, E, Entity, Page, PageQuery, Remove, Replace, SortBy, Store
from tarry.ports.system import (
    CHANNEL_ENDPOINTS,
    CHANNEL_OUTBOX,
    CHANNEL_PUSHES,
    CHANNEL_STOPS,
    Clock,
    Ids,
    Keyring,
    Listener,
    Metrics,
    Wakeups,
    channel_invocation,
    channel_queue,
)

__all__ = [
    "CHANNEL_ENDPOINTS",
    "CHANNEL_OUTBOX",
    "CHANNEL_PUSHES",
    "CHANNEL_STOPS",
    "LOST",
    "RETURNED",
    "UNTOUCHED",
    "Add",
    "AlarmState",
    "Alarms",
    "Back",
    "Change",
    "Claim",
    "Clock",
    "ContainerSpec",
    "Credentials",
    "Decision",
    "E",
    "Engine",
    "EngineStatus",
    "Entity",
    "Ids",
    "Images",
    "InstanceLog",
    "InstanceLogs",
    "InstanceSpec",
    "InvocationQuery",
    "InvocationQueue",
    "InvocationRecords",
    "Keyring",
    "Lease",
    "ListedObject",
    "Listener",
    "LogName",
    "LogPart",
    "Metrics",
    "ModelRequest",
    "ModelResponse",
    "ModelServer",
    "Notifier",
    "ObjectStore",
    "OpenObject",
    "Outbox",
    "Outgoing",
    "Overdue",
    "Page",
    "PageQuery",
    "PingAnswer",
    "QueueControl",
    "Reaped",
    "Remove",
    "Renewed",
    "Replace",
    "SortBy",
    "Staged",
    "Store",
    "Wakeups",
    "channel_invocation",
    "channel_queue",
]
