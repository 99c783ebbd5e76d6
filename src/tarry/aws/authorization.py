"""What a request asks to be allowed: an operation is one or several actions on resources, as IAM names them.

A key without a policy may do everything, and is asked nothing. AWS: the Service Authorization Reference, one page a service.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace

from tarry.aws.call import Params
from tarry.aws.services.s3.copy_source import CopySource
from tarry.core.errors import AccessDenied, Bug
from tarry.core.keys import AccessKey
from tarry.core.names import S3Location, Scope
from tarry.core.policy import Policy, Verdict
from tarry.ports import Keyring

Demand = tuple[str, str]
"""Action and resource."""
Resources = Callable[[Params, Scope], Iterable[str]]

_NAME_ONE = (
    ". It would reach all there is, so the policy has to allow it on * and to deny it nowhere; else name what it is about, where "
    "the operation takes that: the EndpointName or the InvocationId"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """An action that an operation needs, and the resources of a request that it needs it on."""

    action: str
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked for: an operation of a service (as botocore names them) with its parameters."""

    service: str
    operation: str
    params: Params
    scope: Scope


EndpointOf = Callable[[str], Awaitable[str | None]]
"""The name of the endpoint that an invocation belongs to, by the invocation's id; None where there is no such invocation."""


async def authorise(key: AccessKey, asked: Asked, keyring: Keyring, endpoint_of: EndpointOf) -> None:
    """Errors: AccessDenied, in AWS's words, unless the key's policy allows all that the operation needs."""
    if key.policy is None:
        return
    if asked.service == "tarry" and asked.operation in _KEY_OPERATIONS:
        asked = await _with_stored_name(asked, keyring)
    for number, (action, resource) in enumerate(demands_of(asked)):
        if number > 0:
            await asyncio.sleep(0)  # DeleteObjects makes a thousand demands: others have their turn between them
        invocation_id = resource.removeprefix(_invocation_arn("", asked.scope))
        if _reaches_all(action, resource):
            verdict = key.policy.judge_all(action)
        elif invocation_id != resource:
            verdict = _verdict_on_invocation(key.policy, action, await endpoint_of(invocation_id), asked.scope)
        else:
            verdict = key.policy.judge(action, resource)
        if verdict is not Verdict.ALLOWED:
            raise _denied(verdict, key.principal_arn, action, resource)


def demands_of(asked: Asked) -> Iterator[Demand]:
    """The actions and resources of an operation that is served here. Errors: Bug for one that nobody has thought of."""
    table = _TABLE.get(asked.service, {})
    if asked.operation not in table:
        raise Bug(f"Nobody has said what {asked.service}:{asked.operation} needs to be allowed.")
    for rule in table[asked.operation]:
        for resource in rule.resources(asked.params, asked.scope):
            yield rule.action, resource


def may_list(key: AccessKey, bucket: str, scope: Scope) -> bool:
    """Whether the key may know which objects there are.

    AWS: without it a missing object is AccessDenied and not NoSuchKey (GetObject, API reference).
    """
    return key.policy is None or key.policy.judge("s3:ListBucket", _bucket_arn(bucket, scope)) is Verdict.ALLOWED


def operations_known() -> Mapping[str, Set[str]]:
    """Every operation that the table speaks of, for the test that compares it with what is served."""
    return {service: table.keys() for service, table in _TABLE.items()}


def actions_known() -> Set[str]:
    """Every action that some operation of this server needs."""
    return {rule.action for table in _TABLE.values() for rules in table.values() for rule in rules}


async def _with_stored_name(asked: Asked, keyring: Keyring) -> Asked:
    """The request with the key's name as it is stored, whether the caller gave the name in another case or an id.

    A policy that speaks of a key by its name has to cover every way of naming it. What does not exist stays as it was asked for.
    """
    name, key_id = asked.params.get("Name"), asked.params.get("AccessKeyId")
    for key in await keyring.list():
        if key.id == key_id or (name is not None and key.name.lower() == name.lower()):
            return replace(asked, params={**asked.params, "Name": key.name})
    return asked


def _reaches_all(action: str, resource: str) -> bool:
    """OURS: our own operations that name no resource reach behind each, also one that the policy excludes by its name."""
    return action.startswith("tarry:") and resource == "*"


def _verdict_on_invocation(policy: Policy, action: str, endpoint_name: str | None, scope: Scope) -> Verdict:
    """OURS: an invocation is judged as its endpoint is, and one that does not exist as everything is.

    The refusal says the same of both, so that nobody learns which invocations others have; but for a policy that allows
    everything and denies an endpoint, to which what does not exist is NotFound.
    """
    anything = policy.judge(action, "*")
    if endpoint_name is None:
        return anything
    verdict = policy.judge(action, scope.sagemaker_arn("endpoint", endpoint_name))
    return verdict if Verdict.ALLOWED in {verdict, anything} else anything


def _denied(verdict: Verdict, principal: str, action: str, resource: str) -> AccessDenied:
    shown = f'"{resource}"' if action.startswith("s3:") else resource
    because = (
        "with an explicit deny in an identity-based policy"
        if verdict is Verdict.DENIED
        else f"because no identity-based policy allows the {action} action"
    )
    advice = _NAME_ONE if _reaches_all(action, resource) else ""
    # AWS: IAM user guide, "Troubleshoot access denied error messages".
    return AccessDenied(f"User: {principal} is not authorized to perform: {action} on resource: {shown} {because}{advice}")


# --------------------------------------------------------------------------------------------------------------- resources


def _anything(params: Params, scope: Scope) -> Iterator[str]:
    """Of an action that is about no resource in particular."""
    yield "*"


def _sagemaker(word: str, member: str) -> Resources:
    """What a member of the request names; ``word`` is the ARN's for its kind."""

    def resources(params: Params, scope: Scope) -> Iterator[str]:
        yield scope.sagemaker_arn(word, params[member])

    return resources


def _if_tagged(resources: Resources) -> Resources:
    def tagged(params: Params, scope: Scope) -> Iterable[str]:
        return resources(params, scope) if params.get("Tags") else ()

    return tagged


def _arn_in(*members: str) -> Resources:
    """The ARN in the first of these members that is given."""

    def resources(params: Params, scope: Scope) -> Iterator[str]:
        yield next((params[member] for member in members if params.get(member)), "*")

    return resources


def _tagged_arn(params: Params, scope: Scope) -> Iterator[str]:
    yield params["ResourceArn"].lower()


def _bucket_arn(bucket: str, scope: Scope) -> str:
    return f"arn:{scope.partition}:s3:::{bucket}"


def _bucket(params: Params, scope: Scope) -> Iterator[str]:
    yield _bucket_arn(params["Bucket"], scope)


def _object(params: Params, scope: Scope) -> Iterator[str]:
    yield f"{_bucket_arn(params['Bucket'], scope)}/{params['Key']}"


def _copied(params: Params, scope: Scope) -> Iterator[str]:
    source = CopySource.parse(params["CopySource"])
    yield f"{_bucket_arn(source.bucket, scope)}/{source.key}"


def _objects(params: Params, scope: Scope) -> Iterator[str]:
    # OURS: one key that may not be deleted refuses the whole call; AWS refuses it alone.
    for entry in (params.get("Delete") or {}).get("Objects") or ():
        yield f"{_bucket_arn(params['Bucket'], scope)}/{entry.get('Key', '')}"


def _model_data(params: Params) -> Iterator[tuple[S3Location, bool]]:
    """Where the model data of a CreateModel lie, and whether all objects under a prefix are meant. Errors: InvalidRequest."""
    for container in filter(None, (params.get("PrimaryContainer"), *(params.get("Containers") or ()))):
        several = container.get("Mode") == "MultiModel"
        if url := container.get("ModelDataUrl"):
            yield S3Location.parse(url), several
        sources = (container.get("ModelDataSource"), *(container.get("AdditionalModelDataSources") or ()))
        for place in (source["S3DataSource"] for source in sources if source and source.get("S3DataSource")):
            yield S3Location.parse(place["S3Uri"]), several or place["S3DataType"] == "S3Prefix"


def _model_objects(params: Params, scope: Scope) -> Iterator[str]:
    for location, _ in _model_data(params):
        yield f"{_bucket_arn(location.bucket, scope)}/{location.key}"


def _model_buckets(params: Params, scope: Scope) -> Iterator[str]:
    for location, at_a_prefix in _model_data(params):
        if at_a_prefix:
            yield _bucket_arn(location.bucket, scope)


def _topic(params: Params, scope: Scope) -> Iterator[str]:
    yield scope.arn("sns", params["Name"])


def _access_key(params: Params, scope: Scope) -> Iterator[str]:
    yield scope.arn("tarry", f"access-key/{params.get('Name') or params['AccessKeyId']}")


def _invocation(params: Params, scope: Scope) -> Iterator[str]:
    """The one that is named by our id. An InferenceId may be that of any: who asks by it has to be allowed all of them."""
    invocation_id = params.get("InvocationId")
    yield "*" if invocation_id is None else _invocation_arn(invocation_id, scope)


def _invocation_arn(id: str, scope: Scope) -> str:
    """How a demand and its refusal name an invocation; a policy names its endpoint."""
    return scope.arn("tarry", f"invocation/{id}")


def _endpoint(params: Params, scope: Scope) -> Iterator[str]:
    """The endpoint that is named, in SageMaker's own form; everything where none is."""
    name = params.get("EndpointName")
    yield "*" if name is None else scope.sagemaker_arn("endpoint", name)


def _redriven(params: Params, scope: Scope) -> Iterator[str]:
    for each in params.get("InvocationIds") or ():
        yield _invocation_arn(each, scope)
    if params.get("InferenceIds"):
        yield "*"
    elif not params.get("InvocationIds"):
        yield from _endpoint(params, scope)


def _role(params: Params, scope: Scope) -> Iterator[str]:
    yield f"arn:{scope.partition}:iam::{scope.account_id}:role/{params['RoleName']}"


# ------------------------------------------------------------------------------------------------------------------- table

Rules = tuple[Rule, ...]
_MODEL = _sagemaker("model", "ModelName")
_CONFIG = _sagemaker("endpoint-config", "EndpointConfigName")
_ENDPOINT = _sagemaker("endpoint", "EndpointName")


def _each(service: str, resources: Resources, *names: str) -> Mapping[str, Rules]:
    """Operations that need the action of their own name on the same resources."""
    return {name: (Rule(f"{service}:{name}", resources),) for name in names}


def _as(action: str, resources: Resources, *names: str) -> Mapping[str, Rules]:
    """Operations that need the same action."""
    return dict.fromkeys(names, (Rule(action, resources),))


def _create(name: str, *all_resources: Resources) -> Mapping[str, Rules]:
    """An operation on several resources, the first of which gets the tags that come with it."""
    action = f"sagemaker:{name}"
    rules = tuple(Rule(action, resources) for resources in all_resources)
    return {name: (*rules, Rule("sagemaker:AddTags", _if_tagged(all_resources[0])))}


_COPY = (Rule("s3:GetObject", _copied), Rule("s3:PutObject", _object))
_KEY_OPERATIONS = ("CreateAccessKey", "UpdateAccessKey", "RotateAccessKey", "PutAccessKeyPolicy", "DeleteAccessKeyPolicy")

# OURS: AWS reads model data with the rights of the ExecutionRole, which the caller must be allowed to pass. Roles have no rights
# here and the server may read everything, so the caller's own rights are asked: else whoever may make models could learn by it
# which objects there are, and have a model made of them.
_MODEL_DATA = (Rule("s3:GetObject", _model_objects), Rule("s3:ListBucket", _model_buckets))

_TABLE: Mapping[str, Mapping[str, Rules]] = {
    "sagemaker": {
        "CreateModel": (*_create("CreateModel", _MODEL)["CreateModel"], *_MODEL_DATA),
        **_each("sagemaker", _MODEL, "DescribeModel", "DeleteModel"),
        **_create("CreateEndpointConfig", _CONFIG),
        **_each("sagemaker", _CONFIG, "DescribeEndpointConfig", "DeleteEndpointConfig"),
        **_create("CreateEndpoint", _ENDPOINT, _CONFIG),
        **_create("UpdateEndpoint", _ENDPOINT, _CONFIG),
        **_each("sagemaker", _ENDPOINT, "DescribeEndpoint", "DeleteEndpoint", "UpdateEndpointWeightsAndCapacities"),
        **_each("sagemaker", _anything, "ListModels", "ListEndpointConfigs", "ListEndpoints"),
        **_each("sagemaker", _tagged_arn, "AddTags", "ListTags", "DeleteTags"),
    },
    "sagemaker-runtime": _each(
        "sagemaker", _ENDPOINT, "InvokeEndpointAsync", "InvokeEndpoint", "InvokeEndpointWithResponseStream"
    ),
    "s3": {
        **_as("s3:ListAllMyBuckets", _anything, "ListBuckets"),
        **_each("s3", _bucket, "CreateBucket", "DeleteBucket", "GetBucketLocation"),
        **_as("s3:ListBucket", _bucket, "HeadBucket", "ListObjects", "ListObjectsV2"),
        **_as("s3:ListBucketMultipartUploads", _bucket, "ListMultipartUploads"),
        **_as("s3:GetObject", _object, "GetObject", "HeadObject", "GetObjectAttributes"),
        **_as("s3:PutObject", _object, "PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"),
        **_each("s3", _object, "AbortMultipartUpload", "DeleteObject"),
        **_as("s3:ListMultipartUploadParts", _object, "ListParts"),
        "CopyObject": _COPY,
        "UploadPartCopy": _COPY,
        **_as("s3:DeleteObject", _objects, "DeleteObjects"),
    },
    "sns": {
        **_each("sns", _topic, "CreateTopic"),
        **_each("sns", _arn_in("TopicArn"), "ConfirmSubscription", "DeleteTopic", "GetTopicAttributes"),
        **_each("sns", _arn_in("TopicArn"), "ListSubscriptionsByTopic", "PublishBatch", "SetTopicAttributes", "Subscribe"),
        **_each("sns", _arn_in("TopicArn", "TargetArn"), "Publish"),
        **_each("sns", _arn_in("ResourceArn"), "ListTagsForResource", "TagResource", "UntagResource"),
        **_each("sns", _anything, "GetSubscriptionAttributes", "ListSubscriptions", "ListTopics"),
        **_each("sns", _anything, "SetSubscriptionAttributes", "Unsubscribe"),
    },
    "iam": _each("iam", _role, "GetRole"),
    # AWS: GetCallerIdentity needs no permission (STS API reference).
    "sts": {"GetCallerIdentity": ()},
    "tarry": {
        **_each("tarry", _invocation, "DescribeInvocation", "WaitInvocation", "StopInvocation", "SetPriority"),
        **_each("tarry", _endpoint, "ListInvocations", "DescribeQueue", "PurgeQueue", "PutRetryPolicy", "DeleteRetryPolicy"),
        **_each("tarry", _endpoint, "ListInstanceLogs", "ReadInstanceLog"),
        **_each("tarry", _redriven, "RedriveInvocations"),
        **_each("tarry", _anything, "ListAccessKeys"),
        **_each("tarry", _access_key, *_KEY_OPERATIONS),
    },
}
