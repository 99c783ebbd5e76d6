"""What many endpoints cost: the same server with few and with many in service, an instance each, idle and at work."""

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.support.server_process import ServerProcess

from bench import deploy, end_to_end
from bench.process import Cpu, resident_bytes
from bench.signed import Signed, sign_invocations
from tarry.bootstrap.directory import DataDirectory


def measure(directory: Path, counts: tuple[int, ...], invocations: int, idle_s: float) -> dict[str, Any]:
    """For each count a server of its own: its CPU while nothing is asked of it, then all endpoints in turn with a full queue."""
    runs: dict[str, Any] = {}
    for count in counts:
        with ServerProcess(directory / str(count)) as server:
            runs[str(count)] = _run(server, count, invocations, idle_s)
    return runs


def _run(server: ServerProcess, count: int, invocations: int, idle_s: float) -> dict[str, Any]:
    names = [f"{deploy.NAME}-{number}" for number in range(count)]
    begun = time.perf_counter()
    deploy.endpoints(server, names)
    deployed_s = time.perf_counter() - begun
    server.client("s3").put_object(Bucket=deploy.BUCKET, Key="in", Body=end_to_end.BODY, ContentType="text/plain")
    requests = _requests(server, names, invocations)
    idle = Cpu.of(server.pid)
    time.sleep(idle_s)
    return {
        "deployed_s": deployed_s,
        "idle_cpu_us_per_second": Cpu.of(server.pid).since(idle, idle_s),
        "bytes": resident_bytes(server.pid),
        "full": asyncio.run(end_to_end.full_queue(server, requests)),
    }


def _requests(server: ServerProcess, names: list[str], invocations: int) -> list[Signed]:
    """As many for each endpoint, in turn: the first of each, then the second of each."""
    directory, location = DataDirectory(server.data_dir), f"s3://{deploy.BUCKET}/in"
    each = [sign_invocations(directory, name, [location] * (invocations // len(names))) for name in names]
    return [request for turn in zip(*each, strict=True) for request in turn]
