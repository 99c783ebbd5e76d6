"""A boto3 from before 2023: it knows neither the inline Body nor S3FailurePath, and its waiters are the old ones."""

import json
import os
import sys

import boto3

BUCKET = "client-test"
WAITER = {"Delay": 1, "MaxAttempts": 120}

URL = os.environ["AWS_ENDPOINT_URL"]  # boto3 itself looks at it since 1.28, of 2023
s3, sagemaker, runtime, sns, sts = (
    boto3.client(service, endpoint_url=URL) for service in ("s3", "sagemaker", "sagemaker-runtime", "sns", "sts")
)
account = sts.get_caller_identity()["Account"]
s3.create_bucket(Bucket=BUCKET)
topic = sns.create_topic(Name="done")["TopicArn"]
sagemaker.create_model(ModelName="m", ExecutionRoleArn=f"arn:aws:iam::{account}:role/r", PrimaryContainer={"Image": "stub:1"})
sagemaker.create_endpoint_config(
    EndpointConfigName="c",
    ProductionVariants=[{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}],
    AsyncInferenceConfig={
        "OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out", "NotificationConfig": {"SuccessTopic": topic}},
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2},
    },
)
sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig=WAITER)
s3.put_object(Bucket=BUCKET, Key="in", Body=b"from S3", ContentType="text/plain")
answer = runtime.invoke_endpoint_async(EndpointName="e", InputLocation=f"s3://{BUCKET}/in", RequestTTLSeconds=600)
_, _, bucket, key = answer["OutputLocation"].split("/", 3)
s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig=WAITER)
body = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
sagemaker.delete_endpoint(EndpointName="e")
sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="e", WaiterConfig=WAITER)
json.dump({"client": f"boto3 {boto3.__version__}", "bodies": [body]}, sys.stdout)
