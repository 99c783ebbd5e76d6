"""The SageMaker Python SDK 2 with a script of one's own: the classes of scikit-learn, PyTorch and Hugging Face.

Usage: sagemaker_sdk_v2_scripts.py sklearn|pytorch|huggingface, in a directory with source/script.py and model.tar.gz.
"""

import json
import sys

import boto3
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.huggingface import HuggingFaceModel
from sagemaker.pytorch import PyTorchModel
from sagemaker.serializers import JSONSerializer
from sagemaker.sklearn import SKLearnModel

CLASSES = {
    "sklearn": (SKLearnModel, {"framework_version": "1.2-1", "py_version": "py3"}),
    "pytorch": (PyTorchModel, {"framework_version": "1.8", "py_version": "py3"}),
    "huggingface": (HuggingFaceModel, {"transformers_version": "4.26", "pytorch_version": "1.13", "py_version": "py39"}),
}
kind = sys.argv[1]
model_class, versions = CLASSES[kind]
session = sagemaker.Session()
data = session.upload_data("model.tar.gz", session.default_bucket(), "models")
model = model_class(
    model_data=data,
    role="arn:aws:iam::123456789012:role/test",
    entry_point="script.py",
    source_dir="source",
    sagemaker_session=session,
    **versions,
)
predictor = model.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.xlarge",
    endpoint_name=kind,
    serializer=JSONSerializer(),
    deserializer=JSONDeserializer(),
    async_inference_config=AsyncInferenceConfig(),
    wait=False,
)
client = boto3.client("sagemaker")
client.get_waiter("endpoint_in_service").wait(EndpointName=kind, WaiterConfig={"Delay": 1, "MaxAttempts": 600})
output = predictor.predict_async(data=[[1, 2]]).output_path  # not predict: the SDK would look for a failure long after the answer
bucket, _, key = output.removeprefix("s3://").partition("/")
s3 = boto3.client("s3")
s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
answer = json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
(variant,) = client.describe_endpoint(EndpointName=kind)["ProductionVariants"]
told = {"image": variant["DeployedImages"][0]["SpecifiedImage"], "answer": answer}
sys.stdout.write(json.dumps(told) + "\n")
