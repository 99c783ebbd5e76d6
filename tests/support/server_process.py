"""A real `tarry serve` process for journeys and benchmarks: started, killed, started again on the same directory."""

import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.config import Config

from tarry.aws.specs import EXTENSIONS
from tarry.bootstrap.directory import DataDirectory

START_S_MAX = 60
STUB_IMAGE = Path(__file__).parent / "images" / "stub"


class Process(Protocol):
    """What a server runs in; `subprocess.Popen` is one."""

    pid: int

    def kill(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class ServerProcess:
    """One server on one data directory. It says that it is ready through NOTIFY_SOCKET, so nobody has to poll."""

    def __init__(self, data_dir: Path, *flags: str, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.flags = flags
        self.settings = dict(settings or {})
        self.process: Process | None = None
        self.log = data_dir.with_name(f"{data_dir.name}.log")

    def start(self) -> "ServerProcess":
        """Start and wait until it is ready; AssertionError with its log if it does not become so."""
        with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(f"{directory}/ready")
            self.process = self._spawn({"NOTIFY_SOCKET": f"{directory}/ready"})
            ended = os.pidfd_open(self.process.pid)
            try:
                said, _, _ = select.select([ready.fileno(), ended], [], [], START_S_MAX)
            finally:
                os.close(ended)
            if ready.fileno() not in said:
                self.kill()
                raise AssertionError(f"not ready within {START_S_MAX} s, or ended:\n{self.log.read_text()}")
            assert ready.recv(64).startswith(b"READY=1")
        return self

    def run_to_end(self) -> tuple[int, str]:
        """Start one that is expected to refuse; its exit code and what it said."""
        process = self._spawn({})
        code = process.wait(START_S_MAX)
        return code, self.log.read_text()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop:\n{self.log.read_text()}") from None

    def wait_for_log(self, words: str) -> None:
        """Wait until the server has said this."""
        deadline = time.monotonic() + START_S_MAX
        while words not in self.log.read_text():
            assert time.monotonic() < deadline, f"never said {words!r}:\n{self.log.read_text()}"
            os.sched_yield()

    @property
    def url(self) -> str:
        """Where it listens."""
        return DataDirectory(self.data_dir).read_server().url

    @property
    def pid(self) -> int:
        """The process that was started last."""
        assert self.process is not None
        return self.process.pid

    def client(self, service: str, **config: Any) -> Any:
        """An unmodified boto3 client for it."""
        directory = DataDirectory(self.data_dir)
        key, secret = directory.read_credentials()
        if service == "tarry":
            boto3.setup_default_session()
            loader = boto3.DEFAULT_SESSION._session.get_component("data_loader")
            loader.search_paths.insert(0, str(EXTENSIONS))
        return boto3.client(
            service,
            region_name=directory.read_region(),
            endpoint_url=self.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=50, **config),
        )

    def __enter__(self) -> "ServerProcess":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, extra: Mapping[str, str]) -> Process:
        with self.log.open("ab") as log:
            command = (sys.executable, "-m", "tarry", *self._arguments())
            return subprocess.Popen(command, env=self._environ(extra), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _arguments(self) -> Sequence[str]:
        return ("serve", "--data-dir", str(self.data_dir), "--port", "0", *self.flags)

    def _environ(self, extra: Mapping[str, str]) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TARRY_"))}
        return environ | {"TARRY_IMAGES__DIRECTORIES": f'["{STUB_IMAGE}"]', **self.settings, **extra}


def count_states(server: ServerProcess) -> list[tuple[str, int]]:
    """How many invocations are in which state, read beside the server."""
    connection = sqlite3.connect(f"file:{server.data_dir / 'tarry.db'}?mode=ro", uri=True)
    try:
        return list(connection.execute("SELECT state, count(*) FROM invocation GROUP BY state").fetchall())
    finally:
        connection.close()


def wait_for_state(server: ServerProcess, state: str) -> None:
    """Wait until some invocation is in this state."""
    deadline = time.monotonic() + START_S_MAX
    while state not in dict(count_states(server)):
        assert time.monotonic() < deadline, f"no invocation became {state}"
        os.sched_yield()
