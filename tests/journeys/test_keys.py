"""Keys with policies on a real server: what each may do, from `tarry keys` to the services' refusals."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.support import deploy
from tests.support.server_process import ServerProcess
from typer.testing import CliRunner

import tarry
from tarry.bootstrap.directory import DataDirectory
from tarry.cli.main import app
from tarry.core.errors import TarryError

BUCKET = "keys-test"
ARN = "arn:aws:sagemaker:us-east-1:123456789012"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{BUCKET}/mine/*"},
        {"Effect": "Allow", "Action": "sagemaker:InvokeEndpointAsync", "Resource": f"{ARN}:endpoint/keys"},
        {"Effect": "Allow", "Action": "sagemaker:Describe*", "Resource": "*"},
        {"Effect": "Deny", "Action": "sagemaker:*", "Resource": f"{ARN}:model/*"},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("keys") / "data") as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "keys", BUCKET)
        yield server


def keys(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`tarry keys` within this process, since a program of its own is seconds of imports."""
    command = ["keys", *arguments, "--data-dir", str(server.data_dir)]
    done = CliRunner().invoke(app, command)
    if done.exception is not None and not isinstance(done.exception, TarryError | SystemExit):
        raise done.exception
    error = str(done.exception) if isinstance(done.exception, TarryError) else ""
    return subprocess.CompletedProcess(command, done.exit_code, done.stdout, done.stderr + error)


def program(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tarry", "keys", *arguments, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def made(server: ServerProcess, *arguments: str) -> Any:
    done = keys(server, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def client(server: ServerProcess, service: str, key: dict[str, Any]) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def refused(call: Any, **params: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.fixture(scope="module")
def limited(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("policy") / "policy.json"
    file.write_text(json.dumps(POLICY))
    key: dict[str, Any] = made(server, "create", "limited", "--policy", str(file))
    return key


WHO = "User: arn:aws:iam::123456789012:user/limited is not authorized to perform:"


def test_a_policy_bounds_the_control_plane(server: ServerProcess, limited: dict[str, Any]) -> None:
    sagemaker = client(server, "sagemaker", limited)
    assert sagemaker.describe_endpoint(EndpointName="Keys")["EndpointStatus"] == "InService"
    assert refused(sagemaker.delete_endpoint, EndpointName="keys") == (
        "AccessDeniedException",
        400,
        f"{WHO} sagemaker:DeleteEndpoint on resource: {ARN}:endpoint/keys because no identity-based policy allows the "
        "sagemaker:DeleteEndpoint action",
    )
    assert refused(sagemaker.describe_model, ModelName="keys") == (
        "AccessDeniedException",
        400,
        f"{WHO} sagemaker:DescribeModel on resource: {ARN}:model/keys with an explicit deny in an identity-based policy",
    )
    assert refused(sagemaker.list_models)[0] == "AccessDeniedException"
    assert refused(sagemaker.describe_model, ModelName="missing")[0] == "AccessDeniedException"


def test_a_policy_bounds_the_runtime(server: ServerProcess, limited: dict[str, Any]) -> None:
    runtime = client(server, "sagemaker-runtime", limited)
    location = runtime.invoke_endpoint_async(EndpointName="keys", Body=b"x")["OutputLocation"]
    assert deploy.read(server, location) == b"x"
    code, status, message = refused(runtime.invoke_endpoint_async, EndpointName="other", Body=b"x")
    assert (code, status) == ("AccessDeniedException", 403)
    assert message.startswith(f"{WHO} sagemaker:InvokeEndpointAsync on resource: {ARN}:endpoint/other because")


def test_a_policy_bounds_invocations_by_their_endpoint(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions(monkeypatch)
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="keys", InputLocation="s3://keys/missing")
    mine = answer["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"]
    file = tmp_path / "policy.json"

    def of_endpoint(name: str) -> Any:
        statement = {"Effect": "Allow", "Action": "tarry:*", "Resource": f"{ARN}:endpoint/{name}"}
        file.write_text(json.dumps({"Statement": statement}))
        return client(server, "tarry", made(server, "create", f"only-{name}", "--policy", str(file)))

    owner, other = of_endpoint("keys"), of_endpoint("others")
    assert owner.wait_invocation(InvocationId=mine)["Invocation"]["EndpointName"] == "keys"
    assert mine in [each["InvocationId"] for each in owner.list_invocations(EndpointName="keys")["Invocations"]]
    told = [refused(other.describe_invocation, InvocationId=each) for each in (mine, "no-such-invocation")]
    assert [code for code, _, _ in told] == ["AccessDeniedException"] * 2
    assert told[0][2].replace(mine, "ID") == told[1][2].replace("no-such-invocation", "ID")
    assert refused(other.list_invocations, EndpointName="keys")[0] == "AccessDeniedException"


def test_a_key_that_may_do_all_but_one_endpoint_does_not_reach_it_by_an_inference_id(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions(monkeypatch)
    runtime = server.client("sagemaker-runtime")
    runtime.invoke_endpoint_async(EndpointName="keys", InputLocation="s3://keys/missing", InferenceId="secret")
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "tarry:*", "Resource": f"{ARN}:endpoint/keys"},
    ]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"Statement": statements}))
    excluded = client(server, "tarry", made(server, "create", "all-but-keys", "--policy", str(file)))
    calls: list[tuple[Any, dict[str, Any]]] = [
        (excluded.describe_invocation, {"InferenceId": "secret"}),
        (excluded.stop_invocation, {"InferenceId": "secret"}),
        (excluded.redrive_invocations, {"InferenceIds": ["secret"], "DryRun": True}),
        (excluded.list_invocations, {}),
    ]
    for call, params in calls:
        code, _, message = refused(call, **params)
        assert (code, "secret" in message, "name what it is about" in message) == ("AccessDeniedException", False, True)


def test_a_policy_bounds_objects(server: ServerProcess, limited: dict[str, Any]) -> None:
    s3, first = client(server, "s3", limited), server.client("s3")
    s3.put_object(Bucket=BUCKET, Key="mine/a", Body=b"1")
    assert s3.get_object(Bucket=BUCKET, Key="mine/a")["Body"].read() == b"1"
    first.put_object(Bucket=BUCKET, Key="theirs", Body=b"secret")
    code, status, message = refused(s3.get_object, Bucket=BUCKET, Key="theirs")
    assert (code, status) == ("AccessDenied", 403)
    assert message.startswith(f'{WHO} s3:GetObject on resource: "arn:aws:s3:::{BUCKET}/theirs" because')
    attempts: list[tuple[Any, dict[str, Any]]] = [
        (s3.put_object, {"Key": "theirs", "Body": b"x"}),
        (s3.delete_object, {"Key": "mine/a"}),
        (s3.delete_objects, {"Delete": {"Objects": [{"Key": "mine/a"}]}}),
        (s3.list_objects_v2, {}),
        (s3.copy_object, {"Key": "mine/b", "CopySource": f"{BUCKET}/theirs"}),
        (s3.copy_object, {"Key": "theirs", "CopySource": f"{BUCKET}/mine/a"}),
        (s3.create_multipart_upload, {"Key": "theirs"}),
    ]
    for call, params in attempts:
        assert refused(call, Bucket=BUCKET, **params)[:2] == ("AccessDenied", 403)
    s3.copy_object(Bucket=BUCKET, Key="mine/b", CopySource=f"{BUCKET}/mine/a")
    assert refused(s3.list_buckets)[0] == "AccessDenied"
    assert first.get_object(Bucket=BUCKET, Key="theirs")["Body"].read() == b"secret"


def test_a_model_is_made_only_of_what_the_key_may_read(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    statements = [
        {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/mine/*"},
    ]
    file.write_text(json.dumps({"Statement": statements}))
    sagemaker = client(server, "sagemaker", made(server, "create", "modeller", "--policy", str(file)))
    for name in ("mine/model", "secret"):
        server.client("s3").put_object(Bucket=BUCKET, Key=name, Body=b"x")

    def model(key: str) -> dict[str, Any]:
        container = {"Image": "stub:1", "ModelDataUrl": f"s3://{BUCKET}/{key}"}
        role = "arn:aws:iam::123456789012:role/r"
        return {"ModelName": "of-mine", "PrimaryContainer": container, "ExecutionRoleArn": role}

    there, missing = (refused(sagemaker.create_model, **model(key)) for key in ("secret", "nowhere"))
    assert there[:2] == ("AccessDeniedException", 400)
    assert f's3:GetObject on resource: "arn:aws:s3:::{BUCKET}/secret" because' in there[2]
    assert missing == (there[0], there[1], there[2].replace("secret", "nowhere"))
    assert refused(sagemaker.create_model, **model("mine/nowhere"))[0] == "ValidationException"
    sagemaker.create_model(**model("mine/model"))


def test_what_is_missing_is_told_only_to_who_may_list(server: ServerProcess, limited: dict[str, Any]) -> None:
    s3 = client(server, "s3", limited)
    assert refused(s3.get_object, Bucket=BUCKET, Key="mine/none")[:2] == ("AccessDenied", 403)
    assert refused(s3.head_object, Bucket=BUCKET, Key="mine/none")[:2] == ("403", 403)
    assert refused(server.client("s3").get_object, Bucket=BUCKET, Key="mine/none")[0] == "NoSuchKey"


def test_a_presigned_url_may_what_its_signer_may(server: ServerProcess, limited: dict[str, Any]) -> None:
    s3 = client(server, "s3", limited)
    s3.put_object(Bucket=BUCKET, Key="mine/c", Body=b"1")

    def get(key: str) -> bytes:
        url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
            return body

    assert get("mine/c") == b"1"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        get("theirs")


def test_other_services(server: ServerProcess, limited: dict[str, Any]) -> None:
    code, status, message = refused(client(server, "sns", limited).create_topic, Name="t")
    assert (code, status) == ("AuthorizationError", 403)
    assert "sns:CreateTopic on resource: arn:aws:sns:us-east-1:123456789012:t because" in message
    assert client(server, "sts", limited).get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:user/limited"


def test_a_disabled_key_signs_nothing_until_it_is_enabled(server: ServerProcess) -> None:
    key = made(server, "create", "shortlived")
    sagemaker, s3 = client(server, "sagemaker", key), client(server, "s3", key)
    assert sagemaker.list_models()["Models"]
    assert keys(server, "disable", "shortlived").returncode == 0
    assert refused(sagemaker.list_models)[:1] == ("UnrecognizedClientException",)
    assert refused(s3.list_buckets)[:1] == ("InvalidAccessKeyId",)
    assert keys(server, "enable", key["AccessKeyId"]).returncode == 0
    assert sagemaker.list_models()["Models"]


def test_rotation_keeps_the_old_pair_until_it_is_disabled(server: ServerProcess) -> None:
    old = made(server, "create", "Robot")
    new = made(server, "rotate", "robot")
    assert new["Name"] == "Robot"
    for key in (old, new):
        assert client(server, "sts", key).get_caller_identity()["Arn"].endswith("user/Robot")
    again = keys(server, "rotate", "robot")
    assert again.returncode == 1
    assert old["AccessKeyId"] in again.stderr
    assert keys(server, "disable", old["AccessKeyId"]).returncode == 0
    assert refused(client(server, "sts", old).get_caller_identity)[0] == "InvalidClientTokenId"
    listed = {key["AccessKeyId"]: key["Status"] for key in made(server, "list")}
    assert (listed[old["AccessKeyId"]], listed[new["AccessKeyId"]]) == ("Inactive", "Active")


def test_policies_change_at_once(server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = made(server, "create", "changing")
    file = tmp_path / "policy.json"
    file.write_text('{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}')
    sagemaker = client(server, "sagemaker", key)
    sagemaker.list_models()
    assert keys(server, "set-policy", "changing", "--policy", str(file)).returncode == 0
    assert "explicit deny" in refused(sagemaker.list_models)[2]
    extensions(monkeypatch)
    assert "explicit deny" in refused(client(server, "tarry", key).delete_access_key_policy, Name="changing")[2]
    assert keys(server, "set-policy", "changing").returncode == 0
    sagemaker.list_models()


def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 know our own API, as `tarry env` does."""
    monkeypatch.setenv("AWS_DATA_PATH", str(Path(tarry.__file__).parent / "aws" / "extensions"))
    boto3.setup_default_session()


def test_a_policy_covers_a_key_however_it_is_named(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "policy.json"
    first = "arn:aws:tarry:us-east-1:123456789012:access-key/first"
    statements = [
        {"Effect": "Allow", "Action": "tarry:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "tarry:*", "Resource": first},
    ]
    file.write_text(json.dumps({"Statement": statements}))
    extensions(monkeypatch)
    api = client(server, "tarry", made(server, "create", "deputy", "--policy", str(file)))
    assert refused(api.list_access_keys)[0] == "AccessDeniedException", "the list has the one that is excluded"
    all_keys = server.client("tarry").list_access_keys()["AccessKeys"]
    first_id = next(key["AccessKeyId"] for key in all_keys if key["Name"] == "first")
    for call, params in (
        (api.rotate_access_key, {"Name": "FIRST"}),
        (api.put_access_key_policy, {"Name": "First", "PolicyDocument": file.read_text()}),
        (api.update_access_key, {"AccessKeyId": first_id, "Status": "Inactive"}),
    ):
        code, _, message = refused(call, **params)
        assert code == "AccessDeniedException"
        assert f"on resource: {first} with an explicit deny" in message
    api.rotate_access_key(Name="DEPUTY")


def test_enabling_a_name_does_not_revive_what_was_rotated_away(server: ServerProcess) -> None:
    old = made(server, "create", "careful")["AccessKeyId"]
    new = made(server, "rotate", "careful", "--disable-old")["AccessKeyId"]
    assert keys(server, "disable", "careful").returncode == 0
    done = keys(server, "enable", "careful")
    assert done.returncode == 0
    assert done.stdout == f"careful {new} Active\n"
    assert f"{old} stays Inactive" in done.stderr
    status = {key["AccessKeyId"]: key["Status"] for key in made(server, "list")}
    assert (status[old], status[new]) == ("Inactive", "Active")
    assert keys(server, "enable", old).stdout == f"careful {old} Active\n"


def test_the_list_says_what_a_policy_says_and_patterns_that_match_nothing_are_told(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    resource = "arn:aws:s3:::bucket/[a]*"
    file.write_text(json.dumps({"Statement": {"Effect": "Allow", "NotAction": ["s3:*", "ec2:*"], "Resource": resource}}))
    done = keys(server, "create", "odd", "--policy", str(file))
    assert done.returncode == 0
    assert "warning: statement 1: no operation of this server needs the action 'ec2:*'" in done.stderr
    assert done.stderr.count("warning") == 1
    assert f"Allow all but s3:*, ec2:* on {resource}" in keys(server, "list").stdout
    assert "warning" in keys(server, "set-policy", "odd", "--policy", str(file)).stderr


def test_tarry_keys_does_not_lock_itself_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}')
    extensions(monkeypatch)
    with ServerProcess(tmp_path / "data") as server:
        credentials = server.data_dir / "credentials"
        first = made(server, "list")[0]["AccessKeyId"]
        bob = made(server, "create", "bob")
        for arguments in (["disable", "first"], ["disable", first], ["set-policy", "FIRST", "--policy", str(policy)]):
            done = keys(server, *arguments)
            assert done.returncode == 1
            assert f"first {first} is the pair that tarry keys itself signs with" in done.stderr
            assert "tarry keys rotate first --disable-old" in done.stderr
            assert str(credentials) in done.stderr
            assert keys(server, "list").returncode == 0
        # The way out that the message tells: another pair for tarry itself.
        DataDirectory(server.data_dir).write_credentials(bob["AccessKeyId"], bob["SecretAccessKey"])
        assert keys(server, "disable", "first").returncode == 0
        carol = made(server, "create", "carol")
        # Others may still take tarry's own pair away; then it says what to do, and that works.
        client(server, "tarry", carol).update_access_key(AccessKeyId=bob["AccessKeyId"], Status="Inactive")
        done = keys(server, "list")
        assert done.returncode == 1
        assert f"tarry keys signs with {credentials}" in done.stderr
        assert "move the file away and start the server anew" in done.stderr
        assert server.stop() == 0
        credentials.unlink()
        server.start()
        assert keys(server, "enable", bob["AccessKeyId"]).returncode == 0


def test_the_last_key_that_may_do_everything_stays_and_the_first_key_can_be_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}')
    extensions(monkeypatch)
    with ServerProcess(tmp_path / "data") as server:
        identity = server.client("sts").get_caller_identity()
        old = identity["UserId"]
        assert identity["Arn"] == "arn:aws:iam::123456789012:user/first"
        made(server, "create", "limited", "--policy", str(policy))
        api = server.client("tarry")
        for call, params in (
            (api.update_access_key, {"AccessKeyId": old, "Status": "Inactive"}),
            (api.put_access_key_policy, {"Name": "first", "PolicyDocument": policy.read_text()}),
        ):
            assert "last active key without a policy" in refused(call, **params)[2]
        assert keys(server, "rotate", "first", "--disable-old").returncode == 0
        assert server.client("sts").get_caller_identity()["UserId"] != old
        assert server.stop() == 0
        server.start()
        listed = made(server, "list")
        assert [(key["Name"], key["Status"]) for key in listed] == [
            ("first", "Inactive"),
            ("limited", "Active"),
            ("first", "Active"),
        ]
        assert "secret" not in json.dumps(listed).lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "limited"], "tarry keys rotate limited"),
        (["create", "white space"], "validation error"),
        (["disable", "nobody"], "tarry keys list"),
        (["rotate", "nobody"], "Could not find"),
    ],
)
def test_what_cannot_be_is_one_line(server: ServerProcess, limited: dict[str, Any], arguments: list[str], words: str) -> None:
    done = program(server, *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tarry", "keys", "list", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tarry serve" in done.stderr
