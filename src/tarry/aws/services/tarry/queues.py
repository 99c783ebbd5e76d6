"""The extension API's operations on an endpoint's queue."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.values import given, moment
from tarry.control.endpoints import EndpointCommands
from tarry.control.invocations import InvocationCommands
from tarry.core.retry_policy import RetryPolicy


def queue_operations(invocations: InvocationCommands, endpoints: EndpointCommands) -> dict[str, Operation]:
    """The operations on queues, by name."""

    async def describe(call: Call, params: Params) -> Mapping[str, Any]:
        endpoint, state = await invocations.queue(params["EndpointName"])
        oldest_us = state.oldest_received_at_us
        return given(
            EndpointName=endpoint.name,
            QueuedCount=state.queued,
            DelayedCount=state.delayed,
            RunningCount=state.running,
            PublishingCount=state.publishing,
            OldestReceivedTime=None if oldest_us is None else moment(oldest_us),
            RetryPolicy=None if endpoint.retry is None else _write(endpoint.retry),
        )

    async def purge(call: Call, params: Params) -> Mapping[str, Any]:
        return {"Count": await invocations.purge(params["EndpointName"])}

    async def put_policy(call: Call, params: Params) -> Mapping[str, Any]:
        await endpoints.set_retry_policy(params["EndpointName"], _read(params))
        return {}

    async def delete_policy(call: Call, params: Params) -> Mapping[str, Any]:
        await endpoints.set_retry_policy(params["EndpointName"], None)
        return {}

    return {
        "DescribeQueue": describe,
        "PurgeQueue": purge,
        "PutRetryPolicy": put_policy,
        "DeleteRetryPolicy": delete_policy,
    }


def _read(params: Params) -> RetryPolicy:
    settings = given(
        statuses=tuple(params["Statuses"]) if params.get("Statuses") else None,
        backoff_s=params.get("BackoffSeconds"),
        backoff_rate=params.get("BackoffRate"),
        backoff_s_max=params.get("MaxBackoffSeconds"),
    )
    return RetryPolicy(attempts_max=params["MaxAttempts"], **settings)


def _write(policy: RetryPolicy) -> Mapping[str, Any]:
    return {
        "MaxAttempts": policy.attempts_max,
        "Statuses": list(policy.statuses),
        "BackoffSeconds": policy.backoff_s,
        "BackoffRate": policy.backoff_rate,
        "MaxBackoffSeconds": policy.backoff_s_max,
    }
