"""The variables of a container: built from nothing, so that nothing of the server's own leaks.

Later wins: the image's, those that let its code reach the cloud, the model's own Environment, what the platform alone can know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tarry.core.errors import InstanceStartError
from tarry.ports import Credentials

GATEWAY = "gateway.invalid"
"""Stands in an endpoint's URL for the address that this machine has on the network of an instance's containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Where S3 and SNS are for an instance: this server. ``ca_bundle``: the certificate that it shows, if it speaks https."""

    endpoint_url: str
    ca_bundle: Path | None = None


def server_variables(
    environment: Mapping[str, str], *, cloud: Cloud | None, credentials: Credentials | None, region: str, port: int
) -> Mapping[str, str]:
    """What a model server is given on every engine, over what its image says; ``environment`` is the model's own.

    ``port``: where it has to listen. Errors: InstanceStartError for a variable that no process can be given.
    """
    for name, value in environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise InstanceStartError(f"The variable {name!r} of the model's Environment cannot be handed to a process.")
    return {
        **cloud_variables(cloud, credentials, environment),
        **environment,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }


def cloud_variables(cloud: Cloud | None, credentials: Credentials | None, given: Mapping[str, str]) -> Mapping[str, str]:
    """What AWS's SDKs look for; ``given`` is the model's own Environment.

    OURS: AWS hands out temporary credentials at an address of its own, which the SDKs ask last. So a model that brings keys
    of its own, for whatever cloud, gets none of this.
    """
    if cloud is None or credentials is None or "AWS_ACCESS_KEY_ID" in given:
        return {}
    variables = {
        "AWS_ENDPOINT_URL": cloud.endpoint_url,
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
    }
    return variables if cloud.ca_bundle is None else {**variables, "AWS_CA_BUNDLE": str(cloud.ca_bundle.absolute())}
