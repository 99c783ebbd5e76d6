"""The extension API as served."""

from tarry.aws.call import Service
from tarry.aws.services.tarry.instance_logs import instance_log_operations
from tarry.aws.services.tarry.invocations import invocation_operations
from tarry.aws.services.tarry.keys import key_operations
from tarry.aws.services.tarry.queues import queue_operations
from tarry.aws.services.tarry.redrives import redrive_operations
from tarry.control.access_keys import AccessKeyCommands
from tarry.control.commands import Commands
from tarry.control.instance_logs import InstanceLogCommands


def tarry_service(keys: AccessKeyCommands, commands: Commands, logs: InstanceLogCommands) -> Service:
    """The extension API over its commands."""
    return Service(
        name="tarry",
        operations={
            **key_operations(keys),
            **invocation_operations(commands.invocations),
            **redrive_operations(commands.redrives),
            **queue_operations(commands.invocations, commands.endpoints),
            **instance_log_operations(logs),
        },
    )
