"""The extension API's operation that asks again."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.tarry.describe import summarise
from tarry.aws.services.tarry.invocations import read_query
from tarry.aws.services.values import given
from tarry.control.redrives import Redrive, RedriveCommands, Redriven
from tarry.core.errors import InvalidRequest

REDRIVE_DEFAULT = 1000
_FILTERS = ("EndpointName", "States", "ReceivedAfter", "ReceivedBefore", "ReasonContains", "MaxInvocations")


def redrive_operations(redrives: RedriveCommands) -> dict[str, Operation]:
    """The operation, by name."""

    async def redrive(call: Call, params: Params) -> Mapping[str, Any]:
        redriven = await _redrive(redrives, params)
        return given(
            Count=len(redriven.done),
            Redrives=[_redriven(each) for each in redriven.done],
            Remaining=redriven.remaining,
            Reason=redriven.reason,
            MoreMayMatch=redriven.more_may_match,
        )

    return {"RedriveInvocations": redrive}


async def _redrive(redrives: RedriveCommands, params: Params) -> Redriven:
    ids, names, dry_run = params.get("InvocationIds"), params.get("InferenceIds"), bool(params.get("DryRun"))
    if ids is not None or names is not None:
        if filters := [name for name in _FILTERS if params.get(name) is not None]:
            raise InvalidRequest(f"Give InvocationIds and InferenceIds, or filters, not both; got ids and {filters[0]}.")
        return await redrives.these(ids or (), names or (), dry_run=dry_run)
    endpoint_name = params.get("EndpointName")
    if endpoint_name is None:
        raise InvalidRequest("Give InvocationIds, InferenceIds, or EndpointName with filters for all that match.")
    limit = params.get("MaxInvocations") or REDRIVE_DEFAULT
    return await redrives.matching(read_query(params), endpoint_name, limit=limit, dry_run=dry_run)


def _redriven(redrive: Redrive) -> Mapping[str, Any]:
    ended = redrive.ended.invocation
    told = summarise(redrive.ended) if redrive.again is None else None
    return given(InvocationId=ended.id, NewInvocationId=redrive.again, InferenceId=ended.inference_id, Ended=told)
