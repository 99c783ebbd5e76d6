"""Runs everything and prints ratios; the raw figures go to bench/results/<time>.json."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.support.server_process import ServerProcess

from bench import accept, backlog, end_to_end, endpoints, memory, stacks, start
from bench.load import require_wrk
from bench.peers import measure as peers
from bench.report import show
from bench.signed import Signed

PATH, LOCATION = "/endpoints/bench/async-invocations", "X-Amzn-SageMaker-InputLocation"
TABLE_WIDTH = 150
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--seconds", type=int, default=8, help="length of each accept run")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds of bare and tarry")
    parser.add_argument("--invocations", type=int, default=1000, help="how many end to end")
    parser.add_argument("--queued", type=int, default=1_000_000, help="how long the long queue is")
    parser.add_argument("--remembered", type=int, default=100_000, help="how many are accepted while memory is measured")
    parser.add_argument("--endpoints", type=int, nargs="+", default=[1, 10, 100], help="how many endpoints are compared")
    parser.add_argument("--idle", type=float, default=20, help="seconds of idleness that are measured")
    parser.add_argument("--stacks", choices=list(stacks.STACKS), nargs="+", default=list(stacks.STACKS), help="which are started")
    parser.add_argument("--environments", type=Path, help="where those of the stacks stand: without it they are built")
    parser.add_argument("--only", choices=list(_MEASURES), nargs="+", default=list(_MEASURES), help="some parts alone")
    options = parser.parse_args()
    require_wrk()
    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    raw: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
    }
    for part in options.only:
        with tempfile.TemporaryDirectory(prefix="tarry-bench-") as directory, console.status(part):
            raw[part] = _MEASURES[part](Path(directory), options)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{raw['when'].replace(':', '')}.json"
    path.write_text(json.dumps(raw, indent=2) + "\n")
    show(console, raw)
    console.print(f"raw figures: {path}")


def _accept(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    with ServerProcess(directory / "data") as server:
        return accept.measure(server, options.seconds, options.rounds)


def _end_to_end(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return end_to_end.measure(directory, options.invocations)


def _peers(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    if reason := peers.reason_to_skip():
        return {"skipped": reason}
    requests = [Signed(PATH, {LOCATION: f"s3://bucket/in/{number}"}) for number in range(200)]
    runs = peers.accepting(requests, options.seconds, options.rounds)
    with ServerProcess(directory / "data") as store:
        ours = peers.end_to_end(store, options.invocations)
    return runs | {"end_to_end": {"Tarry's S3": ours, "moto's S3 server": peers.end_to_end_on_moto(options.invocations)}}


def _backlog(_directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return backlog.measure((1000, options.queued), 5)


def _start(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return start.measure(directory, options.rounds)


def _memory(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    with ServerProcess(directory / "data") as server:
        return memory.measure(server, options.remembered)


def _endpoints(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return endpoints.measure(directory, tuple(options.endpoints), options.invocations, options.idle)


def _stacks(directory: Path, options: argparse.Namespace) -> dict[str, Any]:
    return stacks.measure(directory, options.stacks, options.environments, options.rounds)


_MEASURES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "accept": _accept,
    "end-to-end": _end_to_end,
    "peers": _peers,
    "backlog": _backlog,
    "start": _start,
    "memory": _memory,
    "endpoints": _endpoints,
    "stacks": _stacks,
}


if __name__ == "__main__":
    main()
