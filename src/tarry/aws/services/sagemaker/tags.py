"""AddTags, ListTags, DeleteTags."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.sagemaker.values import read_tags, write_tags
from tarry.control.tags import TagCommands
from tarry.core.errors import InvalidRequest


def tag_operations(tags: TagCommands) -> dict[str, Operation]:
    """The operations on tags, by name."""

    async def add_tags(call: Call, params: Params) -> Mapping[str, Any]:
        return {"Tags": write_tags(await tags.add(params["ResourceArn"], read_tags(params["Tags"])))}

    async def list_tags(call: Call, params: Params) -> Mapping[str, Any]:
        if params.get("NextToken") is not None:
            # A resource has at most 50 tags and a page at least as many: no token was ever handed out.
            raise InvalidRequest("NextToken is not one that this server has handed out.")
        return {"Tags": write_tags(await tags.list(params["ResourceArn"]))}

    async def delete_tags(call: Call, params: Params) -> Mapping[str, Any]:
        await tags.remove(params["ResourceArn"], tuple(params["TagKeys"]))
        return {}

    return {"AddTags": add_tags, "ListTags": list_tags, "DeleteTags": delete_tags}
