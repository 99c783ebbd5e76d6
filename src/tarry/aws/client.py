"""Calls of a running server, for the command line: botocore's clients, pointed at it and at nothing else.

Every call is made once: a command repeats nothing that may have been done.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from tarry.aws.specs import EXTENSIONS
from tarry.core.errors import DependencyError, InvalidRequest
from tarry.core.names import S3Location

ANSWER_S_MAX = 300
"""A purge or a redrive of all that an endpoint has takes its time."""
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A running server, and a key pair that it knows. ``ca_bundle`` is None without TLS."""

    url: str
    region: str
    access_key_id: str
    secret: str
    ca_bundle: str | None = None


class Refusal(InvalidRequest):
    """The server answered with an error; ``code`` is AWS's word for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class KeyRefused(Refusal):
    """The server does not know the key or does not take it any more, or its policy does not allow the operation."""


_KEY_REFUSED = ("UnrecognizedClientException", "AccessDeniedException")


def call(target: Target, operation: str, *, service: str = "tarry", **params: Any) -> dict[str, Any]:
    """One operation of a service. Blocking.

    Errors: Refusal with the server's code and sentence, KeyRefused among them; InvalidRequest for what no server needs to be
    asked; DependencyError where the server cannot be reached.
    """
    answer = _ask(target, service, operation, params)
    answer.pop("ResponseMetadata", None)
    return answer


def pages(target: Target, operation: str, *, service: str = "tarry", **params: Any) -> Iterator[dict[str, Any]]:
    """The pages of an operation that has a NextToken, each asked for when it is wanted. Errors: as ``call``."""
    while True:
        page = call(target, operation, service=service, **params)
        yield page
        if "NextToken" not in page:
            return
        params["NextToken"] = page["NextToken"]


def invoke(target: Target, headers: Mapping[str, str], **params: Any) -> dict[str, Any]:
    """InvokeEndpointAsync with headers of ours; the answer has the InvocationId too, and Repeated where it is an earlier one.

    Errors: as ``call``.
    """
    events = _client(target, "sagemaker-runtime").meta.events
    add = partial(_add_headers, headers)  # botocore's description has no members for them
    events.register("before-call", add)
    try:
        answer = _ask(target, "sagemaker-runtime", "InvokeEndpointAsync", params)
    finally:
        events.unregister("before-call", add)
    told = answer.pop("ResponseMetadata")["HTTPHeaders"]
    repeated = {"Repeated": True} if "x-tarry-repeated" in told else {}
    return {"InvocationId": told["x-tarry-invocation-id"], **answer, **repeated}


def read_object(target: Target, location: str) -> tuple[int, Iterator[bytes]]:
    """The size of an object in bytes, and its bytes piece by piece. Errors: as ``call``, also while the pieces are read."""
    place = S3Location.parse(location)
    answer = call(target, "GetObject", service="s3", Bucket=place.bucket, Key=place.key)
    return answer["ContentLength"], _pieces(target, answer["Body"])


def _pieces(target: Target, body: Any) -> Iterator[bytes]:
    with body:
        try:
            while piece := body.read(_CHUNK_BYTES):
                yield piece
        except BotoCoreError as error:
            raise _unreachable(target, error) from None


def _ask(target: Target, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = _client(target, service)._make_api_call(operation, params)
    except ClientError as error:
        told = error.response["Error"]
        kind = KeyRefused if told["Code"] in _KEY_REFUSED else Refusal
        raise kind(told["Code"], told["Message"]) from None
    except ParamValidationError as error:
        raise InvalidRequest(str(error)) from None
    except BotoCoreError as error:
        raise _unreachable(target, error) from None
    return answer


def _add_headers(headers: Mapping[str, str], params: dict[str, Any], **_: Any) -> None:
    params["headers"].update(headers)


def _unreachable(target: Target, error: Exception) -> DependencyError:
    return DependencyError(f"The server at {target.url} cannot be reached: {error}")


@cache
def _client(target: Target, service: str) -> Any:
    """A client of one service; it lives as long as the command."""
    # What the shell says of other servers does not count here.
    session = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    session.get_component("data_loader").search_paths.insert(0, str(EXTENSIONS))
    return session.create_client(
        service,
        region_name=target.region,
        endpoint_url=target.url,
        aws_access_key_id=target.access_key_id,
        aws_secret_access_key=target.secret,
        verify=target.ca_bundle if target.ca_bundle is not None else None,
        config=Config(
            retries={"total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=ANSWER_S_MAX,
            proxies={"http": "", "https": ""},
            s3={"addressing_style": "path"},
        ),
    )
