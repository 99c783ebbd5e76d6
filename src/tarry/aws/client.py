"""Calls of our own extension API, for the command line: botocore's client with our description."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tarry.aws.specs import EXTENSIONS
from tarry.core.errors import DependencyError, InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running server, and a key pair that it knows. ``ca_bundle`` is None without TLS."""

    url: str
    region: str
    access_key_id: str
    secret: str
    ca_bundle: str | None = None


class KeyRefused(InvalidRequest):
    """The server does not know the key or does not take it any more, or its policy does not allow the operation."""


_KEY_REFUSED = ("UnrecognizedClientException", "AccessDeniedException")


def call(target: Target, operation: str, **params: Any) -> Mapping[str, Any]:
    """One operation of the extension API. Blocking.

    Errors: InvalidRequest with the server's code and sentence, KeyRefused among them; DependencyError where it cannot be reached.
    """
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.insert(0, str(EXTENSIONS))
    client = session.create_client(
        "tarry",
        region_name=target.region,
        endpoint_url=target.url,
        aws_access_key_id=target.access_key_id,
        aws_secret_access_key=target.secret,
        verify=target.ca_bundle if target.ca_bundle is not None else None,
        # A proxy of the shell is for the world outside.
        config=Config(retries={"total_max_attempts": 2}, connect_timeout=5, read_timeout=30, proxies={"http": "", "https": ""}),
    )
    try:
        answer: dict[str, Any] = client._make_api_call(operation, params)
    except ClientError as error:
        told = error.response["Error"]
        kind = KeyRefused if told["Code"] in _KEY_REFUSED else InvalidRequest
        raise kind(f"{told['Code']}: {told['Message']}") from None
    except BotoCoreError as error:
        raise DependencyError(f"The server at {target.url} cannot be reached: {error}") from None
    finally:
        client.close()
    answer.pop("ResponseMetadata", None)
    return answer
