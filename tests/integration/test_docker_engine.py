"""The Docker engine against a real daemon: what the contract of engines does not say."""

import asyncio
import base64
import json
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.docker_engine import docker_engine
from tests.support.dockerd import STUB_IMAGE, Dockerd
from tests.support.engines import pipeline, spec
from tests.support.model_objects import ModelObjects, archive_of
from tests.support.registry import LOGIN, Registry

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.docker import DockerEngine
from tarry.backends.engines.docker_api import DockerAway
from tarry.backends.engines.docker_options import DockerOptions
from tarry.backends.engines.room import Room
from tarry.core.errors import ImageNotFound, InstanceStartError, InsufficientCapacity, ModelDataError
from tarry.core.placement import PlacementRules
from tarry.ports import ContainerSpec, EngineStatus, InstanceSpec

pytestmark = pytest.mark.xdist_group("docker")

MODEL = "s3://bucket/model.tar.gz"


@pytest.fixture
def objects() -> ModelObjects:
    return ModelObjects({MODEL: archive_of({"weights.txt": b"42", "code/run.py": b"pass"})})


@pytest.fixture
async def engine(tmp_path: Path, dockerd: Dockerd, objects: ModelObjects) -> AsyncIterator[DockerEngine]:
    engine = docker_engine(tmp_path, dockerd.host, objects=objects)
    await engine.open()
    yield engine
    await engine.close(keep=False, grace_s=0)


def ask(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as response:
        content: bytes = response.read()
        return content


async def answer(url: str, body: bytes | None = None) -> bytes:
    """What the server answers, as soon as it does."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await asyncio.to_thread(ask, url, body)
            except OSError:
                await asyncio.sleep(0.02)


async def status_when(engine: DockerEngine, condition: Callable[[EngineStatus], bool]) -> EngineStatus:
    async with asyncio.timeout(60):
        while True:
            for status in await engine.observe():
                if condition(status):
                    return status
            await asyncio.sleep(0.02)


async def ended(engine: DockerEngine) -> EngineStatus:
    return await status_when(engine, lambda status: status.exit_code is not None)


async def log_with(engine: DockerEngine, words: str) -> tuple[str, ...]:
    async with asyncio.timeout(30):
        while not any(words in line for line in await engine.log_tail("i-1", 50)):  # noqa: ASYNC110 - a container writes it
            await asyncio.sleep(0.02)
    return await engine.log_tail("i-1", 50)


def name_of(directory: Path, instance_id: str = "i-1", index: int = 0) -> str:
    return f"tarry-{(directory / 'engine-token').read_text()[:8]}-{instance_id}-{index}"


def ours(dockerd: Dockerd, directory: Path) -> list[str]:
    return list(dockerd.containers(f"label=tarry.owner={(directory / 'engine-token').read_text()}"))


# ------------------------------------------------------------------------------------------------------ what it is given


async def test_the_environment_has_nothing_of_the_servers(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the server's own")
    [address] = await engine.start(spec(SAGEMAKER_PROGRAM="run.py", SAGEMAKER_BIND_TO_PORT="1", AWS_REGION="mine"))
    environment = json.loads(await answer(f"{address}/environment"))
    for name in ("PATH", "HOME", "HOSTNAME", "STUB_HOST", "LC_CTYPE", "PWD", "SHLVL"):
        environment.pop(name, None)
    assert environment == {
        "SAGEMAKER_BASE_DIR": "/opt/ml",  # of the image
        "SAGEMAKER_PROGRAM": "run.py",
        "SAGEMAKER_BIND_TO_PORT": "8080",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }


async def test_the_model_can_be_read_and_not_written(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    [address] = await engine.start(spec(url=MODEL))
    assert json.loads(await answer(f"{address}/files")) == {"weights.txt": "42", "code/run.py": "pass"}
    said = dockerd.docker(
        "exec", name_of(tmp_path), "/bin/sh", "-c", "echo x >/opt/ml/model/weights.txt; echo x >/root/own; cat /root/own"
    )
    assert said == "x", "its own file system may be written"
    assert (tmp_path / "instances/i-1/0/model/weights.txt").read_text() == "42"
    await engine.stop("i-1", grace_s=0)
    assert not (tmp_path / "instances/i-1").exists()


async def test_what_it_may_not_do(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    await engine.start(replace(spec(), instance_type="ml.t2.medium"))
    status = dict(
        line.split(":\t", 1)
        for line in dockerd.docker("exec", name_of(tmp_path), "/bin/busybox", "cat", "/proc/1/status").splitlines()
        if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    allowed = {number for number in range(64) if int(status["CapEff"], 16) >> number & 1}
    # CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID, NET_BIND_SERVICE of linux/capability.h
    assert allowed == {0, 1, 3, 5, 6, 7, 10}
    shown = json.loads(dockerd.docker("inspect", name_of(tmp_path)))[0]["HostConfig"]
    assert (shown["Memory"], shown["MemorySwap"], shown["PidsLimit"]) == (4 * 2**30, 4 * 2**30, 4096)


async def test_with_a_read_only_file_system_it_can_write_to_tmp_alone(tmp_path: Path, dockerd: Dockerd) -> None:
    engine = docker_engine(tmp_path, dockerd.host, options=DockerOptions(read_only=True))
    await engine.open()
    try:
        [address] = await engine.start(spec())
        await answer(f"{address}/ping")
        said = dockerd.docker(
            "exec", name_of(tmp_path), "/bin/sh", "-c", "(echo x >/own) 2>&1; echo y >/tmp/own; /bin/busybox cat /tmp/own"
        )
        assert "Read-only file system" in said
        assert said.endswith("y")
    finally:
        await engine.close(keep=False, grace_s=0)


# -------------------------------------------------------------------------------------------------------------- its end


async def test_memory_is_told_as_the_reason(tmp_path: Path, dockerd: Dockerd) -> None:
    engine = docker_engine(tmp_path, dockerd.host, options=DockerOptions(memory_max_bytes=128 * 2**20))
    await engine.open()
    [address] = await engine.start(spec())
    await answer(f"{address}/ping")
    with pytest.raises(OSError):
        await asyncio.to_thread(ask, f"{address}/invocations", b'{"stub": {"hog": 500}}')
    status = await ended(engine)
    assert (status.exit_code, status.ended) == (-9, 0)
    assert status.cause is not None
    assert "ran out of memory: on this machine ml.m5.xlarge has 0.125 GiB. Choose a larger instance type" in status.cause
    await engine.close(keep=False, grace_s=0)


async def test_a_crash_at_start_is_seen_with_its_last_words(engine: DockerEngine) -> None:
    await engine.start(spec(STUB_CRASH="no such weights"))
    status = await ended(engine)
    assert (status.exit_code, status.cause) == (3, None)
    assert (await engine.log_tail("i-1", 10))[-1] == "no such weights"
    await engine.start(spec())
    [status] = await engine.observe()
    assert status.exit_code is None, "it can be started anew"


async def test_stop_asks_first_and_then_insists(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    await engine.start(spec("i-1", STUB_IGNORE_TERM="1"))
    await log_with(engine, "model server")
    before = time.monotonic()
    await engine.stop("i-1", grace_s=1)
    assert time.monotonic() - before >= 1
    assert ours(dockerd, tmp_path) == []


async def test_one_that_somebody_else_removed_has_ended(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    await engine.start(spec())
    dockerd.docker("rm", "-f", name_of(tmp_path))
    status = await ended(engine)
    assert status.exit_code == -9
    await engine.stop("i-1")
    assert await engine.observe() == []


async def test_one_container_of_a_pipeline_that_ends_is_named(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    await engine.start(pipeline(3, STUB_CRASH="no such weights"))
    status = await ended(engine)
    assert (status.exit_code, status.ended) == (3, 2)
    assert "container-3: no such weights" in await engine.log_tail("i-1", 5)
    await engine.stop("i-1", grace_s=0)
    assert ours(dockerd, tmp_path) == []


# ---------------------------------------------------------------------------------------------------- starts that cannot be


@pytest.mark.parametrize(
    ("broken", "error", "words"),
    [
        (replace(spec(), containers=(ContainerSpec(image="not an image"),)), ImageNotFound, "is not an image reference"),
        (spec(url="s3://bucket/none.tar.gz"), ModelDataError, "Could not find model data"),
        (spec(BAD="a\0b"), InstanceStartError, "Environment"),
        (
            spec(STUB_HOST="x", PATH="/nowhere"),
            InstanceStartError,
            r"CannotStartContainerError\..*docker run <image> serve.*not found",
        ),
        (spec("../up"), InstanceStartError, "cannot be the id"),
    ],
)
async def test_a_start_that_fails_leaves_nothing(
    engine: DockerEngine, dockerd: Dockerd, tmp_path: Path, broken: InstanceSpec, error: type[Exception], words: str
) -> None:
    two = replace(broken, containers=(replace(spec().containers[0], hostname="first"), *broken.containers))
    with pytest.raises(error, match=words):
        await engine.start(two)
    assert await engine.observe() == []
    assert ours(dockerd, tmp_path) == []
    assert not (tmp_path / "instances/i-1").exists()


async def test_a_network_that_is_not_there_is_named(tmp_path: Path, dockerd: Dockerd) -> None:
    engine = docker_engine(tmp_path, dockerd.host, options=DockerOptions(network="nowhere"))
    await engine.open()
    with pytest.raises(InstanceStartError, match="network nowhere not found"):
        await engine.start(spec())
    await engine.close(keep=False)


async def test_cancelling_or_stopping_a_start_leaves_nothing_behind(
    engine: DockerEngine, dockerd: Dockerd, tmp_path: Path, objects: ModelObjects
) -> None:
    for how in ("cancel", "stop"):
        starting = asyncio.create_task(engine.start(pipeline(3)))
        async with asyncio.timeout(30):
            while not (tmp_path / "logs/my-endpoint/AllTraffic/i-1%2Fcontainer-1.log").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        if how == "cancel":
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
        else:
            await engine.stop("i-1", grace_s=0)
            with pytest.raises(InstanceStartError, match="stopped while it was starting"):
                await starting
        assert await engine.observe() == []
        assert ours(dockerd, tmp_path) == []
        assert not (tmp_path / "instances/i-1").exists()
        (tmp_path / "logs/my-endpoint/AllTraffic/i-1%2Fcontainer-1.log").unlink()


class _Ports(PortRange):
    """Hands out a given port first, without looking."""

    def __init__(self, first: int) -> None:
        super().__init__(20000, 29999)
        self._given = [first]

    def take(self, count: int = 1) -> range:
        given = self._given.pop() if self._given else None
        return super().take(count) if given is None else range(given, given + 1)


async def test_a_port_that_somebody_else_has_is_passed_over(tmp_path: Path, dockerd: Dockerd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        engine = docker_engine(tmp_path, dockerd.host, ports=_Ports(taken))
        await engine.open()
        [address] = await engine.start(spec())
        assert not address.endswith(f":{taken}")
        await answer(f"{address}/ping")
        await engine.close(keep=False, grace_s=0)


async def test_what_runs_already_takes_room(tmp_path: Path, dockerd: Dockerd) -> None:
    rules = PlacementRules(instances_max={"ml.m5.*": 1})
    engine = docker_engine(tmp_path, dockerd.host, room=Room(rules))
    await engine.open()
    await engine.start(spec("i-1"))
    await engine.close(keep=True)
    engine = docker_engine(tmp_path, dockerd.host, room=Room(rules))
    await engine.open()
    with pytest.raises(InsufficientCapacity):
        await engine.start(spec("i-2"))
    await engine.stop("i-1", grace_s=0)
    await engine.start(spec("i-2"))
    await engine.close(keep=False, grace_s=0)


# ---------------------------------------------------------------------------------------------------------------- images


def with_image(reference: str) -> InstanceSpec:
    return replace(spec(), containers=(ContainerSpec(image=reference),))


async def test_an_image_is_pulled_by_its_reference(tmp_path: Path, dockerd: Dockerd) -> None:
    with Registry() as registry:
        engine = docker_engine(tmp_path, dockerd.host)
        await engine.open()
        for reference in (f"{registry.address}/model:1", f"{registry.address}/model@{registry.digest}"):
            # It has no program: that is said once it has been pulled.
            with pytest.raises(InstanceStartError, match="CannotStartContainerError"):
                await engine.start(with_image(reference))
        assert registry.pulls == 1
        with pytest.raises(ImageNotFound, match=r"model:2.* could not be pulled.*Check its name and tag"):
            await engine.start(with_image(f"{registry.address}/model:2"))
        await engine.close(keep=False)
        dockerd.docker("rmi", "-f", f"{registry.address}/model:1")


async def test_a_private_image_is_pulled_with_dockers_own_login(tmp_path: Path, dockerd: Dockerd) -> None:
    with Registry(private=True) as registry:
        engine = docker_engine(tmp_path, dockerd.host, policy="always")
        await engine.open()
        private = with_image(f"{registry.address}/model:1")
        with pytest.raises(ImageNotFound, match=f"run docker login {registry.address}"):
            await engine.start(private)
        login = base64.b64encode(":".join(LOGIN).encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
        with pytest.raises(InstanceStartError, match="CannotStartContainerError"):
            await engine.start(private)
        assert registry.pulls == 1
        await engine.close(keep=False)
        dockerd.docker("rmi", f"{registry.address}/model:1")


# ------------------------------------------------------------------------------------------------------------- take over


async def test_the_next_server_goes_on_with_what_runs(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    before = time.monotonic()
    addresses = await engine.start(pipeline(2))
    started = dockerd.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", name_of(tmp_path))
    for address in addresses:
        await answer(f"{address}/ping")
    await log_with(engine, "container-1: stub model server")
    await engine.close(keep=True)
    dockerd.docker("exec", name_of(tmp_path), "/bin/sh", "-c", "echo while nobody looked >/proc/1/fd/1")
    later = docker_engine(tmp_path, dockerd.host)
    await later.open()
    [status] = await later.observe()
    assert (status.instance_id, status.addresses, status.exit_code) == ("i-1", addresses, None)
    assert 0 < status.running_s < time.monotonic() - before
    assert await later.start(pipeline(2)) == addresses
    assert dockerd.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", name_of(tmp_path)) == started
    lines = await log_with(later, "container-1: while nobody looked")
    assert sum("container-1: stub model server" in line for line in lines) == 1, "nothing is copied twice"
    await later.stop("i-1", grace_s=0)
    assert ours(dockerd, tmp_path) == []
    await later.close(keep=True)


async def test_one_that_died_while_nobody_looked_is_told_so(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    [address] = await engine.start(spec())
    await answer(f"{address}/ping")
    await engine.close(keep=True)
    dockerd.docker("kill", name_of(tmp_path))
    later = docker_engine(tmp_path, dockerd.host)
    await later.open()
    status = await ended(later)
    assert (status.addresses, status.exit_code) == ((address,), -9)
    assert "model server" in (await later.log_tail("i-1", 5))[-1]
    await later.close(keep=False, grace_s=0)


async def test_what_an_interrupted_start_has_left_is_removed_and_nothing_else(
    engine: DockerEngine, dockerd: Dockerd, tmp_path: Path
) -> None:
    await engine.start(pipeline(2))
    await engine.start(spec("i-2"))
    await engine.close(keep=True)
    dockerd.docker("rm", "-f", name_of(tmp_path, index=1))
    token = (tmp_path / "engine-token").read_text()
    labels = ["--label", "tarry.owner=somebody-else", "--label", "tarry.instance=i-1"]
    dockerd.docker("create", "--name", "bystander", *labels, STUB_IMAGE, "serve")
    dockerd.docker("create", "--name", "unreadable", "--label", f"tarry.owner={token}", STUB_IMAGE, "serve")
    later = docker_engine(tmp_path, dockerd.host)
    await later.open()
    assert [status.instance_id for status in await later.observe()] == ["i-2"]
    assert ours(dockerd, tmp_path) == [name_of(tmp_path, "i-2")]
    assert [home.name for home in (tmp_path / "instances").iterdir()] == ["i-2"]
    await later.close(keep=False, grace_s=0)
    assert dockerd.containers("name=bystander") == ["bystander"]
    dockerd.docker("rm", "bystander")


# ------------------------------------------------------------------------------------------------------------- isolation


async def test_an_isolated_instance_answers_and_reaches_nobody(engine: DockerEngine, dockerd: Dockerd, tmp_path: Path) -> None:
    [open_one] = await engine.start(spec("i-2"))
    [isolated] = await engine.start(replace(spec("i-1", url=MODEL), network_isolation=True))
    assert b"42" in await answer(f"{isolated}/files")
    await answer(f"{open_one}/ping")
    inside = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    other = dockerd.docker("inspect", "-f", inside, name_of(tmp_path, "i-2"))

    def reaches(instance_id: str, address: str, port: int) -> bool:
        script = f"/bin/busybox nc -w 1 {address} {port} </dev/null && echo reached || echo not"
        return dockerd.docker("exec", name_of(tmp_path, instance_id), "/bin/sh", "-c", script).endswith("reached")

    assert reaches("i-2", "127.0.0.1", 8080), "the question can be answered"
    assert not reaches("i-1", other, 8080)
    assert not reaches("i-2", isolated.removeprefix("http://").partition(":")[0], 8080)
    await engine.start(spec("i-3"))
    assert not reaches("i-3", other, 8080), "others cannot reach one another either"
    network = name_of(tmp_path).removesuffix("-0")
    assert dockerd.docker("network", "inspect", "-f", "{{.Internal}}", network) == "true", "nothing leads out of it"
    await engine.close(keep=True)
    later = docker_engine(tmp_path, dockerd.host)
    await later.open()
    assert (isolated,) in [status.addresses for status in await later.observe()]
    await later.stop("i-1", grace_s=0)
    assert network not in dockerd.docker("network", "ls", "--format", "{{.Name}}").split()
    await later.close(keep=False, grace_s=0)


# -------------------------------------------------------------------------------------------------- a daemon that is away


async def test_without_a_daemon_there_is_no_engine(tmp_path: Path) -> None:
    engine = docker_engine(tmp_path, f"unix://{tmp_path}/none.sock")
    with pytest.raises(
        DockerAway, match=r"The Docker daemon at unix:///.*none\.sock does not answer \(No such file or directory\)"
    ):
        await engine.open()
    await engine.close(keep=True)


@pytest.mark.parametrize("live_restore", [False, pytest.param(True, marks=pytest.mark.slow)])
async def test_a_daemon_that_goes_away_and_comes_back(tmp_path: Path, live_restore: bool) -> None:
    daemon = Dockerd(*["--live-restore"] * live_restore).start()
    try:
        daemon.make_stub_image()
        engine = docker_engine(tmp_path, daemon.host)
        await engine.open()
        [address] = await engine.start(spec())
        await answer(f"{address}/ping")
        daemon.kill()
        stopping = asyncio.create_task(engine.stop("i-2"))
        starting = asyncio.create_task(engine.start(spec("i-2")))
        await stopping
        [status] = await engine.observe()
        assert status.exit_code is None, "nobody can know"
        await asyncio.to_thread(daemon.start)
        [other] = await starting
        await answer(f"{other}/ping")
        if live_restore:
            await answer(f"{address}/ping")
            assert all(status.exit_code is None for status in await engine.observe())
        else:
            await status_when(engine, lambda status: status.instance_id == "i-1" and status.exit_code is not None)
        await engine.close(keep=False, grace_s=0)
        assert ours(daemon, tmp_path) == []
    finally:
        daemon.close()
