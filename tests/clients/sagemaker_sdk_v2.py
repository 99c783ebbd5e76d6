"""The SageMaker Python SDK 2: deploy, predict, update, delete, as its documentation shows them, in a notebook."""

import json
import sys

import boto3
import sagemaker
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.deserializers import JSONDeserializer
from sagemaker.exceptions import AsyncInferenceModelError
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import JSONSerializer

WAITER = {"Delay": 1, "MaxAttempts": 120}
SOON = WaiterConfig(max_attempts=15, delay=1)  # the SDK keeps a thread that looks for a failure for as long as this

session = sagemaker.Session()
role = sagemaker.get_execution_role()
looked_up = boto3.client("iam").get_role(RoleName="SageMakerRole")["Role"]["Arn"]
bucket = session.default_bucket()
model = Model(image_uri="stub:1", role=role, sagemaker_session=session, predictor_cls=Predictor, name="sdk-model")
predictor = model.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.xlarge",
    endpoint_name="sdk",
    serializer=JSONSerializer(),
    deserializer=JSONDeserializer(),
    async_inference_config=AsyncInferenceConfig(max_concurrent_invocations_per_instance=2),
    wait=False,  # the SDK looks every 30 seconds; the waiter below is boto3's own
)
in_service = boto3.client("sagemaker").get_waiter("endpoint_in_service")
in_service.wait(EndpointName="sdk", WaiterConfig=WAITER)

answers = [predictor.predict(data={"n": 1}, waiter_config=SOON)]
answers.append(predictor.predict_async(data={"n": 2}).get_result(SOON))
location = session.upload_string_as_file_body('{"n": 3}', bucket, "inputs/three.json")
answers.append(predictor.predict_async(input_path=location, initial_args={"ContentType": "application/json"}).get_result(SOON))
try:
    predictor.predict_async(data={"stub": {"status": 422, "answer": '"not this"'}}).get_result(SOON)
    failure = "none"
except AsyncInferenceModelError as error:
    failure = str(error)

predictor.update_endpoint(initial_instance_count=2, instance_type="ml.m5.large", wait=False)
in_service.wait(EndpointName="sdk", WaiterConfig=WAITER)
described = session.sagemaker_client.describe_endpoint(EndpointName="sdk")
predictor.delete_model()
predictor.delete_endpoint()
boto3.client("sagemaker").get_waiter("endpoint_deleted").wait(EndpointName="sdk", WaiterConfig=WAITER)
told = {
    "client": f"sagemaker {sagemaker.__version__}",
    "bodies": answers,
    "bucket": bucket,
    "role": role,
    "looked_up": looked_up,
    "failure": failure,
    "instances": described["ProductionVariants"][0]["CurrentInstanceCount"],
    "asynchronous": "AsyncInferenceConfig" in described,
}
json.dump(told, sys.stdout)
