"""Model data and containers that mean no good, on a real server: each ends as an error that says why, and nobody else notices.

What archives may not do in detail: tests/unit/backends/test_model_archive.py; what containers answer: tests/contracts.
"""

import asyncio
import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import WaiterError
from tests.support import deploy
from tests.support.command_line import tarry, told
from tests.support.dockerd import STUB_IMAGE, Dockerd
from tests.support.engines import sandbox_of
from tests.support.model_objects import archive_of
from tests.support.server_process import ServerProcess

from tarry.backends.engines.processes import carriers

BUCKET = "hostile"
MIB = 1024 * 1024
FLOOD_MIB = 48
FORKS, PIDS_MAX = 60, 40
ENGINES = ["plain", "bubblewrap", pytest.param("docker", marks=pytest.mark.xdist_group("docker"))]

FLOOD = f"""
import os, threading
def flood():
    for _ in range({FLOOD_MIB} * 16):
        os.write(1, b"x" * 65535 + b"\\n")
    os.write(1, b"the last words\\n")
threading.Thread(target=flood).start()
seen = 1
"""
FORK = f"""
import os, signal, time
def run_away():
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:  # who ends one of them finds another, in a session of its own
            os.setsid()
            time.sleep(0.5)
            if os.fork():
                break
    finally:
        os._exit(0)
seen = 0
for _ in range({FORKS}):
    try:
        if os.fork() == 0:
            run_away()
    except BlockingIOError:
        break
    seen += 1
"""


# ------------------------------------------------------------------------------------------------------------- model data


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def announcing(size: int) -> bytes:
    """An archive with a member that has so many bytes, as it says."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(member("zeros", size=size))  # without its bytes
    return packed.getvalue()


def sparse(size: int) -> bytes:
    """A few bytes that become a file of this size."""
    info = member("holes")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(size), "GNU.sparse.map": "0,0"}
    return archive_of({}, [info])


def digits() -> bytes:
    """An extended header that a regular expression takes hours for, while the whole server waits."""
    body = b"1" * 4_000_000
    header = member("header", tarfile.XHDTYPE, size=len(body)).tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(header + body + b"\0" * (-len(body) % 512) + member("x").tobuf() + b"\0" * 1024)


def without_a_header() -> bytes:
    """An archive whose second member has lost its header."""
    tar = bytearray(gzip.decompress(archive_of({"model": b"1", "weights": b"2"})))
    tar[1024:1536] = bytes(512)
    return gzip.compress(bytes(tar))


ARCHIVES = {
    "a path upwards": (archive_of({"../../evil": b"x"}), 'The member "../../evil" would be written outside of'),
    "a path from the root": (archive_of({"/tmp/tarry-evil": b"x"}), 'The member "/tmp/tarry-evil" would be written outside'),
    "a link out of it": (archive_of({}, [member("out", tarfile.SYMTYPE, "/etc")]), 'The link "out" points to "/etc"'),
    "a file through a link": (
        archive_of({}, [member("d", tarfile.DIRTYPE), member("l", tarfile.SYMTYPE, "d"), member("l/evil")]), 'member'
    ),
    "a hard link out of it": (archive_of({}, [member("out", tarfile.LNKTYPE, "/etc/passwd")]), "/etc/passwd"),
    "a device": (archive_of({}, [member("disk", tarfile.BLKTYPE)]), 'The member "disk" is neither a file'),
    "a pipe": (archive_of({}, [member("pipe", tarfile.FIFOTYPE)]), 'The member "pipe" is neither a file'),
    "a bomb": (announcing(60 * 1024**3), "The model data archive is too large."),
    "a sparse bomb": (sparse(10**13), "The model data archive is too large."),
    "a header of digits": (digits(), "an extended header is larger than any real one: 4000000 bytes, where at most 1048576"),
    "a lost header": (without_a_header(), 'is followed by more than zeros'),
    "no archive": (b"#!/bin/sh\nrm -rf /\n", "It is not a gzip-compressed tar archive, or it is damaged"),
    "half an archive": (archive_of({"model": bytes(range(256)) * 400})[:200], "It is not a gzip-compressed tar archive"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARCHIVES)
def test_a_hostile_archive_fails_its_endpoint_and_leaves_nothing(server: ServerProcess, case: str) -> None:
    archive, words = ARCHIVES[case]
    name = case.replace(" ", "-")
    bucket = deploy.bucket(server, name)
    server.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=archive)
    url = f"s3://{bucket}/model.tar.gz"
    deploy.model(server, name, ModelDataUrl=url)
    deploy.config(server, name, name, bucket)
    reason = _failure(server, name)
    assert reason.startswith(f'Failed to extract model data archive from URL "{url}". ')
    assert words in reason
    assert list((server.data_dir / "models").iterdir()) == []
    assert list((server.data_dir / "instances").iterdir()) == []
    assert not Path("/tmp/tarry-evil").exists()
    assert not list(server.data_dir.rglob("*evil*"))


def _failure(server: ServerProcess, name: str) -> str:
    sagemaker = server.client("sagemaker")
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    with pytest.raises(WaiterError, match="Failed"):
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=deploy.WAITER)
    reason: str = sagemaker.describe_endpoint(EndpointName=name)["FailureReason"]
    return reason


# ------------------------------------------------------------------------------------------------------------- containers


class Hostile:
    """A server on one engine, with an endpoint that behaves."""

    def __init__(self, server: ServerProcess, image: str, dockerd: Dockerd | None) -> None:
        self.server, self._image, self._dockerd = server, image, dockerd
        deploy.bucket(server, BUCKET)
        self.create("calm")
        deploy.in_service(server, "calm")

    def create(self, name: str, startup_s: int = 60, **environment: str) -> None:
        """An endpoint that is asked for."""
        deploy.model(self.server, name, environment, self._image)
        deploy.config(self.server, name, name, BUCKET, startup_s=startup_s)
        self.server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)

    def failure(self, name: str, **environment: str) -> str:
        """Why one that is asked for does not come up."""
        deploy.model(self.server, name, environment, self._image)
        deploy.config(self.server, name, name, BUCKET)
        return _failure(self.server, name)

    def ask(self, name: str, **wishes: object) -> bytes:
        """What an endpoint answers."""
        asked = self.server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, Body=deploy.wish(**wishes))
        return deploy.read(self.server, asked["OutputLocation"])

    def check_others(self) -> None:
        """The endpoint that behaves answers as ever."""
        assert self.ask("calm", answer="as ever") == b"as ever"

    def delete(self, name: str) -> None:
        """Delete an endpoint, and see that nothing is left but what behaves."""
        sagemaker = self.server.client("sagemaker")
        sagemaker.delete_endpoint(EndpointName=name)
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=deploy.WAITER)
        assert self._instances() == self._instances_of("calm")

    def logs(self, name: str) -> list[Path]:
        """The files of an endpoint's logs."""
        return list((self.server.data_dir / "logs" / name).glob("*/*"))

    def _instances_of(self, endpoint: str) -> set[str]:
        return {log["InstanceId"] for log in told(self.server, "logs", endpoint, "--list")}

    def _instances(self) -> set[str]:
        """The instances of which something runs."""
        token = (self.server.data_dir / "engine-token").read_text().strip()
        if self._dockerd is not None:
            names = self._dockerd.containers(f"label=tarry.owner={token}")
            return {self._dockerd.docker("inspect", "-f", '{{index .Config.Labels "tarry.instance"}}', name) for name in names}
        return {process.environ()["_TARRY_INSTANCE"].split("/")[1] for process in carriers(token)}


@pytest.fixture(scope="module", params=ENGINES)
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """One server for each engine, whose logs are short and which is soon out of patience."""
    directory = tmp_path_factory.mktemp(request.param)
    engine = {"log_max_bytes": str(MIB), "stop_grace_s": "1"}
    flags, image, dockerd = (), "stub:1", None
    if request.param == "docker":
        dockerd = request.getfixturevalue("dockerd")
        engine |= {"kind": "docker", "docker_host": dockerd.host, "docker_pids_max": str(PIDS_MAX), "docker_keep": "false"}
        image = STUB_IMAGE
    else:
        asyncio.run(sandbox_of(request.param, directory))
        engine |= {"sandbox": "none" if request.param == "plain" else "bubblewrap"}
    settings = {f"TARRY_ENGINE__{name.upper()}": value for name, value in engine.items()}
    with ServerProcess(directory / "data", *flags, settings=settings) as server:
        yield Hostile(server, image, dockerd)


def test_one_that_ends_at_its_start_is_told_with_its_last_words(hostile: Hostile) -> None:
    reason = hostile.failure("ends", STUB_CRASH="no such weights")
    assert "The primary container for production variant v did not pass the ping health check." in reason
    assert "The model server ended with exit code 3." in reason
    assert reason.endswith("no such weights")
    hostile.check_others()
    hostile.delete("ends")


@pytest.mark.slow
def test_one_that_is_never_ready_is_given_up(hostile: Hostile) -> None:
    """After the shortest time limit that there is: a minute."""
    hostile.create("never", STUB_PING="never")
    waiter = hostile.server.client("sagemaker").get_waiter("endpoint_in_service")
    with pytest.raises(WaiterError, match="Failed"):
        waiter.wait(EndpointName="never", WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    reason = hostile.server.client("sagemaker").describe_endpoint(EndpointName="never")["FailureReason"]
    assert "GET /ping did not answer 200 within 60 s." in reason
    hostile.check_others()
    hostile.delete("never")


def test_one_that_floods_its_log_fills_no_disk(hostile: Hostile) -> None:
    hostile.create("floods")
    deploy.in_service(hostile.server, "floods")
    assert hostile.ask("floods", run=FLOOD) == b"1"
    hostile.check_others()
    while not tarry(hostile.server, "logs", "floods", "--tail", "1").out.endswith("the last words\n"):
        hostile.check_others()
    assert hostile.ask("floods", answer="still here") == b"still here"
    hostile.delete("floods")
    [log] = told(hostile.server, "logs", "floods", "--list")
    assert log["EndOffset"] > FLOOD_MIB * MIB / 2, "what is lost while it is shortened has no place"
    assert sum(file.stat().st_size for file in hostile.logs("floods")) <= 3 * MIB + 1
    assert len(tarry(hostile.server, "logs", "floods").out) <= 3 * MIB + 1


def test_one_that_forks_is_ended_whole(hostile: Hostile) -> None:
    hostile.create("forks")
    deploy.in_service(hostile.server, "forks")
    forks = int(hostile.ask("forks", run=FORK))
    assert forks < PIDS_MAX if hostile._dockerd is not None else forks == FORKS
    hostile.check_others()
    hostile.delete("forks")


def test_one_that_ignores_sigterm_is_killed(hostile: Hostile) -> None:
    hostile.create("stays", STUB_IGNORE_TERM="1", STUB_CHILD="1")
    deploy.in_service(hostile.server, "stays")
    hostile.delete("stays")
    hostile.check_others()
