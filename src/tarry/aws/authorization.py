"""What a request asks to be allowed: an operation is one or several actions on resources, as IAM names them.

A key without a policy may do everything, and is asked nothing. AWS: the Service Authorization Reference, one page a service.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tarry.aws.call import Params
from tarry.aws.services.s3.copy_source import CopySource
from tarry.core.errors import AccessDenied, Bug
from tarry.core.keys import AccessKey
from tarry.core.names import Scope
from tarry.core.policy import Policy, Verdict

Demand = tuple[str, str]
"""Action and resource."""
Demands = Callable[[Params, Scope], Iterator[Demand]]


def authorise(key: AccessKey, service: str, operation: str, params: Params, scope: Scope) -> None:
    """Errors: AccessDenied, in AWS's words, unless the key's policy allows all that the operation needs."""
    if key.policy is None:
        return
    for action, resource in demands_of(service, operation, params, scope):
        _require(key.policy, key.principal_arn, action, resource)


def demands_of(service: str, operation: str, params: Params, scope: Scope) -> Iterator[Demand]:
    """The actions and resources of an operation that is served here. Errors: Bug for one that nobody has thought of."""
    table = _TABLE.get(service, {})
    if operation not in table:
        raise Bug(f"Nobody has said what {service}:{operation} needs to be allowed.")
    return table[operation](params, scope)


def may_list(key: AccessKey, bucket: str, scope: Scope) -> bool:
    """Whether the key may know which objects there are.

    AWS: without it a missing object is AccessDenied and not NoSuchKey (GetObject, API reference).
    """
    return key.policy is None or key.policy.judge("s3:ListBucket", _bucket_arn(bucket, scope)) is Verdict.ALLOWED


def _require(policy: Policy, principal: str, action: str, resource: str) -> None:
    verdict = policy.judge(action, resource)
    if verdict is Verdict.ALLOWED:
        return
    shown = f'"{resource}"' if action.startswith("s3:") else resource
    because = (
        "with an explicit deny in an identity-based policy"
        if verdict is Verdict.DENIED
        else f"because no identity-based policy allows the {action} action"
    )
    # AWS: IAM user guide, "Troubleshoot access denied error messages".
    raise AccessDenied(f"User: {principal} is not authorized to perform: {action} on resource: {shown} {because}")


# --------------------------------------------------------------------------------------------------------------- resources


def _sagemaker(action: str, *resources: tuple[str, str]) -> Demands:
    """An action on the resources that members of the request name: (word of the ARN, member)."""

    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        for word, member in resources:
            yield f"sagemaker:{action}", scope.sagemaker_arn(word, params[member])
        if params.get("Tags"):
            yield "sagemaker:AddTags", scope.sagemaker_arn(resources[0][0], params[resources[0][1]])

    return demands


def _everywhere(action: str) -> Demands:
    """An action that is about no resource in particular."""

    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield action, "*"

    return demands


def _member(action: str, *members: str) -> Demands:
    """An action on the resource whose ARN is the first of these members that is given."""

    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield action, next((params[member] for member in members if params.get(member)), "*")

    return demands


def _nothing(params: Params, scope: Scope) -> Iterator[Demand]:
    yield from ()


def _tagged(action: str) -> Demands:
    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield f"sagemaker:{action}", params["ResourceArn"].lower()

    return demands


def _bucket_arn(bucket: str, scope: Scope) -> str:
    return f"arn:{scope.partition}:s3:::{bucket}"


def _bucket(action: str) -> Demands:
    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield f"s3:{action}", _bucket_arn(params["Bucket"], scope)

    return demands


def _object(action: str) -> Demands:
    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield f"s3:{action}", f"{_bucket_arn(params['Bucket'], scope)}/{params['Key']}"

    return demands


def _copy(params: Params, scope: Scope) -> Iterator[Demand]:
    source = CopySource.parse(params["CopySource"])
    yield "s3:GetObject", f"{_bucket_arn(source.bucket, scope)}/{source.key}"
    yield from _object("PutObject")(params, scope)


def _delete_all(params: Params, scope: Scope) -> Iterator[Demand]:
    # OURS: one key that may not be deleted refuses the whole call; AWS refuses it alone.
    for entry in (params.get("Delete") or {}).get("Objects") or ():
        yield "s3:DeleteObject", f"{_bucket_arn(params['Bucket'], scope)}/{entry.get('Key', '')}"


def _topic_by_name(params: Params, scope: Scope) -> Iterator[Demand]:
    yield "sns:CreateTopic", scope.arn("sns", params["Name"])


def _key_by_name(action: str) -> Demands:
    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield f"tarry:{action}", scope.arn("tarry", f"access-key/{params.get('Name') or params.get('AccessKeyId')}")

    return demands


def _invocation(action: str) -> Demands:
    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield f"tarry:{action}", scope.arn("tarry", f"invocation/{params.get('InvocationId') or params.get('InferenceId')}")

    return demands


def _of_endpoint(action: str) -> Demands:
    """On the endpoint that is named, in SageMaker's own form; on everything where none is."""

    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        name = params.get("EndpointName")
        yield f"tarry:{action}", "*" if name is None else scope.sagemaker_arn("endpoint", name)

    return demands


def _redrive(params: Params, scope: Scope) -> Iterator[Demand]:
    for each in params.get("InvocationIds") or ():
        yield "tarry:RedriveInvocations", scope.arn("tarry", f"invocation/{each}")
    if not params.get("InvocationIds"):
        yield from _of_endpoint("RedriveInvocations")(params, scope)


def _role(action: str) -> Demands:
    def demands(params: Params, scope: Scope) -> Iterator[Demand]:
        yield f"iam:{action}", f"arn:{scope.partition}:iam::{scope.account_id}:role/{params['RoleName']}"

    return demands


_QUEUE_OPERATIONS = ("ListInvocations", "DescribeQueue", "PurgeQueue", "PutRetryPolicy", "DeleteRetryPolicy")
_MODEL, _CONFIG, _ENDPOINT = ("model", "ModelName"), ("endpoint-config", "EndpointConfigName"), ("endpoint", "EndpointName")

_TABLE: Mapping[str, Mapping[str, Demands]] = {
    "sagemaker": {
        **{name: _sagemaker(name, _MODEL) for name in ("CreateModel", "DescribeModel", "DeleteModel")},
        **{
            name: _sagemaker(name, _CONFIG) for name in ("CreateEndpointConfig", "DescribeEndpointConfig", "DeleteEndpointConfig")
        },
        **{name: _sagemaker(name, _ENDPOINT, _CONFIG) for name in ("CreateEndpoint", "UpdateEndpoint")},
        **{
            name: _sagemaker(name, _ENDPOINT)
            for name in ("DescribeEndpoint", "DeleteEndpoint", "UpdateEndpointWeightsAndCapacities")
        },
        **{name: _everywhere(f"sagemaker:{name}") for name in ("ListModels", "ListEndpointConfigs", "ListEndpoints")},
        **{name: _tagged(name) for name in ("AddTags", "ListTags", "DeleteTags")},
    },
    "sagemaker-runtime": {
        "InvokeEndpointAsync": _sagemaker("InvokeEndpointAsync", _ENDPOINT),
        "InvokeEndpoint": _sagemaker("InvokeEndpoint", _ENDPOINT),
        "InvokeEndpointWithResponseStream": _sagemaker("InvokeEndpointWithResponseStream", _ENDPOINT),
    },
    "s3": {
        "ListBuckets": _everywhere("s3:ListAllMyBuckets"),
        "CreateBucket": _bucket("CreateBucket"),
        "DeleteBucket": _bucket("DeleteBucket"),
        "GetBucketLocation": _bucket("GetBucketLocation"),
        **{name: _bucket("ListBucket") for name in ("HeadBucket", "ListObjects", "ListObjectsV2")},
        "ListMultipartUploads": _bucket("ListBucketMultipartUploads"),
        **{name: _object("GetObject") for name in ("GetObject", "HeadObject", "GetObjectAttributes")},
        **{
            name: _object("PutObject") for name in ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
        },
        "AbortMultipartUpload": _object("AbortMultipartUpload"),
        "ListParts": _object("ListMultipartUploadParts"),
        "CopyObject": _copy,
        "UploadPartCopy": _copy,
        "DeleteObject": _object("DeleteObject"),
        "DeleteObjects": _delete_all,
    },
    "sns": {
        "CreateTopic": _topic_by_name,
        **{
            name: _member(f"sns:{name}", "TopicArn", "TargetArn")
            for name in (
                "ConfirmSubscription",
                "DeleteTopic",
                "GetTopicAttributes",
                "ListSubscriptionsByTopic",
                "Publish",
                "PublishBatch",
                "SetTopicAttributes",
                "Subscribe",
            )
        },
        **{name: _member(f"sns:{name}", "ResourceArn") for name in ("ListTagsForResource", "TagResource", "UntagResource")},
        **{
            name: _everywhere(f"sns:{name}")
            for name in (
                "GetSubscriptionAttributes",
                "ListSubscriptions",
                "ListTopics",
                "SetSubscriptionAttributes",
                "Unsubscribe",
            )
        },
    },
    "iam": {"GetRole": _role("GetRole")},
    # AWS: GetCallerIdentity needs no permission (STS API reference).
    "sts": {"GetCallerIdentity": _nothing},
    "tarry": {
        **{name: _invocation(name) for name in ("DescribeInvocation", "WaitInvocation", "StopInvocation", "SetPriority")},
        **{name: _of_endpoint(name) for name in _QUEUE_OPERATIONS},
        "RedriveInvocations": _redrive,
        "ListAccessKeys": _everywhere("tarry:ListAccessKeys"),
        **{
            name: _key_by_name(name)
            for name in (
                "CreateAccessKey",
                "UpdateAccessKey",
                "RotateAccessKey",
                "PutAccessKeyPolicy",
                "DeleteAccessKeyPolicy",
            )
        },
    },
}


def operations_known() -> Mapping[str, Mapping[str, Any]]:
    """Every operation that the table speaks of, for the test that compares it with what is served."""
    return _TABLE
