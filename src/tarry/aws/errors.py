"""An answer of the door that is an error, in AWS's own words; and the one table from the core's errors to those words.

The core knows nothing of AWS, and each AWS service has codes of its own: what they are, and where AWS was seen to say so, is
told here once. Codes and messages are contractual: SDKs retry by code, and programs compare messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tarry.core import errors as core


class AwsError(Exception):
    """What the caller is told: an AWS error code, a sentence, an HTTP status.

    ``extras`` become extra elements of an S3 error document (``<Region>``, ``<AWSAccessKeyId>`` …) or members of a REST-JSON
    body (``ErrorCode``), and are left out by the other protocols. ``fault`` says whose mistake it was, in the words of the Query
    protocol.
    """

    def __init__(
        self,
        *,
        code: str,
        message: str,
        status: int = 400,
        extras: Mapping[str, str] | None = None,
        fault: Literal["Sender", "Receiver"] = "Sender",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.extras: Mapping[str, str] = extras or {}
        self.fault = fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one class of the core's errors is called by a service.

    ``wording`` may use {message} (the core's own), {name} (of errors that have one) and {account_id}.
    """

    code: str
    status: int = 400
    wording: str = "{message}"
    source: str
    """Where AWS was seen to say this; or why we do, where AWS is silent."""
    fault: Literal["Sender", "Receiver"] = "Sender"
    extras: Mapping[str, str] = field(default_factory=dict)


_RETRY = "Rate exceeded. {message}"
_NO_ROOM = "AWS never runs out of room; 503 is retried by SDKs and is never taken for success"

_SAGEMAKER: Mapping[type[core.TarryError], Row] = {
    core.InvalidRequest: Row(code="ValidationException", source="SageMaker API reference, Common Errors"),
    core.NotFound: Row(code="ValidationException", source="aws/amazon-sagemaker-operator-for-k8s sagemaker_client.go"),
    core.AlreadyExists: Row(code="ValidationException", source="aws/sagemaker-python-sdk#101"),
    core.InProgress: Row(code="ValidationException", source="aws/amazon-sagemaker-operator-for-k8s sagemaker_client.go"),
    core.ImageNotFound: Row(code="ValidationException", source="AWS checks no image at creation; told early, it can be mended"),
    core.LimitExceeded: Row(code="ResourceLimitExceeded", source="botocore's description of CreateEndpoint"),
    core.Throttled: Row(code="ThrottlingException", wording=_RETRY, source="aws/amazon-sagemaker-operator-for-k8s"),
    core.AccessDenied: Row(code="AccessDeniedException", source="SageMaker API reference, Common Errors"),
    core.Conflict: Row(code="ConflictException", source="botocore's description of SageMaker"),
    core.StorageFull: Row(code="ServiceUnavailable", status=503, source=_NO_ROOM, fault="Receiver"),
    core.DependencyError: Row(
        code="ServiceUnavailable", status=503, source="SageMaker API reference, Common Errors", fault="Receiver"
    ),
}

_RUNTIME: Mapping[type[core.TarryError], Row] = {
    core.EndpointNotFound: Row(
        code="ValidationError",
        wording="Endpoint {name} of account {account_id} not found.",
        source="aws/amazon-sagemaker-examples#293, #559, #1477",
        extras={"ErrorCode": "NO_SUCH_ENDPOINT"},
    ),
    core.RequestError: Row(code="ValidationError", source="InvokeEndpointAsync API reference, Errors"),
    core.Throttled: Row(code="ThrottlingException", wording=_RETRY, source="SageMaker API reference, Common Errors"),
    core.AccessDenied: Row(code="AccessDeniedException", status=403, source="SageMaker API reference, Common Errors"),
    core.StorageFull: Row(code="ServiceUnavailable", status=503, source=_NO_ROOM, fault="Receiver"),
    core.DependencyError: Row(
        code="ServiceUnavailable", status=503, source="InvokeEndpointAsync API reference, Errors", fault="Receiver"
    ),
}

_QUERY: Mapping[type[core.TarryError], Row] = {
    core.RequestError: Row(code="ValidationError", source="Common Errors of the Query APIs"),
    core.Throttled: Row(code="Throttling", wording=_RETRY, source="Common Errors of the Query APIs"),
    core.AccessDenied: Row(code="AccessDenied", status=403, source="Common Errors of the Query APIs"),
    core.StorageFull: Row(code="ServiceUnavailable", status=503, source=_NO_ROOM, fault="Receiver"),
    core.DependencyError: Row(code="ServiceUnavailable", status=503, source="Common Errors of the Query APIs", fault="Receiver"),
}

_S3: Mapping[type[core.TarryError], Row] = {
    core.RequestError: Row(code="InvalidRequest", source="S3 API reference, Error responses"),
    core.AccessDenied: Row(code="AccessDenied", status=403, source="S3 API reference, Error responses"),
    core.Throttled: Row(code="SlowDown", status=503, source="S3 API reference, Error responses", fault="Receiver"),
    core.StorageFull: Row(
        code="InsufficientStorage", status=507, source="AWS never runs out of room; 507 is HTTP's word for it", fault="Receiver"
    ),
    core.DependencyError: Row(
        code="ServiceUnavailable", status=503, source="S3 API reference, Error responses", fault="Receiver"
    ),
}

TABLE: Mapping[str, Mapping[type[core.TarryError], Row]] = {
    "sagemaker": _SAGEMAKER,
    "sagemaker-runtime": _RUNTIME,
    "sns": {
        **_QUERY,
        core.AccessDenied: Row(code="AuthorizationError", status=403, source="SNS API reference, errors of CreateTopic"),
    },
    "tarry": {
        **_SAGEMAKER,
        core.NotFound: Row(code="ResourceNotFoundException", source="the word of most JSON services in botocore's descriptions"),
    },
    "json": _SAGEMAKER,
    "rest-json": _RUNTIME,
    "query": _QUERY,
    "rest-xml": _S3,
}
"""By service, else by protocol. A service that translates errors itself (S3 and SNS name buckets and topics) leaves the rest
to this table."""

_INTERNAL = {
    # AWS: S3 API reference, Error responses; Common Errors of the other services.
    "rest-xml": ("InternalError", "We encountered an internal error. Please try again."),
}
_INTERNAL_DEFAULT = ("InternalFailure", "The request processing has failed because of an unknown error, exception or failure.")


def translate(error: core.TarryError, *, service: str, family: str, account_id: str) -> AwsError:
    """A service's words for an error of the core; what no row covers (races, bugs) is an internal failure."""
    table = TABLE.get(service) or TABLE[family]
    for kind in type(error).__mro__:
        row = table.get(kind)
        if row is not None:
            facts = {"message": str(error), "name": getattr(error, "name", ""), "account_id": account_id}
            message = row.wording.format_map(facts)
            return AwsError(code=row.code, message=message, status=row.status, extras=row.extras, fault=row.fault)
    return internal_failure(family)


def internal_failure(family: str) -> AwsError:
    """What a caller is told of anything unexpected: that it happened, never what."""
    code, message = _INTERNAL.get(family, _INTERNAL_DEFAULT)
    return AwsError(code=code, message=message, status=500, fault="Receiver")


def not_implemented(family: str, service: str, operation: str) -> AwsError:
    """The refusal of an operation that AWS has and this server has not."""
    message = f"Tarry does not implement {service}:{operation}. docs/compatibility.md lists the operations that it does."
    if family == "rest-xml":
        # AWS: S3 API reference, Error responses: "A header that you provided implies functionality that is not implemented", 501.
        return AwsError(code="NotImplemented", message=message, status=501)
    # OURS: no AWS service lacks one of its own operations. 501 is retried by no SDK.
    return AwsError(code="NotImplementedException", message=message, status=501)
