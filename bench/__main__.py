"""Runs everything and prints ratios; the raw figures go to bench/results/<time>.json."""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.support.server_process import ServerProcess

from bench import accept, backlog, end_to_end
from bench.load import require_wrk
from bench.peers import measure as peers
from bench.signed import Signed

PARTS = ("accept", "end-to-end", "peers", "backlog")
PATH, LOCATION = "/endpoints/bench/async-invocations", "X-Amzn-SageMaker-InputLocation"
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--seconds", type=int, default=8, help="length of each accept run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of bare and tarry")
    parser.add_argument("--invocations", type=int, default=1000, help="how many end to end")
    parser.add_argument("--queued", type=int, default=1_000_000, help="how long the long queue is")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    options = parser.parse_args()
    require_wrk()
    console = Console()
    raw: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
    }
    for part in PARTS if options.only is None else (options.only,):
        with tempfile.TemporaryDirectory(prefix="tarry-bench-") as directory, console.status(part):
            raw[part] = _MEASURES[part](Path(directory), options)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{raw['when'].replace(':', '')}.json"
    path.write_text(json.dumps(raw, indent=2) + "\n")
    _show(console, raw)
    console.print(f"raw figures: {path}")


def _accept(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    with ServerProcess(directory / "data") as server:
        return accept.measure(server, options.seconds, options.rounds)


def _end_to_end(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    with ServerProcess(directory / "data") as server:
        return end_to_end.measure(server, options.invocations)


def _peers(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    if reason := peers.reason_to_skip():
        return {"skipped": reason}
    requests = [Signed(PATH, {LOCATION: f"s3://bucket/in/{number}"}) for number in range(200)]
    runs = peers.accepting(requests, options.seconds, options.rounds)
    with ServerProcess(directory / "data") as store:
        return runs | {"end_to_end": peers.end_to_end(store, options.invocations)}


def _backlog(_directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return backlog.measure((1000, options.queued), 5)


_MEASURES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "accept": _accept,
    "end-to-end": _end_to_end,
    "peers": _peers,
    "backlog": _backlog,
}


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _show(console: Console, raw: dict[str, Any]) -> None:
    if "accept" in raw:
        _show_accept(console, raw["accept"])
    if "end-to-end" in raw:
        _show_end_to_end(console, raw["end-to-end"])
    if "peers" in raw:
        _show_peers(console, raw)
    if "backlog" in raw:
        _show_backlog(console, raw["backlog"])


def _show_peers(console: Console, raw: dict[str, Any]) -> None:
    runs = raw["peers"]
    if "skipped" in runs:
        console.print(f"[yellow]what people run today was not measured:[/] {runs['skipped']}")
        return
    table = Table(title="what people run today, the same load")
    for column in ("", "per second", "tarry is so many times as fast"):
        table.add_column(column, justify="right")
    ours = _median(raw["accept"]["tarry"], "per_second") if "accept" in raw else None
    for name in ("celery", "procrastinate"):
        rate = _median(runs[name], "per_second")
        table.add_row(f"accepting: FastAPI + {name}", f"{rate:,.0f}", f"{ours / rate:.1f}" if ours else "")
    rate, full = runs["end_to_end"]["per_second"], raw.get("end-to-end", {}).get("full", {}).get("per_second")
    table.add_row("end to end: Celery, 4 processes, boto3, the same store", f"{rate:,.0f}", f"{full / rate:.1f}" if full else "")
    console.print(table)


def _show_backlog(console: Console, runs: dict[str, Any]) -> None:
    table = Table(title="the same work with so many queued (medians of interleaved runs)")
    for column in ("queued", "per second", "of the first", "server start s"):
        table.add_column(column, justify="right")
    first = statistics.median(next(iter(runs.values()))["per_second"])
    for count, run in runs.items():
        rate = statistics.median(run["per_second"])
        table.add_row(f"{int(count):,}", f"{rate:,.0f}", f"{rate / first:.2f}", f"{statistics.median(run['start_s']):.1f}")
    console.print(table)


def _show_accept(console: Console, accepted: dict[str, Any]) -> None:
    bare, tarry = accepted["bare"], accepted["tarry"]
    table = Table(title="accepted invocations, signed and durable, 64 connections (medians)")
    for column in ("", "per second", "p50 ms", "p99 ms", "server CPU µs", "wrk cores", "of bare"):
        table.add_column(column, justify="right")
    for name, runs in (("bare ASGI", bare), ("tarry", tarry)):
        figures = [f"{_median(runs, key):,.1f}" for key in ("p50_ms", "p99_ms", "server_cpu_us", "wrk_cores")]
        ratio = f"{_median(runs, 'per_second') / _median(bare, 'per_second'):.2f}"
        table.add_row(name, f"{_median(runs, 'per_second'):,.0f}", *figures, ratio)
    console.print(table)


def _show_end_to_end(console: Console, ended: dict[str, Any]) -> None:
    direct = ended["direct"]["per_second"]
    table = Table(title="end to end: S3 in, model that answers at once, S3 out, notification row")
    for column in ("", "per second", "p50 ms", "p99 ms", "of direct"):
        table.add_column(column, justify="right")
    table.add_row(
        "direct calls, one after another",
        f"{direct:,.0f}",
        f"{ended['direct']['p50_ms']:.2f}",
        f"{ended['direct']['p99_ms']:.2f}",
        "1.00",
    )
    table.add_row(
        "tarry, full queue", f"{ended['full']['per_second']:,.0f}", "", "", f"{ended['full']['per_second'] / direct:.2f}"
    )
    table.add_row("tarry, empty queue", "", f"{ended['empty']['p50_ms']:.2f}", f"{ended['empty']['p99_ms']:.2f}", "")
    console.print(table)


if __name__ == "__main__":
    main()
