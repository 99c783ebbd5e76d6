"""Runs everything and prints ratios; the raw figures go to bench/results/<time>.json."""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.support.server_process import ServerProcess

from bench import accept, end_to_end
from bench.load import require_wrk

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--seconds", type=int, default=8, help="length of each accept run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of bare and tarry")
    parser.add_argument("--invocations", type=int, default=1000, help="how many end to end")
    parser.add_argument("--only", choices=("accept", "end-to-end"), help="one part alone")
    options = parser.parse_args()
    require_wrk()
    console = Console()
    raw: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
    }
    with tempfile.TemporaryDirectory(prefix="tarry-bench-") as directory:
        if options.only in (None, "accept"):
            with ServerProcess(Path(directory) / "accept") as server, console.status("accepting"):
                raw["accept"] = accept.measure(server, options.seconds, options.rounds)
        if options.only in (None, "end-to-end"):
            with ServerProcess(Path(directory) / "end-to-end") as server, console.status("end to end"):
                raw["end_to_end"] = end_to_end.measure(server, options.invocations)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{raw['when'].replace(':', '')}.json"
    path.write_text(json.dumps(raw, indent=2) + "\n")
    _show(console, raw)
    console.print(f"raw figures: {path}")


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _show(console: Console, raw: dict[str, Any]) -> None:
    if "accept" in raw:
        _show_accept(console, raw["accept"])
    if "end_to_end" in raw:
        _show_end_to_end(console, raw["end_to_end"])


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
