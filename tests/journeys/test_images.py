"""An image of one's own, added while the server runs, answers; one that nobody knows is refused with what to do."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from botocore.exceptions import WaiterError
from tests.support import deploy, stacks
from tests.support.server_process import STUB_IMAGE, Process, ServerProcess
from tests.support.stacks import Stack

from tarry.backends.images import SYSTEM_PATH


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


def failure_of(server: ServerProcess, name: str, image: str) -> str:
    """Why an endpoint of this image could not be created, as DescribeEndpoint says."""
    bucket = deploy.bucket(server, name)
    deploy.model(server, name, image=image)
    deploy.config(server, name, name, bucket)
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    with pytest.raises(WaiterError, match="Failed"):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=deploy.WAITER)
    reason: str = sagemaker.describe_endpoint(EndpointName=name)["FailureReason"]
    return reason


def test_an_image_that_nobody_knows_fails_its_endpoint_with_what_to_do(server: ServerProcess) -> None:
    reason = failure_of(server, "unknown", "never-added:1")
    assert 'No image is known for "never-added:1"' in reason
    assert "tarry images add never-added DIRECTORY --data-dir DIR" in reason


class WithoutJava(ServerProcess):
    """A server on a machine that has no Java: where it has one, the server does not see it."""

    def _spawn(self, extra: Mapping[str, str]) -> Process:
        places = [
            found
            for directory in f"{SYSTEM_PATH}:{os.environ['PATH']}".split(os.pathsep)
            if (found := shutil.which("java", path=directory))
        ]
        nothing = self.data_dir.with_name("nothing")
        nothing.touch(mode=0o600)
        hidden = [word for place in dict.fromkeys(places) for word in ("--ro-bind", str(nothing), os.path.realpath(place))]
        wrapper = ["bwrap", "--die-with-parent", "--dev-bind", "/", "/", *hidden, "--"] if hidden else []
        command = [*wrapper, sys.executable, "-m", "tarry", *self._arguments()]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=self._environ(extra), stdout=log, stderr=log, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without Java, and with an image whose interpreter is nowhere."""
    directory = tmp_path_factory.mktemp("poor")
    if subprocess.run(["bwrap", "--dev-bind", "/", "/", "true"], check=False, capture_output=True).returncode:
        pytest.skip("NOT TESTED HERE: a machine without Java, which needs bubblewrap")
    image = directory / "image"
    image.mkdir()
    (image / "image.toml").write_text(
        'repositories = ["no-python"]\ntags = ["*"]\ncommand = ["{python}"]\nrequirements = "r.txt"\npython = "/no/python3"\n'
    )
    (image / "r.txt").touch()
    settings = {"TARRY_IMAGES__DIRECTORIES": json.dumps([str(image)]), "TARRY_ENGINE__SANDBOX": "none"}
    with WithoutJava(directory / "data", settings=settings) as running:
        yield running


@pytest.mark.parametrize("stack", stacks.ALL, ids=lambda stack: stack.name)
def test_a_stack_that_needs_java_says_so_where_there_is_none(poor: ServerProcess, stack: Stack) -> None:
    repository = stack.image.rpartition("/")[2].partition(":")[0]
    assert failure_of(poor, stack.name, stack.image) == (
        f'Image "{repository}" needs java, neither in {SYSTEM_PATH} nor on the PATH of the server: install it.'
    )


@pytest.mark.parametrize(
    ("image", "wanted"), [("tarry/python:3.29", "3.29"), ("tarry/python:3.29-mine", "3.29"), ("no-python:1", "/no/python3")]
)
def test_an_image_that_needs_another_python_says_so_where_there_is_none(poor: ServerProcess, image: str, wanted: str) -> None:
    name, repository = image.replace("/", "-").replace(":", "-").replace(".", "-"), image.partition(":")[0]
    assert failure_of(poor, name, image) == (
        f'Image "{repository}" needs Python {wanted}, and there is none on this machine: '
        "install it, or put it on the PATH of the server."
    )
