"""Unmodified clients, each in the pinned environment that `make clients` builds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import deploy
from tests.support.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent
ENVIRONMENTS = ROOT / ".clients"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role/Notebook"
slow = pytest.mark.slow

FROM_S3_AND_INLINE = {"bodies": ["from S3", "inline"]}
CLIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "boto3-newest": ("bin/python {programs}/boto3_newest.py", FROM_S3_AND_INLINE),
    "awscli": ("PATH={environment}/bin:$PATH sh {programs}/awscli.sh", {"bodies": ["from S3"], "tag": "red", "models": 1}),
    "sagemaker-sdk-v2": (
        "ROLE={role} sh {programs}/in_a_notebook.sh bin/python {programs}/sagemaker_sdk_v2.py",
        {
            "bodies": [{"n": 1}, {"n": 2}, {"n": 3}],
            "bucket": f"sagemaker-us-east-1-{ACCOUNT}",
            "role": ROLE,
            "looked_up": f"arn:aws:iam::{ACCOUNT}:role/SageMakerRole",
            "instances": 2,
            "asynchronous": True,
        },
    ),
    "sagemaker-sdk-v3": (
        "bin/python {programs}/sagemaker_sdk_v3.py",
        {"bodies": ["from S3"], "endpoints": ["core"], "instances": 2},
    ),
    "boto3-2022": ("bin/python {programs}/boto3_2022.py", {"bodies": ["from S3"]}),
    "javascript": (
        "cp {programs}/javascript.mjs . && node javascript.mjs",
        {**FROM_S3_AND_INLINE, "models": 1, "missing": "ValidationException"},
    ),
}
MAY_MOUNT = ("sh", PROGRAMS / "in_a_notebook.sh", "true")
IN_MAKE_TEST = {"boto3-newest", "awscli", "sagemaker-sdk-v2"}


def shell_of(server: ServerProcess) -> str:
    command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(server.data_dir)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.needs_clients
@pytest.mark.parametrize("client", [pytest.param(one, marks=[] if one in IN_MAKE_TEST else slow) for one in CLIENTS])
def test_a_client_gets_its_answers(tmp_path: Path, client: str) -> None:
    environment = ENVIRONMENTS / client
    if not (environment / ".made-from").exists():
        pytest.skip(f"the environment of {client} is not there: make clients")
    program, expected = CLIENTS[client]
    if "in_a_notebook" in program and subprocess.run(MAY_MOUNT, env={**os.environ, "ROLE": ROLE}, check=False).returncode:
        pytest.skip("no mount namespaces here: the SDK's get_execution_role() finds no notebook")
    with ServerProcess(tmp_path / "data") as server:
        command = program.format(environment=environment, programs=PROGRAMS, role=ROLE)
        script = f"{shell_of(server)}\ncd {environment} && {command}"
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert {name: told.get(name) for name in expected} == expected
    if client == "sagemaker-sdk-v2":
        assert "not this" in told["failure"]


def test_every_environment_has_a_program_and_the_makefile_knows_it() -> None:
    python = {path.stem for path in (ROOT / "requirements" / "clients").glob("*.in")}
    assert python | {"javascript"} == set(CLIENTS)
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("CLIENTS :="))
    assert set(line.partition(":=")[2].split()) == IN_MAKE_TEST


@pytest.mark.slow
def test_the_waiter_of_boto3_with_its_own_patience(tmp_path: Path) -> None:
    """It looks every 30 seconds: one look while Creating, one when InService."""
    with ServerProcess(tmp_path / "data") as server:
        bucket = deploy.bucket(server, "patience")
        deploy.model(server, "patience", {"STUB_LISTEN_AFTER_S": "1"})
        deploy.config(server, "patience", "patience", bucket)
        sagemaker = server.client("sagemaker")
        sagemaker.create_endpoint(EndpointName="patience", EndpointConfigName="patience")
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="patience")
        assert sagemaker.describe_endpoint(EndpointName="patience")["EndpointStatus"] == "InService"
