"""The extension API's operations on invocations."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.tarry.describe import describe_invocation, shown_state, summarise
from tarry.aws.services.values import given, microseconds
from tarry.control.invocations import InvocationCommands, Redrive
from tarry.core.errors import InvalidRequest
from tarry.core.history import InvocationRecord
from tarry.core.invocation import InvocationState
from tarry.ports import InvocationQuery

LIST_RESULTS_DEFAULT = 100
REDRIVE_DEFAULT = 1000
WAIT_S_DEFAULT = 20
_FILTERS = ("EndpointName", "States", "ReceivedAfter", "ReceivedBefore", "ReasonContains", "MaxInvocations")


def invocation_operations(invocations: InvocationCommands) -> dict[str, Operation]:
    """The operations on invocations, by name."""

    async def describe(call: Call, params: Params) -> Mapping[str, Any]:
        by_id, by_name = params.get("InvocationId"), params.get("InferenceId")
        if (by_id is None) == (by_name is None):
            came = "neither" if by_id is None else "both"
            raise InvalidRequest(f"Exactly one of InvocationId and InferenceId must be given, got {came}.")
        if by_id is not None:
            return {"Invocation": describe_invocation(await invocations.describe(by_id))}
        same = await invocations.named(by_name or "")
        newest = describe_invocation(await invocations.describe(same[0].id))
        return {"Invocation": newest, "SameInferenceId": [summarise(record) for record in same]}

    async def list_invocations(call: Call, params: Params) -> Mapping[str, Any]:
        page = await invocations.page(_query(params), params.get("EndpointName"))
        return given(Invocations=[summarise(record) for record in page.items], NextToken=page.next_token)

    async def wait(call: Call, params: Params) -> Mapping[str, Any]:
        wait_s = params.get("WaitSeconds")
        timeout_s = float(WAIT_S_DEFAULT if wait_s is None else wait_s)
        return {"Invocation": describe_invocation(await invocations.wait(params["InvocationId"], timeout_s))}

    async def stop(call: Call, params: Params) -> Mapping[str, Any]:
        return _state(await invocations.stop(params["InvocationId"]))

    async def set_priority(call: Call, params: Params) -> Mapping[str, Any]:
        return _state(await invocations.prioritise(params["InvocationId"], params["Priority"]))

    async def redrive(call: Call, params: Params) -> Mapping[str, Any]:
        redrives = await _redrive(invocations, params)
        return {"Count": len(redrives), "Redrives": [_redriven(each) for each in redrives]}

    return {
        "DescribeInvocation": describe,
        "ListInvocations": list_invocations,
        "WaitInvocation": wait,
        "StopInvocation": stop,
        "SetPriority": set_priority,
        "RedriveInvocations": redrive,
    }


async def _redrive(invocations: InvocationCommands, params: Params) -> list[Redrive]:
    ids, dry_run = params.get("InvocationIds"), bool(params.get("DryRun"))
    if ids is not None:
        if filters := [name for name in _FILTERS if params.get(name) is not None]:
            raise InvalidRequest(f"Give InvocationIds or filters, not both; got InvocationIds and {filters[0]}.")
        return await invocations.redrive(ids, dry_run=dry_run)
    endpoint_name = params.get("EndpointName")
    if endpoint_name is None:
        raise InvalidRequest("Give InvocationIds, or EndpointName with filters for all that match.")
    limit = params.get("MaxInvocations") or REDRIVE_DEFAULT
    return await invocations.redrive_matching(_query(params), endpoint_name, limit=limit, dry_run=dry_run)


def _query(params: Params) -> InvocationQuery:
    return InvocationQuery(
        limit=params.get("MaxResults") or LIST_RESULTS_DEFAULT,
        token=params.get("NextToken"),
        states=frozenset(InvocationState(state) for state in params.get("States") or ()),
        received_after_us=microseconds(params.get("ReceivedAfter")),
        received_before_us=microseconds(params.get("ReceivedBefore")),
        reason_contains=params.get("ReasonContains"),
    )


def _state(record: InvocationRecord) -> Mapping[str, Any]:
    return {"InvocationId": record.id, "State": shown_state(record), "Priority": record.priority}


def _redriven(redrive: Redrive) -> Mapping[str, Any]:
    ended = redrive.ended.invocation
    return given(InvocationId=ended.id, NewInvocationId=redrive.again, InferenceId=ended.inference_id)
