"""How long a server takes from its start to being ready, with nothing in its queues; `backlog` has it with long ones."""

import time
from pathlib import Path
from typing import Any

from tests.support.server_process import ServerProcess

from bench import deploy
from bench.process import Cpu, resident_bytes


def measure(directory: Path, rounds: int) -> dict[str, Any]:
    """On a new data directory, where the database is made, and on one with an endpoint; each round has both."""
    runs: dict[str, Any] = {"new_s": [], "again_s": [], "again_cpu_s": [], "bytes": []}
    for number in range(rounds):
        server = ServerProcess(directory / str(number))
        runs["new_s"].append(_start_s(server))
        deploy.endpoint(server, instances=1)
        server.stop()
        runs["again_s"].append(_start_s(server))
        cpu = Cpu.of(server.pid)
        runs["again_cpu_s"].append(cpu.loop_s + cpu.writer_s + cpu.others_s)
        runs["bytes"].append(resident_bytes(server.pid))
        server.stop()
    return runs


def _start_s(server: ServerProcess) -> float:
    begun = time.perf_counter()
    server.start()
    return time.perf_counter() - begun
