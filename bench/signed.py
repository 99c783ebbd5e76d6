"""Requests signed ahead of time, so that the client's signing costs nothing while the server is measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tarry.bootstrap.directory import DataDirectory


@dataclass(frozen=True, slots=True)
class Signed:
    """A request ready to be sent; valid for five minutes."""

    path: str
    headers: Mapping[str, str]


def sign_invocations(directory: DataDirectory, endpoint: str, input_locations: list[str]) -> list[Signed]:
    """One InvokeEndpointAsync for each input location."""
    url = directory.read_server().url
    signer = SigV4Auth(Credentials(*directory.read_credentials()), "sagemaker", directory.read_region())
    path = f"/endpoints/{endpoint}/async-invocations"
    signed = []
    for location in input_locations:
        request = AWSRequest("POST", url + path, headers={"X-Amzn-SageMaker-InputLocation": location}, data=b"")
        signer.add_auth(request)
        signed.append(Signed(path, dict(request.headers.items())))
    return signed
