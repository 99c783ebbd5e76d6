"""A model's code reaches S3 and SNS with a key of its instance's own, and nothing else; the key ends with the instance."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.support import deploy
from tests.support.server import Certificate
from tests.support.server_process import ServerProcess

ARN = "arn:aws:sts::123456789012:assumed-role/test/SageMaker"
WORK = """
import os, boto3
from botocore.exceptions import ClientError
def refused(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"] + " " + error.response["Error"]["Message"]
s3, sns = boto3.client("s3"), boto3.client("sns")
s3.put_object(Bucket=%(bucket)r, Key="from/the/model", Body=b"written inside")
seen = {
    "read": s3.get_object(Bucket=%(bucket)r, Key="from/the/model")["Body"].read().decode(),
    "published": bool(sns.publish(TopicArn=%(topic)r, Message="hello")["MessageId"]),
    "who": boto3.client("sts").get_caller_identity()["Arn"],
    "models": refused(boto3.client("sagemaker").list_models),
    "role": refused(boto3.client("iam").get_role, RoleName="test"),
    "environment": {name: value for name, value in os.environ.items() if name.startswith("AWS_")},
}
"""


def ask(server: ServerProcess, endpoint: str, code: str) -> Any:
    """What ``seen`` is after the model server of an endpoint has run the code."""
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=endpoint, Body=deploy.wish(run=code))
    return json.loads(deploy.read(server, answer["OutputLocation"]))


def identity(server: ServerProcess, environment: dict[str, str]) -> str:
    """Who the server takes the bearer of these variables for."""
    sts = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    return str(sts.get_caller_identity()["Arn"])


def keys_in(server: ServerProcess) -> list[str]:
    with closing(sqlite3.connect(f"file:{server.data_dir / 'tarry.db'}?mode=ro", uri=True)) as connection:
        return [key for (key,) in connection.execute("SELECT id FROM access_key WHERE instance_id IS NOT NULL")]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as server:
        yield server


def test_an_instance_works_as_its_role_for_as_long_as_it_lives(alone: ServerProcess) -> None:
    server = alone
    bucket = deploy.bucket(server, "keys")
    topic = server.client("sns").create_topic(Name="told")["TopicArn"]
    deploy.endpoint(server, "signing", bucket)
    seen = ask(server, "signing", WORK % {"bucket": bucket, "topic": topic})
    environment = seen.pop("environment")
    because = "because no identity-based policy allows the {action} action"
    denied = "is not authorized to perform: {action} on resource: {resource} " + because
    assert seen == {
        "read": "written inside",
        "published": True,
        "who": ARN,
        "models": f"AccessDeniedException User: {ARN} " + denied.format(action="sagemaker:ListModels", resource="*"),
        "role": f"AccessDenied User: {ARN} "
        + denied.format(action="iam:GetRole", resource="arn:aws:iam::123456789012:role/test"),
    }
    assert environment.keys() == {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    }
    assert environment["AWS_ENDPOINT_URL"] == server.url
    assert identity(server, environment) == ARN
    listed = server.client("tarry").list_access_keys()["AccessKeys"]
    assert [key["Name"] for key in listed] == ["first"]
    server.client("sagemaker").delete_endpoint(EndpointName="signing")
    server.client("sagemaker").get_waiter("endpoint_deleted").wait(EndpointName="signing", WaiterConfig=deploy.WAITER)
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        identity(server, environment)
    assert keys_in(server) == []
    assert environment["AWS_SECRET_ACCESS_KEY"] not in server.log.read_text()


def test_a_killed_server_leaves_no_key_that_the_next_would_take(alone: ServerProcess) -> None:
    server = alone
    deploy.endpoint(server, "killed", deploy.bucket(server, "killed"))
    before = ask(server, "killed", "import os; seen = dict(os.environ)")
    server.kill()
    server.start()
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        identity(server, before)
    after = ask(server, "killed", "import os; seen = dict(os.environ)")
    assert identity(server, after) == ARN
    assert keys_in(server) == [after["AWS_ACCESS_KEY_ID"]]


def test_under_network_isolation_or_with_keys_of_its_own_an_instance_gets_none(server: ServerProcess) -> None:
    bucket = deploy.bucket(server, "isolated")
    sagemaker = server.client("sagemaker")
    for name, isolated, variables in (
        ("isolated", True, {}),
        ("own", False, {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "other"}),
    ):
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=deploy.ROLE,
            EnableNetworkIsolation=isolated,
            PrimaryContainer={"Image": "stub:1", "Environment": variables},
        )
        deploy.config(server, name, name, bucket)
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        deploy.in_service(server, name)
        seen = ask(server, name, "import os; seen = {k: v for k, v in os.environ.items() if k.startswith('AWS_')}")
        assert seen == {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", **variables}


def test_the_certificate_of_an_https_server_is_trusted_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its key is out of sight, where there is a sandbox."""
    certificate = Certificate.make(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.cert))  # for the clients of this test
    flags = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    with ServerProcess(tmp_path / "data", *flags) as server:
        deploy.endpoint(server, "secure", deploy.bucket(server, "secure"))
        code = f"import os, boto3; who = boto3.client('sts').get_caller_identity(); key = {str(certificate.key)!r}"
        who, sees_the_key = ask(server, "secure", f"{code}; seen = [who['Arn'], os.path.exists(key)]")
        assert server.url.startswith("https://")
        assert who == ARN
        assert not sees_the_key or "without a sandbox" in server.log.read_text()


def test_a_policy_of_the_settings_bounds_what_instances_may_do(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"Statement": {"Effect": "Allow", "Action": "sagemaker:ListModels", "Resource": "*"}}')
    with ServerProcess(tmp_path / "data", settings={"TARRY_ENGINE__INSTANCE_POLICY": str(policy)}) as server:
        deploy.endpoint(server, "bounded", deploy.bucket(server, "bounded"))
        code = (
            "import boto3\nfrom botocore.exceptions import ClientError\n"
            "seen = [len(boto3.client('sagemaker').list_models()['Models'])]\n"
            "try:\n    boto3.client('s3').list_buckets()\n"
            "except ClientError as error:\n    seen.append(error.response['Error']['Code'])\n"
        )
        assert ask(server, "bounded", code) == [1, "AccessDenied"]
    policy.write_text("{}")
    exit_code, said = ServerProcess(tmp_path / "data", settings={"TARRY_ENGINE__INSTANCE_POLICY": str(policy)}).run_to_end()
    assert exit_code == 1
    assert f"[engine] instance_policy: {policy}: A policy must have a Statement" in said
