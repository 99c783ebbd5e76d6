"""The extension API's operations on what instances have printed."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.values import given, microseconds, moment
from tarry.control.instance_logs import FoundLog, InstanceLogCommands, LogQuery
from tarry.ports import LogName

LIST_RESULTS_DEFAULT = 100
READ_BYTES_DEFAULT = 256 * 1024


def instance_log_operations(logs: InstanceLogCommands) -> dict[str, Operation]:
    """The operations on logs, by name."""

    async def list_logs(call: Call, params: Params) -> Mapping[str, Any]:
        query = LogQuery(
            limit=params.get("MaxResults") or LIST_RESULTS_DEFAULT,
            token=params.get("NextToken"),
            variant_name=params.get("VariantName"),
            instance_id=params.get("InstanceId"),
            written_after_us=microseconds(params.get("WrittenAfter")),
        )
        page = await logs.page(params["EndpointName"], query)
        return given(InstanceLogs=[_summary(found) for found in page.items], NextToken=page.next_token)

    async def read(call: Call, params: Params) -> Mapping[str, Any]:
        name = LogName(
            endpoint_name=params["EndpointName"],
            variant_name=params["VariantName"],
            instance_id=params["InstanceId"],
            container=params.get("ContainerHostname"),
        )
        part = await logs.read(name, params.get("Offset") or 0, params.get("MaxBytes") or READ_BYTES_DEFAULT)
        return {"Content": part.content, "Offset": part.offset, "NextOffset": part.next_offset, "EndOffset": part.end}

    return {"ListInstanceLogs": list_logs, "ReadInstanceLog": read}


def _summary(found: FoundLog) -> Mapping[str, Any]:
    log = found.log
    return given(
        EndpointName=log.name.endpoint_name,
        VariantName=log.name.variant_name,
        InstanceId=log.name.instance_id,
        ContainerHostname=log.name.container,
        InstanceState=None if found.state is None else str(found.state),
        LastWriteTime=moment(log.written_at_us),
        FirstOffset=log.first,
        EndOffset=log.end,
    )
