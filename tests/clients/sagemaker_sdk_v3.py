"""The resource classes of the SageMaker Python SDK 3 (sagemaker-core)."""

import json
import sys
from importlib.metadata import version

import boto3
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import (
    AsyncInferenceClientConfig,
    AsyncInferenceConfig,
    AsyncInferenceOutputConfig,
    ContainerDefinition,
    ProductionVariant,
)

BUCKET = "client-test"
WAITER = {"Delay": 1, "MaxAttempts": 120}

s3 = boto3.client("s3")
s3.create_bucket(Bucket=BUCKET)
s3.put_object(Bucket=BUCKET, Key="in", Body=b"from S3", ContentType="text/plain")
role = "arn:aws:iam::123456789012:role/r"
model = Model.create(model_name="core", primary_container=ContainerDefinition(image="stub:1"), execution_role_arn=role)
output = AsyncInferenceOutputConfig(s3_output_path=f"s3://{BUCKET}/out")


def config(name: str, count: int) -> EndpointConfig:
    """A configuration of the model with so many instances."""
    variant = ProductionVariant(
        variant_name="v", model_name=model.model_name, instance_type="ml.m5.xlarge", initial_instance_count=count
    )
    client = AsyncInferenceClientConfig(max_concurrent_invocations_per_instance=2)
    asynchronous = AsyncInferenceConfig(output_config=output, client_config=client)
    return EndpointConfig.create(endpoint_config_name=name, production_variants=[variant], async_inference_config=asynchronous)


first = config("core-1", 1)
endpoint = Endpoint.create(endpoint_name="core", endpoint_config_name=first.endpoint_config_name)
endpoint.wait_for_status("InService")
answer = endpoint.invoke_async(input_location=f"s3://{BUCKET}/in")
_, _, bucket, key = answer.output_location.split("/", 3)
s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig=WAITER)
body = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
second = config("core-2", 2)
endpoint.endpoint_config_name = "core-2"
endpoint.update()
endpoint.wait_for_status("InService")
names = [found.endpoint_name for found in Endpoint.get_all()]
count = Endpoint.get(endpoint_name="core").production_variants[0].current_instance_count
endpoint.delete()
endpoint.wait_for_delete()
for resource in (first, second, model):
    resource.delete()
told = {"client": f"sagemaker-core {version('sagemaker-core')}", "bodies": [body], "endpoints": names, "instances": count}
print()  # the SDK draws boxes, and ends them without a new line
json.dump(told, sys.stdout)
