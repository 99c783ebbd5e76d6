"""SageMaker as served: all operations of its control plane that exist here."""

from tarry.aws.call import Service
from tarry.aws.services.sagemaker.endpoint_configs import endpoint_config_operations
from tarry.aws.services.sagemaker.endpoints import endpoint_operations
from tarry.aws.services.sagemaker.models import model_operations
from tarry.aws.services.sagemaker.tags import tag_operations
from tarry.control.commands import Commands


def sagemaker_service(commands: Commands) -> Service:
    """The control plane's operations over its commands."""
    return Service(
        name="sagemaker",
        operations={
            **model_operations(commands.models),
            **endpoint_config_operations(commands.endpoint_configs),
            **endpoint_operations(commands.endpoints),
            **tag_operations(commands.tags),
        },
    )
