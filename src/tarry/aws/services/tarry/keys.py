"""The extension API's operations on access keys."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.values import moment
from tarry.control.access_keys import AccessKeyCommands
from tarry.core.keys import AccessKey


def key_operations(keys: AccessKeyCommands) -> dict[str, Operation]:
    """The operations on access keys, by name."""

    async def create(call: Call, params: Params) -> Mapping[str, Any]:
        return _new(await keys.create(params["Name"], params.get("PolicyDocument")))

    async def list_keys(call: Call, params: Params) -> Mapping[str, Any]:
        return {"AccessKeys": [_summary(key) for key in await keys.list()]}

    async def update(call: Call, params: Params) -> Mapping[str, Any]:
        await keys.set_active(params["AccessKeyId"], active=params["Status"] == "Active")
        return {}

    async def rotate(call: Call, params: Params) -> Mapping[str, Any]:
        return _new(await keys.rotate(params["Name"]))

    async def put_policy(call: Call, params: Params) -> Mapping[str, Any]:
        await keys.put_policy(params["Name"], params["PolicyDocument"])
        return {}

    async def delete_policy(call: Call, params: Params) -> Mapping[str, Any]:
        await keys.delete_policy(params["Name"])
        return {}

    return {
        "CreateAccessKey": create,
        "ListAccessKeys": list_keys,
        "UpdateAccessKey": update,
        "RotateAccessKey": rotate,
        "PutAccessKeyPolicy": put_policy,
        "DeleteAccessKeyPolicy": delete_policy,
    }


def _new(key: AccessKey) -> Mapping[str, Any]:
    return {"AccessKeyId": key.id, "SecretAccessKey": key.secret, "Name": key.name}


def _summary(key: AccessKey) -> Mapping[str, Any]:
    summary = {
        "AccessKeyId": key.id,
        "Name": key.name,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": moment(key.created_at_us),
        "Arn": key.principal_arn,
    }
    return summary if key.policy is None else {**summary, "PolicyDocument": key.policy.document}
