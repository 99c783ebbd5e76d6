"""Raw figures as tables of ratios."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Raw = dict[str, Any]
MIB = 1024 * 1024
_SECONDS = ("in_service_s", "answered_s")
CPU = ("all", "loop", "writer", "others")


def show(console: Console, raw: Raw) -> None:
    """Print a table for each part that was measured."""
    for part, table_of in _TABLES.items():
        if part not in raw:
            continue
        if "skipped" in raw[part]:
            console.print(f"[yellow]{part} was not measured:[/] {raw[part]['skipped']}")
        else:
            console.print(table_of(raw))


def _accept(raw: Raw) -> Table:
    bare, plain, tarry = (raw["accept"][name] for name in ("bare", "bare_plain", "tarry"))
    table = _table(
        "accepted invocations, signed and durable, 64 connections (medians)",
        ("", "per second", "p50 ms", "p99 ms", "server CPU µs", "wrk cores", "of bare", "of plain"),
    )
    for name, runs in (("bare ASGI", bare), ("plain: bare ASGI, uvicorn without extras", plain), ("tarry", tarry)):
        figures = [f"{_median(runs, key):,.1f}" for key in ("p50_ms", "p99_ms", "server_cpu_us", "wrk_cores")]
        ratios = (f"{_median(runs, 'per_second') / _median(of, 'per_second'):.2f}" for of in (bare, plain))
        table.add_row(name, f"{_median(runs, 'per_second'):,.0f}", *figures, *ratios)
    return table


def _end_to_end(raw: Raw) -> Table:
    ended = raw["end-to-end"]
    direct, full, filled, empty = (ended[name] for name in ("direct", "full", "filled", "empty"))
    table = _table(
        "end to end: S3 in, model that answers at once, S3 out, notification row",
        ("", "per second", "p50 ms", "p99 ms", "of direct", *_cpu_columns()),
    )
    nothing = [""] * len(CPU)
    rate = direct["per_second"]
    quantiles = (f"{direct['p50_ms']:.2f}", f"{direct['p99_ms']:.2f}")
    table.add_row("direct calls, one after another", f"{rate:,.0f}", *quantiles, "1.00", *nothing)
    for name, runs in (("accepted meanwhile", full), ("filled before", filled)):
        for at_once, run in runs.items():
            figures = (f"{run['per_second']:,.0f}", "", "", f"{run['per_second'] / rate:.2f}")
            table.add_row(f"tarry, full queue, {name}, {at_once} at once", *figures, *_cpu(run["server_cpu_us"]))
    table.add_row("tarry, empty queue", "", f"{empty['p50_ms']:.2f}", f"{empty['p99_ms']:.2f}", "", *nothing)
    return table


def _peers(raw: Raw) -> Table:
    runs = raw["peers"]
    filled = raw["end-to-end"]["filled"] if "end-to-end" in raw else {}
    accepted = _median(raw["accept"]["tarry"], "per_second") if "accept" in raw else None
    columns = ("tarry accepts so many times as many", *(f"works off, {at_once} at once" for at_once in filled))
    table = _table("what people run today, the same load", ("", "per second", *columns))
    names = {"celery": "celery", "celery_results": "celery that keeps results", "procrastinate": "procrastinate"}
    for key, name in names.items():
        rate = _median(runs[key], "per_second")
        table.add_row(f"accepting: FastAPI + {name}", f"{rate:,.0f}", f"{accepted / rate:.1f}" if accepted else "")
    for store, by_processes in runs["end_to_end"].items():
        for processes, run in by_processes.items():
            ratios = (f"{ours['per_second'] / run['per_second']:.1f}" for ours in filled.values())
            name = f"end to end: Celery, {processes} processes, boto3, {store}"
            table.add_row(name, f"{run['per_second']:,.0f}", "", *ratios)
    return table


def _backlog(raw: Raw) -> Table:
    table = _table(
        "the same work with so many queued, nothing accepted meanwhile (medians of interleaved runs)",
        ("queued", "per second", "of the first", *_cpu_columns(), "start s", "MiB"),
    )
    first = _median(next(iter(raw["backlog"].values())), "per_second")
    for count, runs in raw["backlog"].items():
        rate = _median(runs, "per_second")
        cpu = _cpu({name: statistics.median(run["server_cpu_us"][name] for run in runs) for name in CPU})
        start_s, resident = f"{_median(runs, 'start_s'):.1f}", _mib(_median(runs, "bytes"))
        table.add_row(f"{int(count):,}", f"{rate:,.0f}", f"{rate / first:.2f}", *cpu, start_s, resident)
    return table


def _start(raw: Raw) -> Table:
    runs = raw["start"]
    table = _table("start of the server, with nothing queued (medians)", ("", "s", "CPU s", "MiB afterwards"))
    table.add_row("new data directory", f"{statistics.median(runs['new_s']):.2f}", "", "")
    again = (f"{statistics.median(runs[key]):.2f}" for key in ("again_s", "again_cpu_s"))
    table.add_row("again, with an endpoint", *again, _mib(statistics.median(runs["bytes"])))
    return table


def _memory(raw: Raw) -> Table:
    table = _table("memory of the server while requests queue up", ("queued", "MiB"))
    for sample in raw["memory"]["samples"]:
        table.add_row(f"{sample['queued']:,}", _mib(sample["bytes"]))
    table.add_row("for each 100,000 more", _mib(raw["memory"]["bytes_per_100000"]))
    return table


def _endpoints(raw: Raw) -> Table:
    runs = raw["endpoints"]
    table = _table(
        "endpoints in service, an instance each: idle, then all of them with a full queue",
        ("endpoints", "idle: ms of CPU a second", "for each endpoint", "per second", "of the first", *_cpu_columns(), "MiB"),
    )
    first = next(iter(runs.values()))["full"]["per_second"]
    for count, run in runs.items():
        idle_ms, rate = run["idle_cpu_us_per_second"]["all"] / 1000, run["full"]["per_second"]
        idle = (f"{idle_ms:.1f}", f"{idle_ms / int(count):.2f}")
        cpu = _cpu(run["full"]["server_cpu_us"])
        table.add_row(count, *idle, f"{rate:,.0f}", f"{rate / first:.2f}", *cpu, _mib(run["bytes"]))
    return table


def _stacks(raw: Raw) -> Table:
    table = _table(
        "from CreateEndpoint on, in seconds: with the environment being built, and again (medians)",
        ("stack", "first: InService", "first answer", "again: InService", "first answer", "not measured"),
    )
    for name, runs in raw["stacks"].items():
        if "skipped" in runs:
            table.add_row(name, "", "", "", "", runs["skipped"][:100])
            continue
        first = [f"{runs['first'][key]:.1f}" if "first" in runs else "" for key in _SECONDS]
        table.add_row(name, *first, *(f"{_median(runs['again'], key):.1f}" for key in _SECONDS), "")
    return table


_TABLES: Mapping[str, Callable[[Raw], Table]] = {
    "accept": _accept,
    "end-to-end": _end_to_end,
    "peers": _peers,
    "backlog": _backlog,
    "start": _start,
    "memory": _memory,
    "endpoints": _endpoints,
    "stacks": _stacks,
}


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _median(runs: Sequence[Raw], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _cpu_columns() -> Sequence[str]:
    """The server's CPU for one invocation: all of it, then by thread."""
    return ("server CPU µs", *CPU[1:])


def _cpu(cpu_us: Mapping[str, float]) -> Sequence[str]:
    return [f"{cpu_us[name]:,.0f}" for name in CPU]


def _mib(size: float) -> str:
    return f"{size / MIB:,.1f}"
