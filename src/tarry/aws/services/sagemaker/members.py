"""What becomes of every member that a request can carry: honoured, described back, or refused with a reason.

Nothing is dropped: a member that is in no table is refused as well, so that a newer botocore cannot make us forget one, and
a test walks botocore's shapes to see that the tables are complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tarry.core.errors import NotSupported


@dataclass(frozen=True, slots=True)
class Honoured:
    """Members that have their effect: each reaches what the commands are given, and a test sees to that."""


@dataclass(frozen=True, slots=True)
class DescribedBack:
    """Members that have no effect here; Describe shows them again. ``reason`` says why they have none."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Members that are not taken: ``reason`` says why, as the rest of a sentence that begins with the member's name."""

    reason: str


Treatment = Honoured | DescribedBack | Refused
HONOURED = Honoured()
_NO_NETWORK = DescribedBack("there is no VPC here")
_ISOLATION = DescribedBack("instances get no credentials; the Docker engine isolates them, the process engine cannot")
_ONE_MACHINE = DescribedBack("there is no machine of its own behind an instance")

_CONTAINER: Mapping[str, Treatment] = {
    "ContainerHostname": HONOURED,  # tells the containers of a pipeline apart
    "Image": HONOURED,
    "ImageConfig": DescribedBack("how images are pulled is a setting of the server"),
    "Mode": HONOURED,
    "ModelDataUrl": HONOURED,
    "ModelDataSource": HONOURED,
    "AdditionalModelDataSources": HONOURED,
    "Environment": HONOURED,
    "ModelPackageName": Refused("is not supported: there is no model registry here. Give Image and ModelDataUrl."),
    "InferenceSpecificationName": Refused("is not supported: there is no model registry here. Give Image and ModelDataUrl."),
    "MultiModelConfig": DescribedBack("CreateEndpointConfig refuses a model in MultiModel mode"),
    "ContainerMetricsConfig": Refused("is not supported: metrics of containers are not collected."),
}

_VARIANT: Mapping[str, Treatment] = {
    "VariantName": HONOURED,
    "ModelName": HONOURED,
    "InitialInstanceCount": HONOURED,
    "InstanceType": HONOURED,
    "InstancePools": HONOURED,
    "VariantInstanceProvisionTimeoutInSeconds": HONOURED,
    "InitialVariantWeight": HONOURED,
    "AcceleratorType": DescribedBack("Elastic Inference has ended"),
    "CoreDumpConfig": Refused("is not supported: core dumps are not collected."),
    "ServerlessConfig": Refused("is not supported: asynchronous endpoints run on instances. Give InstanceType."),
    "VolumeSizeInGB": _ONE_MACHINE,
    "ModelDataDownloadTimeoutInSeconds": HONOURED,
    "ContainerStartupHealthCheckTimeoutInSeconds": HONOURED,
    "EnableSSMAccess": _ONE_MACHINE,
    # AWS: the sentence of hashicorp/terraform-provider-aws#45926.
    "ManagedInstanceScaling": Refused("is only supported for inference component endpoints."),
    "RoutingConfig": DescribedBack("instances take work from a queue, so there is nothing to route"),
    "InferenceAmiVersion": _ONE_MACHINE,
    "CapacityReservationConfig": _ONE_MACHINE,
}

_TAG: Mapping[str, Treatment] = {"Key": HONOURED, "Value": HONOURED}

_PAGE: Mapping[str, Treatment] = {
    "SortBy": HONOURED,
    "SortOrder": HONOURED,
    "NextToken": HONOURED,
    "MaxResults": HONOURED,
    "NameContains": HONOURED,
    "CreationTimeBefore": HONOURED,
    "CreationTimeAfter": HONOURED,
}

MEMBERS: Mapping[str, Mapping[str, Treatment]] = {
    "CreateModelInput": {
        "ModelName": HONOURED,
        "PrimaryContainer": HONOURED,
        "Containers": HONOURED,
        "InferenceExecutionConfig": DescribedBack("Serial is what happens; Direct is refused where it would mean something"),
        "ExecutionRoleArn": HONOURED,
        "Tags": HONOURED,
        "VpcConfig": _NO_NETWORK,
        "EnableNetworkIsolation": _ISOLATION,
    },
    "ContainerDefinition": _CONTAINER,
    "ModelDataSource": {"S3DataSource": HONOURED},
    "S3ModelDataSource": {
        "S3Uri": HONOURED,
        "S3DataType": HONOURED,
        "CompressionType": HONOURED,
        "ModelAccessConfig": DescribedBack("there is nobody to tell that a licence is accepted"),
        "HubAccessConfig": Refused("is not supported: there is no model hub here. Give the S3Uri of the caller's own archive."),
        "ManifestS3Uri": Refused("is not supported: put everything into one archive."),
        "ETag": HONOURED,
        "ManifestEtag": Refused("is not supported: put everything into one archive."),
    },
    "AdditionalModelDataSource": {"ChannelName": HONOURED, "S3DataSource": HONOURED},
    "ModelAccessConfig": {"AcceptEula": DescribedBack("there is nobody to tell that a licence is accepted")},
    "CreateEndpointConfigInput": {
        "EndpointConfigName": HONOURED,
        "ProductionVariants": HONOURED,
        "DataCaptureConfig": Refused("is not supported: requests and answers are in S3 already."),
        "Tags": HONOURED,
        "KmsKeyId": DescribedBack("there is no KMS here, and the disk is the server's own"),
        "AsyncInferenceConfig": HONOURED,
        "ExplainerConfig": Refused("is not supported: there is no Clarify explainer here."),
        "ShadowProductionVariants": Refused("is not supported: asynchronous endpoints have no shadow variants."),
        "ExecutionRoleArn": Refused("is only supported for inference component endpoints. Give it to CreateModel."),
        "VpcConfig": _NO_NETWORK,
        "EnableNetworkIsolation": _ISOLATION,
        "MetricsConfig": Refused("is not supported: all metrics are published at one rate."),
    },
    "ProductionVariant": _VARIANT,
    "InstancePool": {"InstanceType": HONOURED, "Priority": HONOURED, "ModelNameOverride": HONOURED},
    "AsyncInferenceConfig": {"ClientConfig": HONOURED, "OutputConfig": HONOURED},
    "AsyncInferenceClientConfig": {"MaxConcurrentInvocationsPerInstance": HONOURED},
    "AsyncInferenceOutputConfig": {
        "KmsKeyId": DescribedBack("there is no KMS here: outputs are stored as they are"),
        "S3OutputPath": HONOURED,
        "NotificationConfig": HONOURED,
        "S3FailurePath": HONOURED,
    },
    "AsyncInferenceNotificationConfig": {
        "SuccessTopic": HONOURED,
        "ErrorTopic": HONOURED,
        "IncludeInferenceResponseIn": HONOURED,
    },
    "CreateEndpointInput": {
        "EndpointName": HONOURED,
        "EndpointConfigName": HONOURED,
        "DeploymentConfig": HONOURED,
        "Tags": HONOURED,
    },
    "UpdateEndpointInput": {
        "EndpointName": HONOURED,
        "EndpointConfigName": HONOURED,
        "RetainAllVariantProperties": HONOURED,
        "ExcludeRetainedVariantProperties": HONOURED,
        "DeploymentConfig": HONOURED,
        "RetainDeploymentConfig": HONOURED,
    },
    "DeploymentConfig": {
        "BlueGreenUpdatePolicy": HONOURED,
        "RollingUpdatePolicy": HONOURED,
        "AutoRollbackConfiguration": HONOURED,
    },
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": HONOURED,
        "TerminationWaitInSeconds": HONOURED,
        "MaximumExecutionTimeoutInSeconds": HONOURED,
    },
    "TrafficRoutingConfig": {
        "Type": HONOURED,
        "WaitIntervalInSeconds": HONOURED,
        "CanarySize": HONOURED,
        "LinearStepSize": HONOURED,
    },
    "RollingUpdatePolicy": {
        "MaximumBatchSize": HONOURED,
        "WaitIntervalInSeconds": HONOURED,
        "MaximumExecutionTimeoutInSeconds": HONOURED,
        "RollbackMaximumBatchSize": HONOURED,
    },
    "CapacitySize": {"Type": HONOURED, "Value": HONOURED},
    "AutoRollbackConfig": {"Alarms": HONOURED},
    "Alarm": {"AlarmName": HONOURED},
    "VariantProperty": {"VariantPropertyType": HONOURED},
    "UpdateEndpointWeightsAndCapacitiesInput": {"EndpointName": HONOURED, "DesiredWeightsAndCapacities": HONOURED},
    "DesiredWeightAndCapacity": {
        "VariantName": HONOURED,
        "DesiredWeight": HONOURED,
        "DesiredInstanceCount": HONOURED,
        "ServerlessUpdateConfig": Refused("is not supported: asynchronous endpoints run on instances."),
    },
    "DescribeModelInput": {"ModelName": HONOURED},
    "DeleteModelInput": {"ModelName": HONOURED},
    "ListModelsInput": _PAGE,
    "DescribeEndpointConfigInput": {"EndpointConfigName": HONOURED},
    "DeleteEndpointConfigInput": {"EndpointConfigName": HONOURED},
    "ListEndpointConfigsInput": _PAGE,
    "DescribeEndpointInput": {"EndpointName": HONOURED},
    "DeleteEndpointInput": {"EndpointName": HONOURED},
    "ListEndpointsInput": {
        **_PAGE,
        "LastModifiedTimeBefore": HONOURED,
        "LastModifiedTimeAfter": HONOURED,
        "StatusEquals": HONOURED,
    },
    "InvokeEndpointAsyncInput": {
        "EndpointName": HONOURED,
        "ContentType": HONOURED,
        "Accept": HONOURED,
        "CustomAttributes": HONOURED,
        "InferenceId": HONOURED,
        "InputLocation": HONOURED,
        "S3OutputPathExtension": HONOURED,
        "Filename": HONOURED,
        "RequestTTLSeconds": HONOURED,
        "InvocationTimeoutSeconds": HONOURED,
        "Body": HONOURED,
    },
    "AddTagsInput": {"ResourceArn": HONOURED, "Tags": HONOURED},
    "ListTagsInput": {"ResourceArn": HONOURED, "NextToken": HONOURED, "MaxResults": HONOURED},
    "DeleteTagsInput": {"ResourceArn": HONOURED, "TagKeys": HONOURED},
    "Tag": _TAG,
}


def take(shape: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """Check every given member of a structure; returns those that are to be described back, as they came.

    Errors: NotSupported for a member that is refused or that nobody has thought of.
    """
    table = MEMBERS[shape]
    described_back = {}
    for name, value in members.items():
        if value is None:
            continue
        treatment = table.get(name, Refused("is not supported: it is newer than this server."))
        if isinstance(treatment, Refused):
            raise NotSupported(f"{name} {treatment.reason}")
        if isinstance(treatment, DescribedBack):
            described_back[name] = value
    return described_back
