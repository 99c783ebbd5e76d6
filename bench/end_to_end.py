"""From an S3 object to an S3 object and a notification row, for a model that answers at once."""

import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.server_process import STUB_IMAGE, ServerProcess

from bench import deploy
from bench.process import Cpu
from bench.signed import Signed, sign_invocations
from tarry.bootstrap.directory import DataDirectory

BODY = b"x" * 1000
ONE_BY_ONE = 200
PORT = 29998
AT_ONCE = (4, 64)
"""How many invocations the instance gets at once: as Celery has processes, and as one would set for such a model."""


def measure(directory: Path, invocations: int) -> dict[str, Any]:
    """Rates with a full queue, the latency with an empty one, direct calls to the same model server beside them.

    ``full``: accepted and worked off at the same time. ``filled``: all is queued before the instance starts, and the clock
    runs from the first end to the last, as it does for Celery.
    """
    full, filled = {}, {}
    for at_once in AT_ONCE:
        with ServerProcess(directory / f"full-{at_once}") as server:
            full[str(at_once)] = asyncio.run(full_queue(server, _requests(server, invocations, at_once)))
        with ServerProcess(directory / f"filled-{at_once}") as server:
            filled[str(at_once)] = _filled_queue(server, invocations, at_once)
    with ServerProcess(directory / "empty") as server:
        empty = asyncio.run(_empty(server, _requests(server, ONE_BY_ONE, AT_ONCE[0])))
    return {"full": full, "filled": filled, "empty": empty, "direct": asyncio.run(_direct(invocations))}


def _requests(server: ServerProcess, count: int, at_once: int, instances: int = 1) -> list[Signed]:
    """Deploy, and prepare so many requests for the same object."""
    deploy.endpoint(server, instances=instances, concurrency=at_once)
    server.client("s3").put_object(Bucket=deploy.BUCKET, Key="in", Body=BODY, ContentType="text/plain")
    return sign_invocations(DataDirectory(server.data_dir), deploy.NAME, [f"s3://{deploy.BUCKET}/in"] * count)


async def full_queue(server: ServerProcess, requests: list[Signed]) -> dict[str, Any]:
    """All at once, until all are Completed; nothing else has been asked of this server before."""
    cpu = Cpu.of(server.pid)
    begun = time.perf_counter()
    await _send_all(server, requests)
    accepted_s = time.perf_counter() - begun
    while await asyncio.to_thread(deploy.count, server, "Completed") < len(requests):
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - begun
    return {
        "invocations": len(requests),
        "seconds": seconds,
        "accepted_s": accepted_s,
        "per_second": len(requests) / seconds,
        "server_cpu_us": Cpu.of(server.pid).since(cpu, len(requests)),
    }


async def _send_all(server: ServerProcess, requests: list[Signed]) -> None:
    limit = asyncio.Semaphore(64)
    async with aiohttp.ClientSession(server.url) as session:

        async def send(request: Signed) -> None:
            async with limit, session.post(request.path, headers=request.headers) as answer:
                assert answer.status == 202, await answer.text()

        await asyncio.gather(*(send(request) for request in requests))


def _filled_queue(server: ServerProcess, count: int, at_once: int) -> dict[str, Any]:
    requests = _requests(server, count, at_once, instances=0)
    asyncio.run(_send_all(server, requests))
    cpu = Cpu.of(server.pid)
    deploy.scale(server, instances=1)
    while deploy.count(server, "Completed") < count:
        time.sleep(0.05)
    cpu_us = Cpu.of(server.pid).since(cpu, count)
    connection = sqlite3.connect(f"file:{server.data_dir / 'tarry.db'}?mode=ro", uri=True)
    first_us, last_us = connection.execute("SELECT min(ended_at_us), max(ended_at_us) FROM decision").fetchone()
    connection.close()
    return {"invocations": count, "per_second": (count - 1) / (last_us - first_us) * 1e6, "server_cpu_us": cpu_us}


async def _empty(server: ServerProcess, requests: list[Signed]) -> dict[str, Any]:
    """One at a time; the times are the server's own, from acceptance to the decision."""
    connection = sqlite3.connect(f"file:{server.data_dir / 'tarry.db'}?mode=ro", uri=True)
    times_ms = []
    async with aiohttp.ClientSession(server.url) as session:
        for request in requests:
            async with session.post(request.path, headers=request.headers) as answer:
                invocation_id = answer.headers["X-Tarry-Invocation-Id"]
            times_ms.append(await _ended(connection, invocation_id))
    connection.close()
    return _quantiles(times_ms)


async def _ended(connection: sqlite3.Connection, invocation_id: str) -> float:
    query = """
        SELECT json_extract(decision.outcome, '$.ended_at_us') - json_extract(invocation.request, '$.received_at_us')
        FROM invocation JOIN decision ON decision.invocation_id = invocation.id WHERE invocation.id = ?"""
    while (row := connection.execute(query, (invocation_id,)).fetchone()) is None:
        await asyncio.sleep(0.002)
    return float(row[0]) / 1000


async def _direct(calls: int) -> dict[str, Any]:
    environ = {"PATH": os.environ["PATH"], "SAGEMAKER_BIND_TO_PORT": str(PORT)}
    process = subprocess.Popen([sys.executable, str(STUB_IMAGE / "serve.py")], env=environ, stderr=subprocess.DEVNULL)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{PORT}") as session:
            await _until_healthy(session)
            times_ms = []
            begun = time.perf_counter()
            for _ in range(calls):
                sent = time.perf_counter()
                async with session.post("/invocations", data=BODY, headers={"Content-Type": "text/plain"}) as answer:
                    assert await answer.read() == BODY
                times_ms.append((time.perf_counter() - sent) * 1000)
            seconds = time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()
    return {"calls": calls, "per_second": calls / seconds, **_quantiles(times_ms)}


async def _until_healthy(session: aiohttp.ClientSession) -> None:
    for _ in range(200):
        try:
            async with session.get("/ping") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.05)
    raise SystemExit("the stub model server did not start")


def _quantiles(times_ms: list[float]) -> dict[str, Any]:
    cuts = statistics.quantiles(times_ms, n=100)
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "samples": len(times_ms)}
