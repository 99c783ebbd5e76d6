"""From an S3 object to an S3 object and a notification row, for a model that answers at once."""

import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import time
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


def measure(server: ServerProcess, invocations: int) -> dict[str, Any]:
    """A full queue for the rate, an empty one for the latency, direct calls to the same model server beside them."""
    deploy.endpoint(server, instances=1)
    server.client("s3").put_object(Bucket=deploy.BUCKET, Key="in", Body=BODY, ContentType="text/plain")
    location = f"s3://{deploy.BUCKET}/in"
    directory = DataDirectory(server.data_dir)
    full = asyncio.run(full_queue(server, sign_invocations(directory, deploy.NAME, [location] * invocations)))
    empty = asyncio.run(_empty(server, sign_invocations(directory, deploy.NAME, [location] * ONE_BY_ONE)))
    return {"full": full, "empty": empty, "direct": asyncio.run(_direct(invocations))}


async def full_queue(server: ServerProcess, requests: list[Signed]) -> dict[str, Any]:
    """All at once, until all are Completed; nothing else has been asked of this server before."""
    limit = asyncio.Semaphore(64)
    cpu = Cpu.of(server.pid)
    async with aiohttp.ClientSession(server.url) as session:

        async def send(request: Signed) -> None:
            async with limit, session.post(request.path, headers=request.headers) as answer:
                assert answer.status == 202, await answer.text()

        begun = time.perf_counter()
        await asyncio.gather(*(send(request) for request in requests))
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
