"""An image of one's own, added while the server runs, answers; one that nobody knows is refused with what to do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import WaiterError
from tests.support import deploy
from tests.support.server_process import STUB_IMAGE, ServerProcess


def add(server: ServerProcess, reference: str, directory: Path) -> None:
    command = [sys.executable, "-m", "tarry", "images", "add", reference, str(directory), "--data-dir", str(server.data_dir)]
    subprocess.run(command, check=True)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A directory with an executable serve, of which nothing is known but that."""
    directory = tmp_path / "mine"
    directory.mkdir()
    shutil.copy(STUB_IMAGE / "serve.py", directory / "answer.py")
    (directory / "serve").write_text(f'#!/bin/sh\nexec {sys.executable} "$(dirname "$0")/answer.py"\n')
    (directory / "serve").chmod(0o755)
    return directory


def test_an_image_that_is_added_while_the_server_runs_answers(server: ServerProcess, mine: Path) -> None:
    add(server, "my-own", mine)
    bucket = deploy.bucket(server, "my-own")
    deploy.model(server, "own", image="123456789012.dkr.ecr.us-east-1.amazonaws.com/my-own:3")
    deploy.config(server, "own", "own", bucket)
    server.client("sagemaker").create_endpoint(EndpointName="own", EndpointConfigName="own")
    deploy.in_service(server, "own")
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="own", Body=b"hello")
    assert deploy.read(server, answer["OutputLocation"]) == b"hello"


def test_an_image_that_nobody_knows_fails_its_endpoint_with_what_to_do(server: ServerProcess) -> None:
    bucket = deploy.bucket(server, "unknown")
    deploy.model(server, "unknown", image="never-added:1")
    deploy.config(server, "unknown", "unknown", bucket)
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="unknown", EndpointConfigName="unknown")
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="unknown", WaiterConfig=deploy.WAITER)
    reason = sagemaker.describe_endpoint(EndpointName="unknown")["FailureReason"]
    assert 'No image is known for "never-added:1"' in reason
    assert "tarry images add never-added DIRECTORY --data-dir DIR" in reason
