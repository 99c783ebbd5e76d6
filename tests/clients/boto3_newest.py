"""What a client program does, run in a client's own environment: everything comes from the AWS variables."""

import io
import json
import sys
import tarfile

import boto3

BUCKET = "client-test"
WAITER = {"Delay": 1, "MaxAttempts": 120}

s3, sagemaker, runtime = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
s3.create_bucket(Bucket=BUCKET)
archive = io.BytesIO()
tarfile.open(fileobj=archive, mode="w:gz").close()
s3.upload_fileobj(io.BytesIO(archive.getvalue()), BUCKET, "model.tar.gz")
sagemaker.create_model(
    ModelName="m",
    ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
    PrimaryContainer={"Image": "stub:1", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz"},
)
sagemaker.create_endpoint_config(
    EndpointConfigName="c",
    ProductionVariants=[{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}],
    AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out"}},
)
sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig=WAITER)
s3.put_object(Bucket=BUCKET, Key="in", Body=b"from S3", ContentType="text/plain")
answers = [
    runtime.invoke_endpoint_async(EndpointName="e", InputLocation=f"s3://{BUCKET}/in"),
    runtime.invoke_endpoint_async(EndpointName="e", Body=b"inline"),
]
bodies = []
for answer in answers:
    _, _, bucket, key = answer["OutputLocation"].split("/", 3)
    s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig=WAITER)
    bodies.append(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
json.dump({"boto3": boto3.__version__, "bodies": bodies}, sys.stdout)
