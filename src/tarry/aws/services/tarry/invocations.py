"""The extension API's operations on invocations."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.tarry.describe import describe_invocation, shown_state, summarise
from tarry.aws.services.values import given, microseconds
from tarry.control.invocations import Changed, InvocationCommands
from tarry.core.errors import InvalidRequest
from tarry.core.history import InvocationRecord
from tarry.core.invocation import InvocationState
from tarry.ports import InvocationQuery

LIST_RESULTS_DEFAULT = 100
WAIT_S_DEFAULT = 20


def invocation_operations(invocations: InvocationCommands) -> dict[str, Operation]:
    """The operations on invocations, by name."""

    async def describe(call: Call, params: Params) -> Mapping[str, Any]:
        by_id, by_name = _named(params)
        if by_name is None:
            return {"Invocation": describe_invocation(await invocations.describe(by_id))}
        same = await invocations.named(by_name)
        newest = describe_invocation(await invocations.describe(same[0].id))
        return {"Invocation": newest, "SameInferenceId": [summarise(record) for record in same]}

    async def list_invocations(call: Call, params: Params) -> Mapping[str, Any]:
        page = await invocations.page(read_query(params), params.get("EndpointName"))
        return given(Invocations=[summarise(record) for record in page.items], NextToken=page.next_token)

    async def wait(call: Call, params: Params) -> Mapping[str, Any]:
        by_id, by_name = _named(params)
        wait_s = params.get("WaitSeconds")
        timeout_s = float(WAIT_S_DEFAULT if wait_s is None else wait_s)
        one = by_id if by_name is None else (await invocations.newest(by_name)).id
        return {"Invocation": describe_invocation(await invocations.wait(one, timeout_s))}

    async def stop(call: Call, params: Params) -> Mapping[str, Any]:
        by_id, by_name = _named(params)
        if by_name is None:
            return _state(await invocations.stop(by_id))
        return _states(await invocations.stop_named(by_name), await invocations.newest(by_name))

    async def set_priority(call: Call, params: Params) -> Mapping[str, Any]:
        (by_id, by_name), priority = _named(params), params["Priority"]
        if by_name is None:
            return _state(await invocations.prioritise(by_id, priority))
        return _states(await invocations.prioritise_named(by_name, priority), await invocations.newest(by_name))

    return {
        "DescribeInvocation": describe,
        "ListInvocations": list_invocations,
        "WaitInvocation": wait,
        "StopInvocation": stop,
        "SetPriority": set_priority,
    }


def _named(params: Params) -> tuple[str, str | None]:
    """Our id, or the caller's InferenceId; one of them is given, and the second is None where it is the first."""
    by_id, by_name = params.get("InvocationId"), params.get("InferenceId")
    if (by_id is None) == (by_name is None):
        came = "neither" if by_id is None else "both"
        raise InvalidRequest(f"Exactly one of InvocationId and InferenceId must be given, got {came}.")
    return by_id or "", by_name


def read_query(params: Params) -> InvocationQuery:
    """The filters that ListInvocations and RedriveInvocations share."""
    return InvocationQuery(
        limit=params.get("MaxResults") or LIST_RESULTS_DEFAULT,
        token=params.get("NextToken"),
        states=frozenset(InvocationState(state) for state in params.get("States") or ()),
        inference_id=params.get("InferenceId"),
        received_after_us=microseconds(params.get("ReceivedAfter")),
        received_before_us=microseconds(params.get("ReceivedBefore")),
        reason_contains=params.get("ReasonContains"),
    )


def _state(record: InvocationRecord) -> Mapping[str, Any]:
    return {"InvocationId": record.id, "State": shown_state(record), "Priority": record.priority}


def _states(changed: Changed, newest: InvocationRecord) -> Mapping[str, Any]:
    """The form of one by id, for the newest, and all that an InferenceId meant."""
    one = changed.records[0] if changed.records else newest
    return {
        **_state(one),
        "Invocations": [_state(record) for record in changed.records],
        "MoreMayMatch": changed.more_may_match,
    }
