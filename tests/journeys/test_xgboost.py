"""The XGBoost image through unmodified boto3: the page's Environment block, a script from S3, failures that say why."""

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy
import pytest
import xgboost
from botocore.exceptions import WaiterError
from tests.support import deploy
from tests.support.model_objects import archive_of
from tests.support.server_process import ServerProcess
from tests.support.xgboost_instance import ENVIRONMENTS, ROWS, csv_of, saved, trained

from tarry.bootstrap.directory import DataDirectory

pytestmark = [pytest.mark.needs_image, pytest.mark.timeout(600)]

REGISTRY = "683313688378.dkr.ecr.us-east-1.amazonaws.com"
BUCKET = "xgboost-test"
SEED = {"TS_MAX_REQUEST_SIZE": "100000000", "TS_MAX_RESPONSE_SIZE": "100000000", "TS_DEFAULT_RESPONSE_TIMEOUT": "1000"}
"""The Environment of the guide's page, "Create an asynchronous inference endpoint"; its image is XGBoost 0.90-1."""

SCRIPT = b"""
import json, os, xgboost
def model_fn(model_dir):
    print("printed by inference.py:", json.dumps(dict(os.environ)), flush=True)
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "xgboost-model"))
    return booster
def output_fn(prediction, accept):
    return json.dumps({"limit": os.environ["TS_MAX_REQUEST_SIZE"], "scores": prediction.tolist()}), "application/json"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that shares the environments of the integration tests."""
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data_dir, "--environments", str(ENVIRONMENTS)) as running:
        deploy.bucket(running, BUCKET)
        yield running


@pytest.fixture(scope="module")
def model() -> xgboost.Booster:
    return trained("binary:logistic")


def put(server: ServerProcess, key: str, body: bytes, **more: str) -> str:
    server.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body, **more)
    return f"s3://{BUCKET}/{key}"


def create(server: ServerProcess, name: str, image: str, model_data: str, environment: dict[str, str]) -> None:
    """As on the page: model, configuration, endpoint."""
    deploy.model(server, name, environment, image=f"{REGISTRY}/{image}", ModelDataUrl=model_data)
    deploy.config(server, name, name, BUCKET, concurrency=4)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)


def ask(server: ServerProcess, name: str, input_location: str, **more: str) -> dict[str, Any]:
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, InputLocation=input_location, **more)
    return dict(answer)


def test_the_pages_image_and_environment(server: ServerProcess, model: xgboost.Booster) -> None:
    archive = put(server, "saved_models/demo-xgboost-model.tar.gz", archive_of({"xgboost-model": saved(model)}))
    create(server, "seed", "sagemaker-xgboost:0.90-1-cpu-py3", archive, SEED)
    deploy.in_service(server, "seed")
    answer = ask(server, "seed", put(server, "in.csv", csv_of(ROWS).encode(), ContentType="text/csv"))
    scores = [float(one) for one in deploy.read(server, answer["OutputLocation"]).decode().split(",")]
    numpy.testing.assert_allclose(scores, model.predict(xgboost.DMatrix(ROWS)), rtol=1e-6)
    refused = ask(server, "seed", put(server, "in.json", b"[1,2,3]", ContentType="application/json"))
    failure = deploy.read(server, refused["FailureLocation"]).decode()
    assert failure.startswith("application/json is not an accepted ContentType: csv, text/csv, libsvm")


def test_a_script_from_s3_prints_its_environment(server: ServerProcess, model: xgboost.Booster) -> None:
    """As the SDK deploys it: the archive of the model, and beside it one of the script."""
    archive = put(server, "model.tar.gz", archive_of({"xgboost-model": saved(model)}))
    source = put(server, "sourcedir.tar.gz", archive_of({"inference.py": SCRIPT}))
    key, secret = DataDirectory(server.data_dir).read_credentials()
    access = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    script = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": source, "SAGEMAKER_CONTAINER_LOG_LEVEL": "20"}
    create(server, "script", "sagemaker-xgboost:1.7-1", archive, {**script, **SEED, **access})
    deploy.in_service(server, "script")
    answer = ask(server, "script", put(server, "in.csv", csv_of(ROWS).encode(), ContentType="text/csv"), ContentType="text/csv")
    said = json.loads(deploy.read(server, answer["OutputLocation"]))
    assert said["limit"] == "100000000"
    numpy.testing.assert_allclose(said["scores"], model.predict(xgboost.DMatrix(ROWS)), rtol=1e-6)
    [log] = server.data_dir.glob("logs/*script*/*/*.log")
    printed = [line for line in log.read_text().splitlines() if line.startswith("printed by inference.py:")]
    assert SEED.items() <= json.loads(printed[0].partition(": ")[2]).items()


def test_a_body_over_the_limit_fails_without_the_variable_and_passes_with_it(
    server: ServerProcess, model: xgboost.Booster
) -> None:
    archive = put(server, "model.tar.gz", archive_of({"xgboost-model": saved(model)}))
    rows = numpy.repeat(ROWS, 2000, axis=0)
    body = put(server, "large.csv", csv_of(rows).encode(), ContentType="text/csv")
    assert server.client("s3").head_object(Bucket=BUCKET, Key="large.csv")["ContentLength"] > 6 * 1024 * 1024
    for name, environment in {"bounded": {}, "raised": {"MAX_CONTENT_LENGTH": "100000000"}}.items():
        create(server, name, "sagemaker-xgboost:1.7-1", archive, environment)
    for name in ("bounded", "raised"):
        deploy.in_service(server, name)
    refused, passed = (ask(server, name, body, Accept="application/json") for name in ("bounded", "raised"))
    assert "larger than MAX_CONTENT_LENGTH (6291456 bytes)" in deploy.read(server, refused["FailureLocation"]).decode()
    scores = json.load(io.BytesIO(deploy.read(server, passed["OutputLocation"])))["predictions"]
    assert len(scores) == len(rows)


def test_a_tag_that_is_not_known_fails_with_those_that_are(server: ServerProcess, model: xgboost.Booster) -> None:
    archive = put(server, "model.tar.gz", archive_of({"xgboost-model": saved(model)}))
    create(server, "unknown", "sagemaker-xgboost:9.9-9", archive, {})
    with pytest.raises(WaiterError):
        deploy.in_service(server, "unknown")
    reason = server.client("sagemaker").describe_endpoint(EndpointName="unknown")["FailureReason"]
    assert "sagemaker-xgboost:9.9-9" in reason
    assert "1.7-1" in reason
