"""The extension API as served."""

from tarry.aws.call import Service
from tarry.aws.services.tarry.invocations import invocation_operations
from tarry.aws.services.tarry.keys import key_operations
from tarry.aws.services.tarry.queues import queue_operations
from tarry.aws.services.tarry.redrives import redrive_operations
from tarry.control.access_keys import AccessKeyCommands
from tarry.control.commands import Commands


def tarry_service(keys: AccessKeyCommands, commands: Commands) -> Service:
    """The extension API over its commands."""
    return Service(
        name="tarry",
        operations={
            **key_operations(keys),
            **invocation_operations(commands.invocations),
            **redrive_operations(commands.redrives),
            **queue_operations(commands.invocations, commands.endpoints),
        },
    )
