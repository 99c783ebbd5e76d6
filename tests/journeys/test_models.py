"""Models in all their forms: data under a prefix and in channels, several containers in a row."""

import json

import pytest
from tests.support import deploy
from tests.support.server_process import ServerProcess

BUCKET = "models-test"


@pytest.fixture(scope="module", autouse=True)
def _bucket(server: ServerProcess) -> None:
    deploy.bucket(server, BUCKET)


def _serve(server: ServerProcess, name: str, body: bytes, **options: str) -> bytes:
    deploy.config(server, name, name, BUCKET)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
    deploy.in_service(server, name)
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, Body=body, **options)
    return deploy.read(server, answer["OutputLocation"])


def test_a_model_under_a_prefix_with_more_data_in_a_channel(server: ServerProcess) -> None:
    s3 = server.client("s3")
    for key, body in {"m/weights.txt": b"42", "m/code/run.py": b"pass", "adapter.bin": b"extra"}.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    prefix = {"S3Uri": f"s3://{BUCKET}/m/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    single = {"S3Uri": f"s3://{BUCKET}/adapter.bin", "S3DataType": "S3Object", "CompressionType": "None"}
    container = {
        "Image": "stub:1",
        "ModelDataSource": {"S3DataSource": prefix},
        "AdditionalModelDataSources": [{"ChannelName": "lora", "S3DataSource": single}],
        "Environment": {"STUB_DEFAULT": '{"files": true}'},
    }
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="prefix", ExecutionRoleArn=deploy.ROLE, PrimaryContainer=container)
    assert sagemaker.describe_model(ModelName="prefix")["PrimaryContainer"] == container
    assert json.loads(_serve(server, "prefix", b"which files?")) == {
        "model/weights.txt": "42",
        "model/code/run.py": "pass",
        "additional-model-data-sources/lora/adapter.bin": "extra",
    }


def _pipeline(server: ServerProcess, name: str, *wishes: str) -> None:
    containers = [{"Image": "stub:1", "Environment": {"STUB_DEFAULT": wish}} for wish in wishes]
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=deploy.ROLE, Containers=containers)
    assert sagemaker.describe_model(ModelName=name)["Containers"] == containers


def test_a_request_passes_through_three_containers(server: ServerProcess) -> None:
    _pipeline(server, "three", '{"append": " one"}', '{"append": " two", "chunked": true}', '{"append": " three"}')
    assert _serve(server, "three", b"zero") == b"zero one two three"
    (variant,) = server.client("sagemaker").describe_endpoint(EndpointName="three")["ProductionVariants"]
    assert [image["SpecifiedImage"] for image in variant["DeployedImages"]] == ["stub:1"] * 3


def test_an_error_in_the_middle_of_a_pipeline_is_the_failure(server: ServerProcess) -> None:
    _pipeline(server, "middle", "{}", '{"status": 422, "answer": "not this"}', '{"append": " never"}')
    deploy.config(server, "middle", "middle", BUCKET)
    server.client("sagemaker").create_endpoint(EndpointName="middle", EndpointConfigName="middle")
    deploy.in_service(server, "middle")
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="middle", Body=b"x")
    assert deploy.read(server, answer["FailureLocation"]) == b"not this"


def test_one_container_that_cannot_start_fails_the_endpoint_by_its_name(server: ServerProcess) -> None:
    sagemaker = server.client("sagemaker")
    containers = [
        {"Image": "stub:1", "ContainerHostname": "preprocess"},
        {"Image": "stub:1", "ContainerHostname": "predict", "Environment": {"STUB_CRASH": "no module named torch"}},
    ]
    sagemaker.create_model(ModelName="halfway", ExecutionRoleArn=deploy.ROLE, Containers=containers)
    deploy.config(server, "halfway", "halfway", BUCKET)
    sagemaker.create_endpoint(EndpointName="halfway", EndpointConfigName="halfway")
    with pytest.raises(Exception, match="Failed"):
        deploy.in_service(server, "halfway")
    assert "predict: no module named torch" in sagemaker.describe_endpoint(EndpointName="halfway")["FailureReason"]
