"""``tarry logs``: what an endpoint's model servers have printed, whether they run, have ended or never came up.

One log is printed just as it is. Of several, and while they are followed, each line begins with whose it is.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tarry.aws.client import Refusal, call, pages
from tarry.cli import rendering
from tarry.cli.shared import AsJson, DataDir, Server, hint, print_entries, print_json, printable
from tarry.cli.times import read_time
from tarry.core.errors import InvalidRequest

Key = tuple[str, ...]

INTERRUPTED = 130
PAGE_MAX = 1000
READ_BYTES = 1024 * 1024
TAIL_BYTES = 64 * 1024
_LOOK_S = 1.0
_RUNNING = frozenset({"Pending", "Starting", "InService", "Draining"})
_OVER = "ResourceNotFoundException"
_MEMBERS = ("EndpointName", "VariantName", "InstanceId", "ContainerHostname")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose logs. ``instance`` is an id or the beginning of one; ``every``: of those that have ended, too."""

    endpoint: str
    variant: str | None
    instance: str | None
    since: datetime | None
    every: bool


def logs_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint; also of one that has been deleted.")],
    data_dir: DataDir,
    variant: Annotated[str | None, typer.Option(help="Only instances of this variant.", metavar="NAME")] = None,
    instance: Annotated[str | None, typer.Option(help="Only this one: its id, or how that begins.", metavar="ID")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also of instances that have ended.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Only logs that were written to since: 15m, 2h, 3d ago, or a time (UTC).", metavar="TIME")
    ] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Only so many of the last lines of each.", metavar="N")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what comes, until it ends or Ctrl-C.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Only tell which logs there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """What the model servers of an endpoint have printed: those of the instances that run; if none does, of the last one."""
    server = Server.of(data_dir)
    wanted = Wanted(
        endpoint=endpoint,
        variant=variant,
        instance=instance,
        since=None if since is None else read_time(since, datetime.now(UTC)),
        every=every or list_only or instance is not None or since is not None,
    )
    with server.knows_endpoint():
        found = _find(server, wanted)
    if list_only:
        _print_list(found, as_json=as_json)
        return
    chosen = found if wanted.every else _current(found)
    if not chosen and not follow:
        raise InvalidRequest(f"There is no log. `{server.command(f'logs {endpoint} --list')}` shows which there are.")
    printer = _Printer(named=follow or len(chosen) > 1, as_json=as_json)
    try:
        for log in reversed(chosen):
            _print_log(server, log, printer, tail)
        if follow:
            _follow(server, wanted, printer, seen={_key(log) for log in found} - {_key(log) for log in chosen})
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        printer.finish()
    ended = len(found) - len(chosen)
    if ended and not follow:
        hint(f"{ended} more of instances that have ended: --all shows them, --list tells which.")


def _find(server: Server, wanted: Wanted) -> list[dict[str, Any]]:
    """The logs that are wanted, what was written to last first."""
    asked: dict[str, Any] = {"EndpointName": wanted.endpoint, "VariantName": wanted.variant, "WrittenAfter": wanted.since}
    filters = {"MaxResults": PAGE_MAX} | {name: value for name, value in asked.items() if value is not None}
    found = [log for page in pages(server.target, "ListInstanceLogs", **filters) for log in page["InstanceLogs"]]
    return [log for log in found if log["InstanceId"].startswith(wanted.instance or "")]


def _current(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of instances that run, else those of the instance that wrote last: of all its containers."""
    running = [log for log in found if _runs(log)]
    return running or [log for log in found if log["InstanceId"] == found[0]["InstanceId"]]


def _runs(log: dict[str, Any]) -> bool:
    return log.get("InstanceState") in _RUNNING


def _key(log: dict[str, Any]) -> Key:
    return tuple(log.get(name, "") for name in _MEMBERS)


def _follow(server: Server, wanted: Wanted, printer: "_Printer", seen: set[Key]) -> None:
    """Print what comes, of new instances too, until nothing can come any more. ``seen``: what is not to be printed."""
    while True:
        over = _is_over(server, wanted)  # before the look at the logs: what came until then is printed
        found = _find(server, wanted)
        for log in reversed(found):
            if _key(log) not in seen or _runs(log):
                _print_log(server, log, printer)
        if over and not any(map(_runs, found)):
            return
        time.sleep(_LOOK_S)


def _is_over(server: Server, wanted: Wanted) -> bool:
    """Whether no new instance is going to come: one instance is meant, or the endpoint is gone or has failed."""
    if wanted.instance is not None:
        return True
    try:
        status = call(server.target, "DescribeEndpoint", service="sagemaker", EndpointName=wanted.endpoint)["EndpointStatus"]
    except Refusal as error:
        if error.code not in {_OVER, "ValidationException"}:
            raise
        return True
    return bool(status == "Failed")


def _print_log(server: Server, log: dict[str, Any], printer: "_Printer", tail: int | None = None) -> None:
    """Print what has come since it was printed last; the first time all, or the last lines of it."""
    key = _key(log)
    if key not in printer.offsets:
        printer.offsets[key] = log["FirstOffset"] if tail is None else _start_of_last(server, log, tail)
    while True:
        part = _read(server, log, printer.offsets[key], READ_BYTES)
        printer.write(log, part["Content"])
        printer.offsets[key] = part["NextOffset"]
        if part["NextOffset"] >= part["EndOffset"] or not part["Content"]:
            return


def _start_of_last(server: Server, log: dict[str, Any], lines: int) -> int:
    """Where the last lines begin, looked for from the end."""
    end: int = log["EndOffset"]
    if lines == 0:
        return end
    start, count = end, 0
    first: int = log["FirstOffset"]
    while start > first:
        before = max(start - TAIL_BYTES, first)
        content: bytes = _read(server, log, before, start - before)["Content"]
        last = content.endswith(b"\n") and start == end  # the end of the last line begins no other
        breaks = content.count(b"\n") - last
        if count + breaks >= lines:
            place = len(content) - last
            for _ in range(lines - count):
                place = content.rindex(b"\n", 0, place)
            return before + place + 1
        start, count = before, count + breaks
    return start


def _read(server: Server, log: dict[str, Any], offset: int, size: int) -> dict[str, Any]:
    name = {member: log[member] for member in _MEMBERS if member in log}
    return call(server.target, "ReadInstanceLog", **name, Offset=offset, MaxBytes=size)


@dataclass(slots=True)
class _Printer:
    """Writes to standard output: on a terminal nothing that moves its cursor, else every byte as it was printed."""

    named: bool
    as_json: bool
    offsets: dict[Key, int] = field(default_factory=dict)
    """How far each log has been printed."""
    _begun: dict[Key, bytes] = field(default_factory=dict)
    """Lines whose end has not come yet; of a log that is printed by lines."""
    _logs: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def write(self, log: dict[str, Any], content: bytes) -> None:
        """What a log says next."""
        if not (self.named or self.as_json or sys.stdout.isatty()):
            sys.stdout.buffer.write(content)
            return
        key = _key(log)
        self._logs[key] = log
        *lines, begun = (self._begun.get(key, b"") + content).split(b"\n")
        self._begun[key] = begun
        self._print(log, lines)

    def finish(self) -> None:
        """The last lines, which may have no end."""
        for key, begun in self._begun.items():
            self._print(self._logs[key], [begun] if begun else [])
        sys.stdout.flush()

    def _print(self, log: dict[str, Any], lines: Iterable[bytes]) -> None:
        for line in self._shown(log, lines):
            sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    def _shown(self, log: dict[str, Any], lines: Iterable[bytes]) -> Iterator[bytes]:
        whose = f"{rendering.log_owner(log)} | ".encode() if self.named else b""
        name = {member: log[member] for member in _MEMBERS if member in log}
        on_terminal = sys.stdout.isatty()
        for line in lines:
            if self.as_json:
                yield json.dumps({**name, "Line": line.decode(errors="replace")}, ensure_ascii=False).encode()
            elif on_terminal:
                yield printable((whose + line).decode(errors="replace")).encode()
            else:
                yield whose + line


def _print_list(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    print_entries(rendering.LOG_COLUMNS, (rendering.log_entry(log, now) for log in found), flexible=1)
    if not found:
        hint("There is none.")
