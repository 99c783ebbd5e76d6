"""Does a long queue slow the work down? The same work with a short and a long one behind it, in interleaved runs."""

import json
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support.server_process import ServerProcess

from bench import deploy
from bench.process import Cpu, resident_bytes
from tarry.core.invocation import bucket_of

BODY = b"x" * 1000
WARM_UP = 100
MEASURED = 600
_INSERT = (
    "INSERT INTO invocation (id, endpoint_id, bucket, priority, rank_us, received_at_us, state, attempts, lost_attempts, "
    "expires_at_us, request) VALUES (?, ?, ?, 0, ?, ?, 'Queued', 0, 0, ?, ?)"
)
_ENDS = "SELECT json_extract(outcome, '$.ended_at_us') FROM decision WHERE seq > ? ORDER BY seq LIMIT ?"


def measure(counts: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Invocations a second with so many queued, for each round; and what the server takes for them.

    Nothing is accepted meanwhile: its CPU is what the work on an invocation costs, from the claim to the notification.
    """
    runs: dict[str, Any] = {str(count): [] for count in counts}
    with tempfile.TemporaryDirectory(prefix="tarry-bench-") as directory:
        servers = {count: _prepared(Path(directory) / str(count)) for count in counts}
        for _ in range(rounds):
            for count, server in servers.items():
                runs[str(count)].append(_run(server, count))
    return runs


def _prepared(data_dir: Path) -> ServerProcess:
    """An endpoint that wants one instance, with nothing queued; the server stopped."""
    server = ServerProcess(data_dir)
    with server:
        deploy.endpoint(server, instances=1)
        server.client("s3").put_object(Bucket=deploy.BUCKET, Key="in", Body=BODY, ContentType="text/plain")
        runtime = server.client("sagemaker-runtime")
        runtime.invoke_endpoint_async(EndpointName=deploy.NAME, InputLocation=f"s3://{deploy.BUCKET}/in")
        while not deploy.count(server, "Completed"):
            time.sleep(0.05)
    return server


def _run(server: ServerProcess, count: int) -> dict[str, Any]:
    connection = sqlite3.connect(server.data_dir / "tarry.db")
    _fill(connection, count)
    last = _decided(connection)
    begun = time.perf_counter()
    with server:
        start_s = time.perf_counter() - begun
        warm = _wait_for(connection, last + WARM_UP)
        cpu = Cpu.of(server.pid)
        decided = _wait_for(connection, last + WARM_UP + MEASURED)
        cpu_us = Cpu.of(server.pid).since(cpu, decided - warm)
        resident = resident_bytes(server.pid)
    ends = connection.execute(_ENDS, (last, WARM_UP + MEASURED)).fetchall()
    connection.close()
    seconds = (ends[-1][0] - ends[WARM_UP - 1][0]) / 1e6
    return {"per_second": MEASURED / seconds, "server_cpu_us": cpu_us, "start_s": start_s, "bytes": resident}


def _wait_for(connection: sqlite3.Connection, decided: int) -> int:
    """Wait until so many have been decided; how many by then."""
    while (now := _decided(connection)) < decided:
        time.sleep(0.05)
    return now


def _decided(connection: sqlite3.Connection) -> int:
    (last,) = connection.execute("SELECT max(seq) FROM decision").fetchone()
    return int(last)


def _fill(connection: sqlite3.Connection, count: int) -> None:
    """Bring the queue to this length with rows like the one that a real request left."""
    (there,) = connection.execute("SELECT count(*) FROM invocation WHERE state = 'Queued'").fetchone()
    (made, endpoint_id) = connection.execute("SELECT request, endpoint_id FROM invocation ORDER BY seq LIMIT 1").fetchone()
    model = json.loads(made)
    (begin,) = connection.execute("SELECT max(seq) FROM invocation").fetchone()
    connection.executemany(_INSERT, (_row(model, begin + number) for number in range(1, count - there + 1)))
    connection.execute("UPDATE backlog SET queued = ? WHERE endpoint_id = ?", (count, endpoint_id))
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _row(model: dict[str, Any], number: int) -> tuple[Any, ...]:
    invocation_id = f"00000000-0000-4000-8000-{number:012d}"
    now_us = time.time_ns() // 1000
    request = model | {
        "id": invocation_id,
        "bucket": bucket_of(invocation_id),
        "inference_id": invocation_id,
        "received_at_us": now_us,
        "expires_at_us": now_us + 21_600_000_000,
        "output_location": f"s3://{deploy.BUCKET}/out/{invocation_id}.out",
        "failure_location": f"s3://{deploy.BUCKET}/out/{invocation_id}-error.out",
    }
    bucket, expires_at_us = request["bucket"], request["expires_at_us"]
    return (invocation_id, model["endpoint_id"], bucket, now_us, now_us, expires_at_us, json.dumps(request))
