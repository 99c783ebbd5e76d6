"""Tarry's own service: what it offers beyond AWS, described and signed like an AWS service."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tarry.aws.call import Call, Params, Service
from tarry.control.access_keys import AccessKeyCommands
from tarry.core.keys import AccessKey

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tarry_service(keys: AccessKeyCommands) -> Service:
    """The extension API over its commands."""

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

    return Service(
        name="tarry",
        operations={
            "CreateAccessKey": create,
            "ListAccessKeys": list_keys,
            "UpdateAccessKey": update,
            "RotateAccessKey": rotate,
            "PutAccessKeyPolicy": put_policy,
            "DeleteAccessKeyPolicy": delete_policy,
        },
    )


def _new(key: AccessKey) -> Mapping[str, Any]:
    return {"AccessKeyId": key.id, "SecretAccessKey": key.secret, "Name": key.name}


def _summary(key: AccessKey) -> Mapping[str, Any]:
    summary = {
        "AccessKeyId": key.id,
        "Name": key.name,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": _EPOCH + timedelta(microseconds=key.created_at_us),
        "Arn": key.principal_arn,
    }
    return summary if key.policy is None else {**summary, "PolicyDocument": key.policy.document}
