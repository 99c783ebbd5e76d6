"""A model archive's own Python code behind an endpoint, through unmodified boto3: scikit-learn's script mode, and any Python."""

import json
import platform
from collections.abc import Iterator

import pytest
from tests.support import deploy
from tests.support.command_line import tarry
from tests.support.instance import ENVIRONMENTS
from tests.support.model_objects import archive_of
from tests.support.server_process import ServerProcess

BUCKET = "scripts"
SCIKIT_LEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
PYTHON = "tarry/python:{}.{}".format(*platform.python_version_tuple())

pytestmark = [pytest.mark.needs_image, pytest.mark.timeout(600), pytest.mark.xdist_group("scikit-learn")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, "--environments", str(ENVIRONMENTS)) as running:
        deploy.bucket(running, BUCKET)
        yield running


def _serve(server: ServerProcess, name: str, image: str, files: dict[str, bytes], **environment: str) -> None:
    server.client("s3").put_object(Bucket=BUCKET, Key=f"{name}.tar.gz", Body=archive_of(files))
    deploy.model(server, name, environment, image, ModelDataUrl=f"s3://{BUCKET}/{name}.tar.gz")
    deploy.config(server, name, name, BUCKET, startup_s=300)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
    deploy.in_service(server, name)


def _ask(server: ServerProcess, name: str, body: bytes, content_type: str) -> bytes:
    accepted = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, Body=body, ContentType=content_type)
    return deploy.read(server, accepted["OutputLocation"])


def test_any_python_code_and_its_environment_in_the_log(server: ServerProcess) -> None:
    """The guide's check: the code prints its variables, and people look for them in the log."""
    code = b"import os\nprint(dict(os.environ))\ndef predict_fn(data, model):\n    return sum(data)\n"
    seed = {"TS_MAX_REQUEST_SIZE": "100000000", "MMS_DEFAULT_RESPONSE_TIMEOUT": "900"}
    _serve(server, "any", PYTHON, {"code/inference.py": code}, **seed)
    assert _ask(server, "any", b"[1, 2, 3]", "application/json") == b"6"
    log = tarry(server, "logs", "any").out
    assert all(f"'{name}': '{value}'" in log for name, value in seed.items())


def test_code_that_does_not_load_fails_the_endpoint_with_its_own_words(server: ServerProcess) -> None:
    server.client("s3").put_object(
        Bucket=BUCKET, Key="bad.tar.gz", Body=archive_of({"code/inference.py": b"import absent_module"})
    )
    deploy.model(server, "bad", {}, PYTHON, ModelDataUrl=f"s3://{BUCKET}/bad.tar.gz")
    deploy.config(server, "bad", "bad", BUCKET)
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="bad", EndpointConfigName="bad")
    with pytest.raises(Exception, match="Failed"):
        deploy.in_service(server, "bad")
    assert "No module named 'absent_module'" in tarry(server, "logs", "bad").out
    assert "No module named 'absent_module'" in sagemaker.describe_endpoint(EndpointName="bad")["FailureReason"]


def test_scikit_learn_with_its_code_in_s3_as_the_sdk_lays_it_out(server: ServerProcess) -> None:
    """The SDK leaves the code in S3 and names it in SAGEMAKER_SUBMIT_DIRECTORY; the instance fetches it with its own key."""
    script = b"""
import numpy, sklearn.dummy
def model_fn(model_dir):
    return sklearn.dummy.DummyRegressor(strategy="constant", constant=7).fit(numpy.zeros((2, 2)), numpy.zeros(2))
"""
    s3 = server.client("s3")
    s3.put_object(Bucket=BUCKET, Key="code/sourcedir.tar.gz", Body=archive_of({"script.py": script}))
    environment = {
        "SAGEMAKER_PROGRAM": "script.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{BUCKET}/code/sourcedir.tar.gz",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    }
    _serve(server, "sklearn", SCIKIT_LEARN, {"model.joblib": b""}, **environment)
    assert json.loads(_ask(server, "sklearn", b"1,1\n2,0\n", "text/csv")) == [7, 7]
