"""Redis and PostgreSQL for one measurement: data in a temporary directory, loopback only, ended with it."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S_MAX = 30.0


def missing() -> list[str]:
    """Debian packages that are needed and not here."""
    found = {"redis-server": shutil.which("redis-server"), "postgresql": _postgres_programs()}
    return [package for package, program in found.items() if not program]


@contextmanager
def redis(directory: Path) -> Iterator[str]:
    """A Redis that has each write on disk before it answers; its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    process = subprocess.Popen([*command, *durable], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_listening(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """A PostgreSQL with its own defaults, which are durable; its connection string. It refuses to run as root."""
    programs, port, data = _postgres_programs(), free_port(), directory / "postgres"
    account = _account()
    data.mkdir()
    for path in (directory, data):
        os.chown(path, account.pw_uid, account.pw_gid)
    as_account = {"user": account.pw_uid, "group": account.pw_gid, "cwd": data}
    initdb = [f"{programs}/initdb", "-D", str(data), "-A", "trust", "-U", "bench", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, **as_account)  # type: ignore[call-overload]
    command = [f"{programs}/postgres", "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_account)  # type: ignore[call-overload]
    try:
        until_listening(port)
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def moto(program: Path) -> Iterator[str]:
    """The server of moto, which keeps objects in memory; its URL."""
    port = free_port()
    process = subprocess.Popen([program, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _postgres_programs() -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return str(found[-1]) if found else None


def _account() -> pwd.struct_passwd:
    return pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until_listening(port: int) -> None:
    """Wait until something listens on the port."""
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
