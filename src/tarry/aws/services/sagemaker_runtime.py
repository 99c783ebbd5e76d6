"""SageMaker Runtime: InvokeEndpointAsync, and the refusal of the synchronous calls."""

import re
from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Params, Reply, Service
from tarry.aws.services.sagemaker.members import take
from tarry.core.errors import InvalidRequest
from tarry.core.invocation import PRIORITY_MAX, InvokeRequest
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.intake import Intake

INVOCATION_ID_HEADER = "X-Tarry-Invocation-Id"
REPEATED_HEADER = "X-Tarry-Repeated"
"""``true`` where an earlier request within the idempotency window was this one: nothing new was accepted."""
PRIORITY_HEADER = "X-Tarry-Priority"
IDEMPOTENCY_HEADER = "X-Tarry-Idempotency-Seconds"
IDEMPOTENCY_S_MAX = 86_400
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")


def sagemaker_runtime_service(intake: Intake, directory: EndpointDirectory) -> Service:
    """The runtime's operations over the intake."""

    async def invoke_endpoint_async(call: Call, params: Params) -> Reply:
        answer = await intake.invoke(_request(params, call.headers))
        accepted = answer.invocation
        output = {
            "InferenceId": accepted.inference_id,
            "OutputLocation": accepted.output_location,
            "FailureLocation": accepted.failure_location,
        }
        # AWS: 202 (InvokeEndpointAsync API reference). Ours are the headers: an id that never repeats, and whether it is new.
        repeated = {REPEATED_HEADER: "true"} if answer.repeated else {}
        return Reply(output=output, status=202, headers={INVOCATION_ID_HEADER: accepted.id, **repeated})

    async def refuse_synchronous(call: Call, params: Params) -> Mapping[str, Any]:
        name = params["EndpointName"]
        await directory.lookup(name)
        # AWS: the text that strands-agents/sdk-python#1969 and others match on.
        raise InvalidRequest(f"Endpoint {name} does not support this inference type.")

    return Service(
        name="sagemaker-runtime",
        operations={
            "InvokeEndpointAsync": invoke_endpoint_async,
            "InvokeEndpoint": refuse_synchronous,
            "InvokeEndpointWithResponseStream": refuse_synchronous,
        },
        refused=frozenset({"InvokeEndpoint", "InvokeEndpointWithResponseStream"}),
    )


def _request(params: Params, headers: Mapping[str, str]) -> InvokeRequest:
    take("InvokeEndpointAsyncInput", params)
    return InvokeRequest(
        endpoint_name=params["EndpointName"],
        input_location=params.get("InputLocation"),
        body=params.get("Body") or None,  # with InputLocation the wire body is empty, which is not an inline body
        content_type=params.get("ContentType"),
        accept=params.get("Accept"),
        custom_attributes=params.get("CustomAttributes"),
        inference_id=params.get("InferenceId"),
        output_extension=params.get("S3OutputPathExtension"),
        filename=params.get("Filename"),
        ttl_s=params.get("RequestTTLSeconds"),
        timeout_s=params.get("InvocationTimeoutSeconds"),
        priority=_number(headers, PRIORITY_HEADER, -PRIORITY_MAX, PRIORITY_MAX) or 0,
        same_within_s=_number(headers, IDEMPOTENCY_HEADER, 1, IDEMPOTENCY_S_MAX),
    )


def _number(headers: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    """A header of ours, which AWS's description does not have: so it is checked here. None where it was not sent."""
    text = headers.get(name.lower())
    if text is None:
        return None
    text = text.strip()
    if not _WHOLE_NUMBER.fullmatch(text) or not low <= int(text) <= high:
        raise InvalidRequest(f"Expected a whole number from {low} to {high} in the header {name}, got {text[:40]!r}.")
    return int(text)
