"""SageMaker as served: all operations of its control plane that exist here."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params, Reply, Service
from tarry.aws.services.sagemaker.endpoint_configs import endpoint_config_operations
from tarry.aws.services.sagemaker.endpoints import endpoint_operations
from tarry.aws.services.sagemaker.members import take
from tarry.aws.services.sagemaker.models import model_operations
from tarry.aws.services.sagemaker.tags import tag_operations
from tarry.control.commands import Commands


def sagemaker_service(commands: Commands) -> Service:
    """The control plane's operations over its commands."""
    operations = {
        **model_operations(commands.models),
        **endpoint_config_operations(commands.endpoint_configs),
        **endpoint_operations(commands.endpoints),
        **tag_operations(commands.tags),
    }
    return Service(name="sagemaker", operations={name: _checked(name, work) for name, work in operations.items()})


def _checked(name: str, work: Operation) -> Operation:
    """The operation, which refuses members that are not taken before it begins."""

    async def checked(call: Call, params: Params) -> Mapping[str, Any] | Reply:
        take(f"{name}Input", params)
        return await work(call, params)

    return checked
