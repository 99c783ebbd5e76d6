"""The extension API as served."""

from tarry.aws.call import Service
from tarry.aws.services.tarry.invocations import invocation_operations
from tarry.aws.services.tarry.keys import key_operations
from tarry.aws.services.tarry.queues import queue_operations
from tarry.control.access_keys import AccessKeyCommands
from tarry.control.invocations import InvocationCommands


def tarry_service(keys: AccessKeyCommands, invocations: InvocationCommands) -> Service:
    """The extension API over its commands."""
    return Service(
        name="tarry",
        operations={**key_operations(keys), **invocation_operations(invocations), **queue_operations(invocations)},
    )
