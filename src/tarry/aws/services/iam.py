"""IAM, as far as SageMaker programs ask it: what is the ARN of this role?

OURS: roles are names here. Any name that could be one is answered, since no role is kept and none gives a right: what a key may
do says its policy.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from tarry.aws.call import Call, Params, Service
from tarry.core.names import Scope

_TRUST = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com"},'
    '"Action":"sts:AssumeRole"}]}'
)


def iam_service(scope: Scope) -> Service:
    """GetRole alone."""

    async def get_role(call: Call, params: Params) -> Mapping[str, Any]:
        name = params["RoleName"]
        role = {
            "Path": "/",
            "RoleName": name,
            "RoleId": "AROA" + sha256(name.encode()).hexdigest()[:17].upper(),
            "Arn": f"arn:{scope.partition}:iam::{scope.account_id}:role/{name}",
            "CreateDate": datetime(2026, 1, 1, tzinfo=UTC),
            "AssumeRolePolicyDocument": quote(_TRUST, safe=""),  # AWS: percent-encoded (GetRole, API reference)
        }
        return {"Role": role}

    return Service(name="iam", operations={"GetRole": get_role})
