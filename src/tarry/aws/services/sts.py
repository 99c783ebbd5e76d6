"""STS: who am I? SDKs ask it first, to build the name of a default bucket from the account."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Params, Service
from tarry.core.errors import Bug


def sts_service() -> Service:
    """STS as far as a server with one account needs it."""
    return Service(name="sts", operations={"GetCallerIdentity": get_caller_identity})


async def get_caller_identity(call: Call, params: Params) -> Mapping[str, Any]:
    """The account, the principal's ARN, and an id of the principal: ours is the access key's, which is unique."""
    if call.caller is None:
        raise Bug("GetCallerIdentity is never let through without a signature.")
    return {"UserId": call.caller.access_key_id, "Account": call.caller.account_id, "Arn": call.caller.principal_arn}
