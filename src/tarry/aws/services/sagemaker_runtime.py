"""SageMaker Runtime: InvokeEndpointAsync, and the refusal of the synchronous calls."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Params, Reply, Service
from tarry.core.errors import InvalidRequest
from tarry.core.invocation import InvokeRequest
from tarry.delivery.directory import EndpointDirectory
from tarry.delivery.intake import Intake

INVOCATION_ID_HEADER = "X-Tarry-Invocation-Id"


def sagemaker_runtime_service(intake: Intake, directory: EndpointDirectory) -> Service:
    """The runtime's operations over the intake."""

    async def invoke_endpoint_async(call: Call, params: Params) -> Reply:
        accepted = await intake.invoke(_request(params))
        output = {
            "InferenceId": accepted.inference_id,
            "OutputLocation": accepted.output_location,
            "FailureLocation": accepted.failure_location,
        }
        # AWS: 202 (InvokeEndpointAsync API reference). The header is ours: the one id that never repeats.
        return Reply(output=output, status=202, headers={INVOCATION_ID_HEADER: accepted.invocation_id})

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


def _request(params: Params) -> InvokeRequest:
    body: bytes | None = params.get("Body")
    location: str | None = params.get("InputLocation")
    if not body and location is not None:
        body = None  # With InputLocation the wire body is empty, which is not an inline body.
    return InvokeRequest(
        endpoint_name=params["EndpointName"],
        input_location=location,
        body=body or None,
        content_type=params.get("ContentType"),
        accept=params.get("Accept"),
        custom_attributes=params.get("CustomAttributes"),
        inference_id=params.get("InferenceId"),
        output_extension=params.get("S3OutputPathExtension"),
        filename=params.get("Filename"),
        ttl_s=params.get("RequestTTLSeconds"),
        timeout_s=params.get("InvocationTimeoutSeconds"),
    )
