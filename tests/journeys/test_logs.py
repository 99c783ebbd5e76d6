"""What model servers print, for those who look for the reason: of instances that run, have ended, and never came up."""

import json
import signal
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError, WaiterError
from tests.support import deploy
from tests.support.command_line import piped, tarry, terminal, told
from tests.support.server_process import ServerProcess

BUCKET = "logs"
SAY = "print({words!r}, flush=True); seen = 1"


@pytest.fixture(scope="module", autouse=True)
def _bucket(server: ServerProcess) -> None:
    deploy.bucket(server, BUCKET)


def say(server: ServerProcess, endpoint: str, words: str) -> None:
    """Let the endpoint's model print something."""
    body = deploy.wish(run=SAY.format(words=words))
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=endpoint, Body=body)
    assert deploy.read(server, answer["OutputLocation"]) == b"1"


def failed(server: ServerProcess, name: str, **environment: str) -> None:
    """An endpoint whose model server cannot start."""
    deploy.model(server, name, environment)
    deploy.config(server, name, name, BUCKET)
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    with pytest.raises(WaiterError):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=deploy.WAITER)


def delete(server: ServerProcess, name: str) -> None:
    sagemaker = server.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=deploy.WAITER)


def test_one_log_is_printed_byte_by_byte(server: ServerProcess) -> None:
    deploy.endpoint(server, "single", BUCKET)
    say(server, "single", "a \x1b[31mred\x1b[0m line")
    [file] = (server.data_dir / "logs/single/v").iterdir()
    done = piped(server, "logs", "single")
    assert (done.returncode, done.stdout, done.stderr) == (0, file.read_bytes(), b"")
    assert b"stub model server on port" in done.stdout
    assert b"a \x1b[31mred\x1b[0m line\n" in done.stdout
    assert tarry(server, "logs", "single", "--tail", "1").out == "a \x1b[31mred\x1b[0m line\n"
    assert tarry(server, "logs", "SINGLE", "--tail", "0").out == ""
    lines = [json.loads(line) for line in tarry(server, "logs", "single", "--json").out.splitlines()]
    assert lines[-1] == {
        "EndpointName": "single",
        "VariantName": "v",
        "InstanceId": file.name.removesuffix(".log"),
        "Line": "a \x1b[31mred\x1b[0m line",
    }
    with terminal(server, "logs", "single") as shown:
        assert shown.finish() == 0
        assert "a  [31mred [0m line" in shown.text, "nothing that moves the cursor"


def test_an_instance_that_never_came_up_says_why(server: ServerProcess) -> None:
    failed(server, "broken", STUB_CRASH="no such weights")
    assert tarry(server, "logs", "broken").out.splitlines()[-1] == "no such weights"
    [log] = told(server, "logs", "broken", "--list")
    assert (log["EndpointName"], log["VariantName"]) == ("broken", "v")
    assert log.get("InstanceState", "Failed") == "Failed", "its row goes soon after it"
    assert log["FirstOffset"] == 0
    assert log["EndOffset"] > 0
    delete(server, "broken")
    assert tarry(server, "logs", "broken").out.splitlines()[-1] == "no such weights", "also when the endpoint is gone"
    [log] = told(server, "logs", "broken", "--list")
    assert "InstanceState" not in log


def test_of_several_instances_each_line_says_whose_it_is(server: ServerProcess) -> None:
    steps = [{"Image": "stub:1", "Environment": {"STUB_DEFAULT": f'{{"append": "-{step}"}}'}} for step in ("one", "two")]
    server.client("sagemaker").create_model(ModelName="several", ExecutionRoleArn=deploy.ROLE, Containers=steps)
    deploy.config(server, "several", "several", BUCKET, instances=2, startup_s=300)
    server.client("sagemaker").create_endpoint(EndpointName="several", EndpointConfigName="several")
    deploy.in_service(server, "several")
    lines = tarry(server, "logs", "several").out.splitlines()
    logs = told(server, "logs", "several", "--list")
    assert len(logs) == 4
    owners = {f"v/{log['InstanceId'].partition('-')[0]}/{log['ContainerHostname']}" for log in logs}
    assert {line.partition(" | ")[0] for line in lines} == owners
    one = logs[0]["InstanceId"]
    mine = tarry(server, "logs", "several", "--instance", one[:8]).out.splitlines()
    assert {line.partition(" | ")[0] for line in mine} == {owner for owner in owners if one[:8] in owner}
    assert tarry(server, "logs", "several", "--variant", "other").code == 1
    delete(server, "several")


def test_those_that_have_ended_are_shown_when_they_are_asked_for(server: ServerProcess) -> None:
    deploy.endpoint(server, "replaced", BUCKET)
    say(server, "replaced", "words of the first")
    asked = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="replaced", Body=deploy.wish(die=4))
    deploy.read(server, asked["FailureLocation"])  # the third lost attempt is the end: three instances have died
    deploy.in_service(server, "replaced")
    while not any(log.get("InstanceState") == "InService" for log in told(server, "logs", "replaced", "--list")):
        pass
    current = tarry(server, "logs", "replaced")
    assert "words of the first" not in current.out
    every = tarry(server, "logs", "replaced", "--all")
    assert "words of the first" in every.out
    assert every.out.count("dying as asked") == 3
    assert tarry(server, "logs", "replaced", "--since", "1h").out == every.out
    nothing = tarry(server, "logs", "replaced", "--since", "2100-01-01")
    assert (nothing.code, nothing.out) == (1, "")
    assert "There is no log." in nothing.err
    delete(server, "replaced")


def test_following_prints_what_comes_and_ends_with_the_endpoint(server: ServerProcess) -> None:
    deploy.endpoint(server, "followed", BUCKET)
    say(server, "followed", "long ago")
    with terminal(server, "logs", "followed", "--follow", "--tail", "1") as following:
        following.read_until("long ago")
        assert "stub model server" not in following.text
        say(server, "followed", "just now")
        following.read_until("just now")
        delete(server, "followed")
        assert following.finish() == 0
    assert following.text.count("long ago") == following.text.count("just now") == 1


def test_ctrl_c_ends_only_the_following(server: ServerProcess) -> None:
    deploy.endpoint(server, "watched", BUCKET)
    with terminal(server, "logs", "watched", "-f") as following:
        following.read_until("stub model server")
        following.process.send_signal(signal.SIGINT)
        assert following.finish() == 130
    assert "Traceback" not in following.text


def test_an_endpoint_that_nobody_knows_is_told_with_what_to_do(server: ServerProcess) -> None:
    done = tarry(server, "logs", "nobody")
    assert (done.code, done.out) == (1, "")
    assert "tarry endpoints" in done.err
    assert "Traceback" not in done.err


def test_a_name_leads_to_no_other_file(server: ServerProcess) -> None:
    client = server.client("tarry", parameter_validation=False)
    deploy.endpoint(server, "confined", BUCKET)
    [log] = client.list_instance_logs(EndpointName="confined")["InstanceLogs"]
    known = {name: log[name] for name in ("EndpointName", "VariantName", "InstanceId")}
    assert client.read_instance_log(**known)["Content"]
    for name in known:
        for other in ("..", "../../credentials", ".", "a/b", "%2e%2e", "x" * 5000, ""):
            with pytest.raises(ClientError) as refused:
                client.read_instance_log(**{**known, name: other})
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    for name, value in {"Offset": -1, "MaxBytes": 2**20 + 1}.items():
        with pytest.raises(ClientError):
            client.read_instance_log(**known, **{name: value})


def test_the_servers_secrets_are_in_no_log(server: ServerProcess) -> None:
    """And an instance's own key pair only, if its code prints it."""
    deploy.endpoint(server, "discreet", BUCKET)
    secret = (server.data_dir / "credentials").read_text().split("=")[-1].strip()
    token = (server.data_dir / "engine-token").read_text().strip()
    everything = b"".join(file.read_bytes() for file in Path(server.data_dir / "logs").rglob("*.log"))
    assert everything
    assert secret.encode() not in everything
    assert token.encode() not in everything
    say(server, "discreet", "x")
    body = deploy.wish(run="import os; print(os.environ['AWS_SECRET_ACCESS_KEY'], flush=True); seen = 1")
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="discreet", Body=body)
    deploy.read(server, answer["OutputLocation"])
    assert tarry(server, "logs", "discreet", "--tail", "1").out.strip() not in {"x", secret}


def test_a_key_reads_the_logs_of_the_endpoints_that_its_policy_names(server: ServerProcess) -> None:
    deploy.endpoint(server, "mine", BUCKET)
    deploy.endpoint(server, "theirs", BUCKET)
    actions = ["tarry:ListInstanceLogs", "tarry:ReadInstanceLog"]
    mine = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine"
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": mine}]}
    key = server.client("tarry").create_access_key(Name="reader", PolicyDocument=json.dumps(policy))
    pair = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    reader = boto3.client("tarry", region_name="us-east-1", endpoint_url=server.url, **pair)
    [log] = reader.list_instance_logs(EndpointName="mine")["InstanceLogs"]
    name = {member: log[member] for member in ("EndpointName", "VariantName", "InstanceId")}
    assert b"stub model server" in reader.read_instance_log(**name)["Content"]
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.list_instance_logs(EndpointName="theirs")
    with pytest.raises(ClientError, match="AccessDenied"):
        reader.read_instance_log(**{**name, "EndpointName": "theirs"})
