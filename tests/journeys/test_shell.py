"""The contract with the shell: flags, files, exit codes, signals."""

import contextlib
import http.client
import json
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from tests.support import deploy
from tests.support.server import Certificate
from tests.support.server_process import ServerProcess, count_states, wait_for_state

from tarry.bootstrap.directory import DataDirectory


def _env_lines(server: ServerProcess) -> dict[str, str]:
    command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(server.data_dir)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    shell = subprocess.run(["sh", "-c", f"{lines}\nenv -0"], check=True, capture_output=True, text=True, env={"AWS_PROFILE": "x"})
    return dict(line.split("=", 1) for line in shell.stdout.split("\0") if "=" in line)


def test_health_needs_no_signature(server: ServerProcess) -> None:
    with urllib.request.urlopen(f"{server.url}/health", timeout=5) as answer:
        assert answer.status == 200


def test_env_points_an_unmodified_program_at_the_server(server: ServerProcess) -> None:
    environ = _env_lines(server)
    assert environ["AWS_ENDPOINT_URL"] == server.url
    assert environ["AWS_DEFAULT_REGION"] == environ["AWS_REGION"] == "us-east-1"
    assert "AWS_PROFILE" not in environ
    assert Path(environ["AWS_DATA_PATH"]).is_dir()
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environ)
    assert done.stdout.strip() == "123456789012"


def test_the_directory_is_private(server: ServerProcess) -> None:
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    for name in ("credentials", "tarry.db", "server.json"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600
    info = json.loads((server.data_dir / "server.json").read_text())
    assert server.process is not None
    assert (info["url"], info["pid"]) == (server.url, server.process.pid)


def test_a_second_server_on_the_directory_is_refused(server: ServerProcess) -> None:
    code, said = ServerProcess(server.data_dir).run_to_end()
    assert code == 1
    assert server.process is not None
    assert f"process {server.process.pid}" in said
    assert "Traceback" not in said


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = ServerProcess(tmp_path / "data", "--port", str(taken.getsockname()[1])).run_to_end()
    assert code == 1
    assert "--port" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("flag", "other"), [("--region", "eu-west-1"), ("--account-id", "999999999999")])
def test_another_scope_is_refused_with_both_values(tmp_path: Path, flag: str, other: str) -> None:
    server = ServerProcess(tmp_path / "data").start()
    assert server.stop() == 0
    code, said = ServerProcess(tmp_path / "data", flag, other).run_to_end()
    assert code == 1
    assert other in said
    assert ("us-east-1" if flag == "--region" else "123456789012") in said


def _endpoint_at_work(server: ServerProcess, seconds: float) -> str:
    """An endpoint with one invocation in flight; where its output will be."""
    deploy.bucket(server, "at-work")
    deploy.endpoint(server, "at-work", "at-work", {"STUB_DEFAULT": f'{{"sleep": {seconds}}}'}, concurrency=1)
    runtime = server.client("sagemaker-runtime")
    location: str = runtime.invoke_endpoint_async(EndpointName="at-work", Body=b"x")["OutputLocation"]
    wait_for_state(server, "Running")
    return location


def test_a_stop_waits_for_running_work(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--drain-timeout", "60") as server:
        location = _endpoint_at_work(server, 3)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        server.start()
        states = dict(count_states(server))
        assert states == {"Completed": 1}
        assert deploy.read(server, location) == b"x"


def _sent_long_poll(server: ServerProcess, invocation: str) -> http.client.HTTPConnection:
    """WaitInvocation, sent; its answer is still to be read."""
    key, secret = DataDirectory(server.data_dir).read_credentials()
    headers = {"X-Amz-Target": "Tarry.WaitInvocation", "Content-Type": "application/x-amz-json-1.1"}
    body = json.dumps({"InvocationId": invocation, "WaitSeconds": 60})
    request = AWSRequest("POST", f"{server.url}/", headers, body)
    SigV4Auth(Credentials(key, secret), "tarry", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    connection.request("POST", "/", body, dict(request.headers))
    return connection


def test_a_stop_ends_long_polls_with_what_is_known(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--drain-timeout", "0.2") as server:
        _endpoint_at_work(server, 3600)
        client = server.client("tarry")
        (running,) = client.list_invocations()["Invocations"]
        with contextlib.closing(_sent_long_poll(server, running["InvocationId"])) as poll:
            client.describe_queue(EndpointName="at-work")  # sent later and answered: so the poll has come, too
            assert server.stop() == 0
            answer = poll.getresponse()
            assert answer.status == 200
            assert json.loads(answer.read())["Invocation"]["State"] == "Running"
        assert "Traceback" not in server.log.read_text()


def test_a_second_signal_ends_the_wait(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--drain-timeout", "3600") as server:
        _endpoint_at_work(server, 3600)
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert dict(count_states(server)) == {"Queued": 1}
        assert "returned_to_queue=1" in server.log.read_text()


def test_a_full_queue_is_throttled(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", settings={"TARRY_QUEUE__QUEUED_MAX": "2"}) as server:
        _endpoint_at_work(server, 3600)
        runtime = server.client("sagemaker-runtime")
        for _ in range(2):
            runtime.invoke_endpoint_async(EndpointName="at-work", Body=b"x")
        with pytest.raises(ClientError, match="Throttling"):
            runtime.invoke_endpoint_async(EndpointName="at-work", Body=b"x")
        server.kill()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data").start()
    assert server.stop() == 0
    with sqlite3.connect(tmp_path / "data" / "tarry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    code, said = ServerProcess(tmp_path / "data").run_to_end()
    assert code == 1
    assert "9999" in said
    assert "Traceback" not in said


def test_a_misspelt_setting_is_refused(tmp_path: Path) -> None:
    code, said = ServerProcess(tmp_path / "data", settings={"TARRY_SERVER__PROT": "1"}).run_to_end()
    assert code == 1
    assert "server.prot" in said


def test_tls_serves_an_unmodified_program_with_trailing_checksums(tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    flags = ("--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    with ServerProcess(tmp_path / "data", *flags) as server:
        environ = _env_lines(server)
        assert environ["AWS_ENDPOINT_URL"].startswith("https://")
        assert environ["AWS_CA_BUNDLE"] == str(certificate.cert)
        program = (
            "import boto3; s3 = boto3.client('s3'); s3.create_bucket(Bucket='over-tls');"
            "s3.put_object(Bucket='over-tls', Key='k', Body=b'x' * 3_000_000);"
            "print(len(s3.get_object(Bucket='over-tls', Key='k')['Body'].read()))"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environ)
    assert done.stdout.strip() == "3000000"


def test_a_bad_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    (tmp_path / "key.pem").write_text("no key")
    flags = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    code, said = ServerProcess(tmp_path / "data", *flags).run_to_end()
    assert code == 1
    assert "cert.pem" in said
    assert "Traceback" not in said


def test_a_stop_leaves_no_process_and_no_server_file(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data").start()
    assert server.stop() == 0
    assert not (tmp_path / "data" / "server.json").exists()
    command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tarry serve" in done.stderr
