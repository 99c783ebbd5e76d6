"""Real images behind an endpoint: what users of the Docker engine meet, through unmodified boto3."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from tests.support.command_line import tarry
from tests.support.deploy import ROLE, WAITER, bucket, config, in_service, model, read, wish
from tests.support.dockerd import STUB_IMAGE, Dockerd
from tests.support.model_objects import archive_of
from tests.support.server import Certificate
from tests.support.server_process import ServerProcess, wait_for_state

pytestmark = pytest.mark.xdist_group("docker")

BUCKET = "bucket"
MEMORY = 192 * 2**20


def settings(dockerd: Dockerd, **more: str) -> dict[str, str]:
    chosen = {"kind": "docker", "docker_host": dockerd.host, "docker_memory_max_bytes": str(MEMORY), "stop_grace_s": "1", **more}
    return {f"TARRY_ENGINE__{name.upper()}": value for name, value in chosen.items()}


@pytest.fixture(scope="module")
def server(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all tests, each with an endpoint of its own."""
    data = tmp_path_factory.mktemp("docker") / "data"
    running = ServerProcess(data, "--host", "0.0.0.0", settings=settings(dockerd))
    with running:
        bucket(running, BUCKET)
        yield running
    for name in ours(dockerd, running):  # they outlive their server
        dockerd.docker("rm", "-f", name)


def ours(dockerd: Dockerd, server: ServerProcess, *filters: str) -> list[str]:
    return list(dockerd.containers(f"label=tarry.owner={(server.data_dir / 'engine-token').read_text()}", *filters))


def of_endpoint(dockerd: Dockerd, server: ServerProcess, name: str) -> list[str]:
    return ours(dockerd, server, f"label=tarry.endpoint={name}")


def started_at(dockerd: Dockerd, container: str) -> str:
    return dockerd.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", container)


def create(server: ServerProcess, name: str) -> None:
    config(server, name, name, BUCKET)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)


def deploy(server: ServerProcess, name: str, **environment: str) -> None:
    model(server, name, environment, STUB_IMAGE)
    create(server, name)


def ask(server: ServerProcess, name: str, body: bytes) -> str:
    """Where the answer is going to be."""
    asked = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, Body=body)
    location: str = asked["OutputLocation"]
    return location


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline


def failed(server: ServerProcess, name: str) -> str:
    """Why an endpoint could not be created."""
    sagemaker, deadline = server.client("sagemaker"), time.monotonic() + 90
    while (described := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "Failed":
        assert described["EndpointStatus"] == "Creating", described
        assert time.monotonic() < deadline, described
        time.sleep(0.05)
    reason: str = described["FailureReason"]
    return reason


def test_an_image_answers_from_s3_to_s3(server: ServerProcess, dockerd: Dockerd) -> None:
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.put_object(Bucket=BUCKET, Key="model.tar.gz", Body=archive_of({"weights.txt": b"42"}))
    s3.put_object(Bucket=BUCKET, Key="in.json", Body=wish(files=True), ContentType="application/json")
    model(server, "files", image=STUB_IMAGE, ModelDataUrl=f"s3://{BUCKET}/model.tar.gz")
    create(server, "files")
    in_service(server, "files")
    answer = server.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName="files", InputLocation=f"s3://{BUCKET}/in.json"
    )
    assert read(server, answer["OutputLocation"]) == b'{"model/weights.txt": "42"}'
    assert "stub model server on port 8080" in tarry(server, "logs", "files").out
    sagemaker.delete_endpoint(EndpointName="files")
    sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="files", WaiterConfig=WAITER)
    assert of_endpoint(dockerd, server, "files") == []
    assert "stub model server on port 8080" in tarry(server, "logs", "files").out, "when it is gone"


def test_a_pipeline_of_containers(server: ServerProcess) -> None:
    steps = [{"Image": STUB_IMAGE, "Environment": {"STUB_DEFAULT": f'{{"append": "{step}"}}'}} for step in ("-one", "-two")]
    server.client("sagemaker").create_model(ModelName="pipeline", ExecutionRoleArn=ROLE, Containers=steps)
    create(server, "pipeline")
    in_service(server, "pipeline")
    assert read(server, ask(server, "pipeline", b"x")) == b"x-one-two"


def test_a_killed_server_goes_on_with_the_same_instance(server: ServerProcess, dockerd: Dockerd) -> None:
    deploy(server, "survivor")
    in_service(server, "survivor")
    [name] = of_endpoint(dockerd, server, "survivor")
    before = started_at(dockerd, name)
    deploy(server, "newborn", STUB_LISTEN_AFTER_S="3")
    until(lambda: len(of_endpoint(dockerd, server, "newborn")) == 1)
    asked = ask(server, "survivor", wish(sleep=1, answer="after the crash"))
    wait_for_state(server, "Running")
    server.kill()
    assert dockerd.docker("inspect", "-f", "{{.State.Running}}", name) == "true"
    server.start()
    assert read(server, asked) == b"after the crash"
    assert server.client("sagemaker").describe_endpoint(EndpointName="survivor")["EndpointStatus"] == "InService"
    assert of_endpoint(dockerd, server, "survivor") == [name]
    assert started_at(dockerd, name) == before, "not started anew"
    in_service(server, "newborn")
    assert len(of_endpoint(dockerd, server, "newborn")) == 1


def test_a_models_code_reaches_this_server_also_when_its_instance_is_taken_over(server: ServerProcess) -> None:
    deploy(server, "caller")
    in_service(server, "caller")
    names = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    code = f"import os, urllib.request; url, *keys = [os.environ[name] for name in {names}]; "
    code += "seen = [urllib.request.urlopen(url + '/health').status, *keys]"
    status, key, secret = json.loads(read(server, ask(server, "caller", wish(run=code))))
    assert status == 200
    server.kill()
    server.start()
    identity = boto3.client(
        "sts", region_name="us-east-1", endpoint_url=server.url, aws_access_key_id=key, aws_secret_access_key=secret
    ).get_caller_identity()
    assert identity["Arn"].endswith(":assumed-role/test/SageMaker")


def test_a_models_code_trusts_the_certificate_of_an_https_server(
    dockerd: Dockerd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens on the machine's address on the network of the containers, as its certificate says."""
    dockerd.docker("network", "create", "for-https")
    address = dockerd.docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "for-https")
    certificate = Certificate.make(tmp_path, address)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate.cert))  # for the clients of this test
    flags = ("--host", address, "--tls-cert", str(certificate.cert), "--tls-key", str(certificate.key))
    chosen = settings(dockerd, docker_network="for-https", docker_keep="false")
    with ServerProcess(tmp_path / "data", *flags, settings=chosen) as server:
        assert server.url.startswith(f"https://{address}:")
        bucket(server, BUCKET)
        deploy(server, "secure")
        in_service(server, "secure")
        code = (
            "import os, ssl, urllib.request\n"
            "trusted = ssl.create_default_context(cafile=os.environ['AWS_CA_BUNDLE'])\n"
            "seen = urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/health', context=trusted).status"
        )
        assert read(server, ask(server, "secure", wish(run=code))) == b"200"


def test_what_nobody_wants_any_more_is_removed_at_the_next_start(server: ServerProcess, dockerd: Dockerd) -> None:
    """A container that no row knows of, one whose start was interrupted; and none of somebody else's."""
    wanted = ours(dockerd, server)
    token = (server.data_dir / "engine-token").read_text()
    known = {"instance-type": "x", "endpoint": "x", "variant": "x", "hostname": "", "attempt": "x", "gpus": ""}
    labels = known | {"container": "0", "containers": "1"}
    given = [word for label, value in labels.items() for word in ("--label", f"tarry.{label}={value}")]
    runs = [*given, STUB_IMAGE, "/bin/busybox", "sleep", "600"]
    mine, other = f"--label=tarry.owner={token}", "--label=tarry.owner=somebody-else"
    dockerd.docker("create", mine, "--label=tarry.instance=half", *runs)
    dockerd.docker("run", "-d", mine, "--label=tarry.instance=stray", *runs)
    dockerd.docker("run", "-d", "--name=bystander", other, "--label=tarry.instance=stray", *runs)
    server.kill()
    server.start()
    until(lambda: sorted(ours(dockerd, server)) == sorted(wanted))
    assert dockerd.docker("inspect", "-f", "{{.State.Running}}", "bystander") == "true"
    dockerd.docker("rm", "-f", "bystander")


def test_memory_is_the_reason_that_is_told(server: ServerProcess) -> None:
    """A model too large for its instance type: the endpoint says so."""
    deploy(server, "too-large", STUB_HOG="1000")
    reason = failed(server, "too-large")
    assert "The primary container for production variant v did not pass the ping health check." in reason
    assert "was ended by signal 9. It ran out of memory: on this machine ml.m5.xlarge has 0.188 GiB." in reason
    assert "taking 1000 MiB" in reason, "the last lines of its log"


@pytest.mark.slow
def test_a_container_that_is_never_ready(server: ServerProcess, dockerd: Dockerd) -> None:
    """As long as the shortest start-up time limit that there is: a minute."""
    deploy(server, "never", STUB_PING="503")
    reason = failed(server, "never")
    assert "did not pass the ping health check" in reason
    assert "stub model server on port 8080" in reason
    until(lambda: of_endpoint(dockerd, server, "never") == [])


def test_an_image_that_cannot_be_pulled_is_the_reason(server: ServerProcess) -> None:
    model(server, "nowhere", image="127.0.0.1:9/none:1")
    create(server, "nowhere")
    reason = failed(server, "nowhere")
    assert 'The image "127.0.0.1:9/none:1" is not on this machine and could not be pulled' in reason
    assert "check that the Docker daemon can reach the registry." in reason


def test_an_image_without_serve_is_the_reason(server: ServerProcess) -> None:
    deploy(server, "no-serve", PATH="/nowhere")
    assert "CannotStartContainerError. Please ensure the model container for variant v" in failed(server, "no-serve")


def test_an_isolated_model_answers(server: ServerProcess, dockerd: Dockerd) -> None:
    container = {"Image": STUB_IMAGE}
    server.client("sagemaker").create_model(
        ModelName="isolated", ExecutionRoleArn=ROLE, PrimaryContainer=container, EnableNetworkIsolation=True
    )
    create(server, "isolated")
    in_service(server, "isolated")
    assert read(server, ask(server, "isolated", b"x")) == b"x"
    [name] = of_endpoint(dockerd, server, "isolated")
    [network] = dockerd.docker("inspect", "-f", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", name).split()
    assert dockerd.docker("network", "inspect", "-f", "{{.Internal}}", network) == "true"


def test_an_instance_that_dies_is_replaced(server: ServerProcess, dockerd: Dockerd) -> None:
    deploy(server, "mortal")
    in_service(server, "mortal")
    [name] = of_endpoint(dockerd, server, "mortal")
    os.kill(int(dockerd.docker("inspect", "-f", "{{.State.Pid}}", name)), signal.SIGKILL)
    assert read(server, ask(server, "mortal", b"x")) == b"x"
    until(lambda: name not in of_endpoint(dockerd, server, "mortal"))


def test_a_stopped_server_leaves_its_instances_running_or_not(server: ServerProcess, dockerd: Dockerd) -> None:
    deploy(server, "kept")
    in_service(server, "kept")
    [name] = of_endpoint(dockerd, server, "kept")
    before = started_at(dockerd, name)
    assert server.stop() == 0
    server.settings |= settings(dockerd, docker_keep="false")
    server.start()
    assert read(server, ask(server, "kept", b"x")) == b"x"
    assert started_at(dockerd, name) == before
    assert server.stop() == 0
    assert ours(dockerd, server) == []
    server.settings |= settings(dockerd, docker_keep="true")
    server.start()
    in_service(server, "kept")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("unix:///nowhere/docker.sock", "does not answer (No such file or directory)"),
        ("tcp://127.0.0.1:2375", "needs a daemon that sees the data directory"),
    ],
)
def test_without_a_daemon_the_server_says_so_and_ends(tmp_path: Path, host: str, words: str) -> None:
    server = ServerProcess(tmp_path / "data", settings={"TARRY_ENGINE__KIND": "docker", "DOCKER_HOST": host})
    code, said = server.run_to_end()
    assert code == 1
    assert words in " ".join(said.split())
    assert "Traceback" not in said
