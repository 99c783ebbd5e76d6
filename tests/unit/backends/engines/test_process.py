import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.engines import SANDBOXES, STUB_IMAGE, pipeline, process_engine, process_of, sandbox_of, seen_by, spec
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends.engines import containers
from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.homes import Home, Sandbox
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.engines.processes import TOKEN_VARIABLE, alive, carriers, listener_is_ours
from tarry.backends.engines.room import Room
from tarry.core.errors import ImageNotFound, InstanceStartError, InsufficientCapacity, InvalidRequest, ModelDataError
from tarry.core.placement import PlacementRules
from tarry.ports import ContainerSpec

NOBODY = 2**22 + 1
"""A process id that is beyond all that the kernel gives."""
MODEL = "s3://bucket/model.tar.gz"


@pytest.fixture
def objects() -> ModelObjects:
    return ModelObjects({MODEL: archive_of({"weights.txt": b"42", "code/run.py": b"pass"})})


@pytest.fixture(params=SANDBOXES)
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    return await sandbox_of(request.param, tmp_path)


@pytest.fixture
async def engine(tmp_path: Path, objects: ModelObjects, sandbox: Sandbox) -> AsyncIterator[ProcessEngine]:
    engine = process_engine(tmp_path, objects, sandbox=sandbox)
    await engine.open()
    yield engine
    await engine.close(grace_s=1)


async def get_json(url: str) -> dict[str, str]:
    def read() -> dict[str, str]:
        with urllib.request.urlopen(url, timeout=10) as response:
            return dict(json.load(response))

    return await asyncio.to_thread(read)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process cannot set an event
            await asyncio.sleep(0.01)


def has_ended(process: psutil.Process) -> bool:
    return not alive([process])


async def ended(engine: ProcessEngine) -> int:
    async with asyncio.timeout(20):
        while True:
            for status in await engine.observe():
                if status.exit_code is not None:
                    return status.exit_code
            await asyncio.sleep(0.01)


async def test_the_environment_is_built_from_nothing(
    engine: ProcessEngine, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the server's own")
    monkeypatch.setenv("TARRY_SERVER__PORT", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    [address] = await engine.start(
        spec(SAGEMAKER_PROGRAM="run.py", SAGEMAKER_BIND_TO_PORT="1", AWS_REGION="mine", LC_ALL="C.UTF-8")
    )
    environment = await get_json(f"{address}/environment")
    token = (tmp_path / "engine-token").read_text()
    assert re.fullmatch(rf"{token}/i-1/0/[0-9a-f]{{16}}", environment.pop(TOKEN_VARIABLE))  # the end is known to nobody else
    assert environment.pop("PATH")
    view = sandbox.view(Home(root=tmp_path / "instances/i-1/0"))
    assert environment.pop("PWD", str(view.home)) == str(view.home)
    assert environment == {
        "HOME": str(view.home),
        "TMPDIR": str(view.tmp),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "SAGEMAKER_PROGRAM": "run.py",
        "SAGEMAKER_BASE_DIR": str(view.base),
        "SAGEMAKER_BIND_TO_PORT": address.rpartition(":")[2],
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }


async def test_the_model_lies_in_the_instances_own_directory(engine: ProcessEngine, tmp_path: Path) -> None:
    [address] = await engine.start(spec(url=MODEL))
    assert await get_json(f"{address}/files") == {"weights.txt": "42", "code/run.py": "pass"}
    await engine.stop("i-1", grace_s=5)
    assert not (tmp_path / "instances/i-1").exists()


async def test_a_missing_model_stops_the_start_and_leaves_nothing(engine: ProcessEngine, tmp_path: Path) -> None:
    with pytest.raises(ModelDataError, match=r"Could not find model data at s3://bucket/none\.tar\.gz\."):
        await engine.start(spec(url="s3://bucket/none.tar.gz"))
    assert await engine.observe() == []
    assert not (tmp_path / "instances/i-1").exists()


async def test_an_unknown_image_is_refused(engine: ProcessEngine) -> None:
    with pytest.raises(ImageNotFound, match="No image is known"):
        await engine.start(replace(spec(), containers=(ContainerSpec(image="nothing:1"),)))


async def test_a_crash_at_start_is_seen_with_its_last_words(engine: ProcessEngine) -> None:
    await engine.start(spec(STUB_CRASH="no such weights"))
    [status] = await engine.observe()
    assert status.exit_code == 3
    assert (await engine.log_tail("i-1", 10))[-1] == "no such weights"


@pytest.mark.parametrize(
    ("counts", "crash", "said"),
    [
        ((3, 4), None, "want of memory: 1, likely this one"),
        ((3, 3), None, None),
        ((None, None), None, None),
        ((3, 4), "by itself", None),
    ],
    ids=["counted", "not for want of memory", "not known", "by itself"],
)
async def test_that_memory_may_have_been_the_reason_is_said_where_the_kernel_counted_it(
    engine: ProcessEngine,
    monkeypatch: pytest.MonkeyPatch,
    counts: tuple[int | None, ...],
    crash: str | None,
    said: str | None,
) -> None:
    before, after = counts
    monkeypatch.setattr(containers, "oom_kills", lambda: before)
    await engine.start(spec() if crash is None else spec(STUB_CRASH=crash))
    monkeypatch.setattr(containers, "oom_kills", lambda: after)
    if crash is None:
        [running] = engine._running["i-1"]
        running.process.kill()
        assert await ended(engine) == -signal.SIGKILL
    [status] = await engine.observe()
    assert (said in (status.cause or "")) if said else (status.cause is None)


async def test_a_death_is_observed_and_its_children_end_too(engine: ProcessEngine, tmp_path: Path) -> None:
    await engine.start(spec(STUB_CHILD="1"))
    *_, line = [line for line in await engine.log_tail("i-1", 10) if line.startswith("child ")]  # several if a port was taken
    child = process_of(tmp_path, int(line.split()[1]))
    assert child.ppid() != os.getpid()
    os.kill(child.ppid(), signal.SIGKILL)
    assert await ended(engine) == -signal.SIGKILL
    await until(lambda: has_ended(child))


async def test_stop_kills_what_ignores_it_with_all_its_children(engine: ProcessEngine, tmp_path: Path) -> None:
    await engine.start(spec(STUB_CHILD="1", STUB_IGNORE_TERM="1"))
    *_, line = [line for line in await engine.log_tail("i-1", 10) if line.startswith("child ")]  # several if a port was taken
    child = process_of(tmp_path, int(line.split()[1]))
    leader = psutil.Process(child.ppid())
    await engine.stop("i-1", grace_s=0.2)
    assert has_ended(child)
    assert not leader.is_running()


async def test_what_is_stopped_hears_the_stop_at_once(engine: ProcessEngine) -> None:
    """A process in SIGSTOP would hear SIGTERM only after its grace was over, and so never."""
    await engine.start(spec())
    [process] = [each for each in psutil.Process().children(recursive=True) if "serve.py" in " ".join(each.cmdline())]
    process.send_signal(signal.SIGSTOP)
    await engine.stop("i-1", grace_s=3600)
    assert not process.is_running()


async def test_sigterm_reaches_the_model_server_itself(engine: ProcessEngine) -> None:
    """And it has its time to end: nothing around it ends before it."""
    met: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: met.put_nowait(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await engine.start(spec(STUB_ON_TERM=str(port)))
    stopping = asyncio.create_task(engine.stop("i-1", grace_s=20))
    async with asyncio.timeout(20):
        writer = await met.get()
    assert [status.exit_code for status in await engine.observe()] == [None]
    writer.close()
    await stopping
    server.close()
    assert (await engine.log_tail("i-1", 5))[-1] == "ended politely"


async def test_the_models_variables_have_no_say_before_its_program(engine: ProcessEngine) -> None:
    """Each program that LD_PRELOAD reaches says that it cannot be followed: only the model server's own does."""
    await engine.start(spec(LD_PRELOAD="/nowhere/evil.so"))
    told = [line for line in await engine.log_tail("i-1", 20) if "/nowhere/evil.so" in line]
    assert len(told) == 1


async def test_a_foreign_listener_is_never_taken_for_ours(tmp_path: Path, sandbox: Sandbox) -> None:
    """Somebody takes the port between our look and the child's bind: the instance comes up on another one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        first = probe.getsockname()[1]
    engine = process_engine(tmp_path, ports=_Ports([first, None]), sandbox=sandbox)
    await engine.open()
    with socket.create_server(("127.0.0.1", first)):
        [address] = await engine.start(spec())
    assert not address.endswith(f":{first}")
    assert (await engine.observe())[0].exit_code is None
    await engine.close(grace_s=5)


async def test_a_server_that_ends_because_its_port_was_taken_gets_another(tmp_path: Path, sandbox: Sandbox) -> None:
    """Whoever had the port has gone again: only what the server has said tells."""
    serve = """
import pathlib, runpy, sys
mark = pathlib.Path.home() / "tried"
if not mark.exists():
    mark.touch()
    sys.exit("OSError: [Errno 98] Address already in use")
runpy.run_path(sys.path[0] + "/stub.py", run_name="__main__")
"""
    engine = process_engine(tmp_path, sandbox=sandbox, image=_image_with(tmp_path, serve))
    await engine.open()
    try:
        await engine.start(spec())
        assert [status.exit_code for status in await engine.observe()] == [None]
    finally:
        await engine.close(grace_s=1)


async def test_a_server_that_is_a_child_without_a_trace_is_the_instances_own(tmp_path: Path, sandbox: Sandbox) -> None:
    """It has a session of its own and none of the variables: it descends from what does."""
    serve = """
import os, subprocess, sys
port = {"SAGEMAKER_BIND_TO_PORT": os.environ["SAGEMAKER_BIND_TO_PORT"]}
subprocess.run([sys.executable, sys.path[0] + "/stub.py"], env=port, start_new_session=True)
"""
    engine = process_engine(tmp_path, sandbox=sandbox, image=_image_with(tmp_path, serve))
    await engine.open()
    try:
        [address] = await engine.start(spec())
        assert await engine.recognise(int(address.rpartition(":")[2]))
    finally:
        await engine.close(grace_s=1)


def test_a_listener_whose_owner_was_not_seen_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are listed after their owners: one that came between has none. It is no foreign one for that."""
    real, looks = psutil.net_connections, 0

    def connections(kind: str) -> list[Any]:
        nonlocal looks
        looks += 1
        return [each._replace(pid=None) if looks == 1 else each for each in real(kind)]

    monkeypatch.setattr(psutil, "net_connections", connections)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert listener_is_ours(port, os.getsid(0), "no token") is True
        assert looks == 2
        assert listener_is_ours(port, NOBODY, "no token") is False
    assert listener_is_ours(port, os.getsid(0), "no token") is None


class _Ports(PortRange):
    """Hands out given ports without looking; None stands for a really free one."""

    def __init__(self, given: list[int | None]) -> None:
        super().__init__(20000, 29999)
        self._given = given

    def take(self, count: int = 1) -> range:
        given = self._given.pop(0)
        return super().take(count) if given is None else range(given, given + count)


async def test_a_server_that_never_listens_runs_out_of_time(engine: ProcessEngine, tmp_path: Path) -> None:
    with pytest.raises(InstanceStartError, match=r"did not pass the ping health check\..*within 1 seconds"):
        await engine.start(spec(startup_timeout_s=1, STUB_LISTEN_AFTER_S="60"))
    assert await engine.observe() == []
    assert not (tmp_path / "instances/i-1").exists()


async def test_cancelling_a_start_leaves_nothing_behind(engine: ProcessEngine, tmp_path: Path) -> None:
    starting = asyncio.create_task(engine.start(spec(STUB_LISTEN_AFTER_S="60", STUB_CHILD="1")))
    log = tmp_path / "logs/my-endpoint/AllTraffic/i-1.log"
    await until(lambda: log.exists() and "child" in log.read_text())
    child = process_of(tmp_path, int(log.read_text().split()[1]))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert has_ended(child)
    assert await engine.observe() == []
    assert not (tmp_path / "instances/i-1").exists()


async def test_stopping_ends_a_start_under_way(engine: ProcessEngine, tmp_path: Path) -> None:
    starting = asyncio.create_task(engine.start(spec(STUB_LISTEN_AFTER_S="60")))
    await until((tmp_path / "logs/my-endpoint/AllTraffic/i-1.log").exists)
    await engine.stop("i-1")
    with pytest.raises(InstanceStartError, match="stopped while it was starting"):
        await starting


async def test_closing_ends_a_start_under_way(engine: ProcessEngine, tmp_path: Path) -> None:
    starting = asyncio.create_task(engine.start(spec(STUB_LISTEN_AFTER_S="60")))
    await until((tmp_path / "logs/my-endpoint/AllTraffic/i-1.log").exists)
    await engine.close(grace_s=1)
    assert processes_of(tmp_path) == []
    with pytest.raises(InstanceStartError, match="stopped while it was starting"):
        await starting


async def test_what_is_born_while_the_rest_may_end_is_killed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a child that has forgotten its token: it is known by its session, as long as the one who leads that lives."""
    serve = """
import os, runpy, signal, subprocess, sys
def bear(*_):
    child = subprocess.Popen(["sleep", "600"], env={})
    print("child", child.pid, flush=True)
signal.signal(signal.SIGTERM, bear)
runpy.run_path(sys.path[0] + "/stub.py", run_name="__main__")
"""
    engine = process_engine(tmp_path, image=_image_with(tmp_path, serve))
    await engine.open()
    await engine.start(spec())
    log = tmp_path / "logs/my-endpoint/AllTraffic/i-1.log"

    async def grace(members: list[psutil.Process], within_s: float) -> list[psutil.Process]:
        await until(lambda: "child" in log.read_text())
        return alive(members)

    monkeypatch.setattr(containers, "gone", grace)
    await engine.stop("i-1")
    child = int(log.read_text().rpartition("child ")[2])
    await until(lambda: has_ended_by_number(child))  # nobody waits for it here: it is killed, and soon gone


def _image_with(directory: Path, serve: str) -> Path:
    """The stub image with something before the stub, which is ``stub.py`` then."""
    image = directory / "image"
    shutil.copytree(STUB_IMAGE, image)
    (image / "serve.py").rename(image / "stub.py")
    (image / "serve.py").write_text(serve)
    return image


def has_ended_by_number(pid: int) -> bool:
    try:
        return has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


async def test_an_ended_instance_can_be_started_anew(engine: ProcessEngine) -> None:
    await engine.start(spec(STUB_CRASH="no"))
    await engine.start(spec())
    [status] = await engine.observe()
    assert status.exit_code is None


@pytest.mark.parametrize("instance_id", ["", ".", "..", "a/b", "../up"])
async def test_an_id_is_never_a_path(engine: ProcessEngine, instance_id: str) -> None:
    with pytest.raises(InstanceStartError):
        await engine.start(spec(instance_id))
    assert await engine.log_tail(instance_id, 5) == ()


async def test_a_nul_in_the_environment_is_refused(engine: ProcessEngine) -> None:
    with pytest.raises(InstanceStartError, match="Environment"):
        await engine.start(spec(BAD="a\0b"))


@pytest.mark.parametrize("name", SANDBOXES)
async def test_a_killed_server_takes_its_instances_along(tmp_path: Path, name: str) -> None:
    """The instance dies with its server. Its child, in a session of its own, dies with the sandbox; without one it is ended by
    the next server of the directory."""
    await sandbox_of(name, tmp_path)
    helper = Path(__file__).parents[3] / "support/engine_process.py"
    command = (sys.executable, str(helper), str(tmp_path), name)
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    bystander = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import time; time.sleep(600)", env={TOKEN_VARIABLE: "another-directory/i-1"}
    )
    try:
        assert server.stdout is not None
        while not (line := await server.stdout.readline()).startswith(b"child "):
            assert line, "the helper ended"
        child = process_of(tmp_path, int(line.split()[1]))
        leader = psutil.Process(child.ppid())
        server.kill()
        await server.wait()
        await until(lambda: has_ended(leader))
        if name == "bubblewrap":
            await until(lambda: has_ended(child))
        else:
            assert not has_ended(child)
        await process_engine(tmp_path).open()
        assert has_ended(child)
        assert not (tmp_path / "instances").exists()
        assert not has_ended(psutil.Process(bystander.pid))
    finally:
        for process in (server, bystander):
            if process.returncode is None:
                process.kill()
            await process.wait()
        await process_engine(tmp_path).open()  # ends what a failed test has left


async def test_what_is_quoted_of_a_log_does_not_have_the_token(engine: ProcessEngine, tmp_path: Path) -> None:
    token = (tmp_path / "engine-token").read_text()
    [address] = await engine.start(spec())
    await seen_by(address, f"import os, sys; print(os.environ['{TOKEN_VARIABLE}'] + '\\0,', flush=True); seen = 1")
    tail = await engine.log_tail("i-1", 5)
    assert tail[-1] == "***,"
    assert token not in " ".join(tail)


def test_a_program_at_another_address_does_not_take_a_port_where_there_is_no_better_one() -> None:
    """Else a model could take the whole range by listening at 127.0.0.2, and nothing could be started any more."""
    port = _free_ports(2)
    ports = PortRange(port, port + 1)
    with socket.create_server(("127.0.0.2", port)):
        assert [list(ports.take()), list(ports.take())] == [[port + 1], [port]]
        with pytest.raises(InstanceStartError, match="No free port"):
            ports.take()


def _free_ports(count: int) -> int:
    """The first of some free ports in a row, outside the range that the system gives to anybody who asks for one."""
    for port in range(12000 + os.getpid() % 1000 * 5, 19990, count):
        try:
            for each in range(port, port + count):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
    raise AssertionError(f"there are no {count} free ports in a row")


def test_ports_are_unique_and_taken_ones_are_skipped() -> None:
    port = _free_ports(2)
    with socket.create_server(("127.0.0.1", port)):
        ports = PortRange(port, port + 1)
        taken = ports.take()
        assert list(taken) == [port + 1]
        with pytest.raises(InstanceStartError, match="No free port"):
            ports.take()
        ports.give_back(taken)
        assert ports.take() == taken


def test_ports_come_in_a_row_or_not_at_all() -> None:
    first = _free_ports(5)
    ports = PortRange(first, first + 4)
    one, two = ports.take(2), ports.take(2)
    assert len({*one, *two}) == 4
    assert all(len(each) == 2 and each[1] == each[0] + 1 and first <= each[0] < first + 4 for each in (one, two))
    with pytest.raises(InstanceStartError, match="No 2 free ports in a row"):
        ports.take(2)
    ports.give_back(two)
    assert len(ports.take(2)) == 2


async def test_an_image_gets_the_ports_that_it_asks_for(tmp_path: Path, sandbox: Sandbox) -> None:
    image = tmp_path / "image"
    shutil.copytree(STUB_IMAGE, image)
    text = (image / "image.toml").read_text()
    listed = 'repositories = ["stub"]\nports = ["metrics", "grpc"]'
    changed = text.replace('repositories = ["stub"]', listed) + '\n[environment]\nMETRICS = "http://127.0.0.1:{port.metrics}"\n'
    (image / "image.toml").write_text(changed + 'GRPC = "{port.grpc}"\nSELF = "{port}"\n')
    engine = process_engine(tmp_path, sandbox=sandbox, image=image)
    await engine.open()
    try:
        seen = []
        for name in ("i-1", "i-2"):
            [address] = await engine.start(spec(name))
            seen.append(await get_json(f"{address}/environment"))
    finally:
        await engine.close(grace_s=1)
    for one in seen:
        own = int(one["SAGEMAKER_BIND_TO_PORT"])
        assert (one["SELF"], one["METRICS"], one["GRPC"]) == (str(own), f"http://127.0.0.1:{own + 1}", str(own + 2))
        assert one["SAGEMAKER_SAFE_PORT_RANGE"] == f"{own + 1}-{own + 2}"
    assert abs(int(seen[0]["SELF"]) - int(seen[1]["SELF"])) >= 3


async def test_the_models_variables_win_over_the_images_and_those_over_ours(tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(STUB_IMAGE, image)
    with (image / "image.toml").open("a") as text:
        text.write('[environment]\nBOTH = "image"\nIMAGES = "image"\nLANG = "image"\nAWS_REGION = "image"\n')
    engine = process_engine(tmp_path, image=image)
    await engine.open()
    try:
        [address] = await engine.start(spec(BOTH="model", MODELS="model"))
        seen = await get_json(f"{address}/environment")
    finally:
        await engine.close(grace_s=1)
    assert [seen[name] for name in ("BOTH", "IMAGES", "MODELS", "LANG")] == ["model", "image", "model", "image"]
    assert seen["AWS_REGION"] == "eu-central-1", "what the platform alone knows is last"


@pytest.mark.parametrize(("first", "last"), [(0, 10), (10, 9), (1, 65536), (-5, -1)])
def test_a_senseless_range_is_refused(first: int, last: int) -> None:
    with pytest.raises(InvalidRequest, match="range of TCP ports"):
        PortRange(first, last)


# --------------------------------------------------------------------------------------------------------------- pipelines


def processes_of(directory: Path) -> list[psutil.Process]:
    return carriers((directory / "engine-token").read_text().strip())


async def test_containers_of_a_pipeline_have_homes_ports_and_logs_of_their_own(engine: ProcessEngine) -> None:
    first, second = await engine.start(pipeline(2, NAME="second"))
    one, two = await get_json(f"{first}/environment"), await get_json(f"{second}/environment")
    assert one["SAGEMAKER_BIND_TO_PORT"] != two["SAGEMAKER_BIND_TO_PORT"]
    assert (one.get("NAME"), two["NAME"]) == (None, "second")
    for name in ("HOME", "TMPDIR", "SAGEMAKER_BASE_DIR"):
        await seen_by(first, f"import os; seen = open(os.environ[{name!r}] + '/mine', 'w').close()")
        assert not await seen_by(second, f"import os; seen = os.path.exists(os.environ[{name!r}] + '/mine')")
    told = await engine.log_tail("i-1", 10)
    assert {line.split(":")[0] for line in told} == {"container-1", "container-2"}


async def test_one_container_that_ends_is_seen_and_the_rest_is_stopped(engine: ProcessEngine, tmp_path: Path) -> None:
    await engine.start(pipeline(3, STUB_CRASH="no such weights"))
    assert await ended(engine) == 3
    assert "container-3: no such weights" in await engine.log_tail("i-1", 5)
    await engine.stop("i-1", grace_s=5)
    assert processes_of(tmp_path) == []


async def test_a_pipeline_has_run_since_its_last_container_was_started(engine: ProcessEngine) -> None:
    """Its window to become healthy begins there."""
    await engine.start(pipeline(2))
    now = time.monotonic()
    first, last = engine._running["i-1"]
    engine._running["i-1"] = (replace(first, started_at=now - 1000), replace(last, started_at=now))
    [status] = await engine.observe()
    assert status.running_s < 1000


async def test_a_pipeline_that_cannot_be_started_leaves_nothing(engine: ProcessEngine, tmp_path: Path) -> None:
    broken = pipeline(2)
    broken = replace(broken, containers=(broken.containers[0], replace(broken.containers[1], image="nothing:1")))
    with pytest.raises(ImageNotFound):
        await engine.start(broken)
    assert await engine.observe() == []
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "instances").iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------- capacity


async def test_more_instances_of_a_type_than_there_is_room_for_are_refused_before_anything_happens(tmp_path: Path) -> None:
    engine = process_engine(tmp_path, room=Room(PlacementRules(instances_max={"ml.m5.*": 1, "*": 0})))
    await engine.open()
    try:
        await engine.start(spec("i-1"))
        with pytest.raises(InsufficientCapacity, match=r"CapacityError: .*At most 1 instances of ml\.m5\.\*"):
            await engine.start(spec("i-2"))
        with pytest.raises(InsufficientCapacity, match="At most 0 instances"):
            await engine.start(replace(spec("i-3"), instance_type="ml.g5.xlarge"))
        assert {status.instance_id for status in await engine.observe()} == {"i-1"}
        await engine.start(spec("i-1"))
        await engine.stop("i-1", grace_s=5)
        await engine.start(spec("i-2"))
    finally:
        await engine.close(grace_s=1)


async def test_an_instance_that_is_started_anew_keeps_its_room(tmp_path: Path) -> None:
    engine = process_engine(tmp_path, room=Room(PlacementRules(instances_max={"*": 1})))
    await engine.open()
    try:
        await engine.start(spec("i-1", STUB_CRASH="no"))
        await engine.start(spec("i-1"))
        with pytest.raises(InsufficientCapacity):
            await engine.start(spec("i-2"))
    finally:
        await engine.close(grace_s=1)


async def test_a_start_that_fails_gives_its_room_back(tmp_path: Path) -> None:
    engine = process_engine(tmp_path, room=Room(PlacementRules(instances_max={"*": 1})))
    await engine.open()
    try:
        with pytest.raises(ImageNotFound):
            await engine.start(replace(spec("i-1"), containers=(ContainerSpec(image="nothing:1"),)))
        await engine.start(spec("i-2"))
    finally:
        await engine.close(grace_s=1)
