"""The variables of a container: built from nothing, so that nothing of the server's own leaks.

Later wins: the image's, those that let its code reach the cloud, the model's own Environment, what the platform alone can know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tarry.ports import Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Where S3 and SNS are for an instance: this server. ``ca_bundle``: the certificate that it shows, if it speaks https."""

    endpoint_url: str
    ca_bundle: Path | None = None


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
