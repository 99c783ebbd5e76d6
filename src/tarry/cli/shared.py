"""What the commands that ask a running server have in common: whom they ask, and how they answer people and scripts.

Results go to standard output: tables and colours on a terminal, else one line a row with tabs, or JSON. Everything else
(progress, hints, errors) goes to standard error, so that a pipe holds results only.
"""

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from tarry.aws.client import Refusal, Target
from tarry.bootstrap.directory import DataDirectory
from tarry.cli.rendering import Cell, Entry
from tarry.core.errors import InvalidRequest
from tarry.settings import DATA_DIR_VARIABLE


def no_directory() -> Path:
    """Refuse a command that was not told of which server it asks."""
    raise typer.BadParameter(
        'missing. Name the running server\'s directory, or tell your shell: eval "$(tarry env --data-dir DIR)"'
    )


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar=DATA_DIR_VARIABLE,
        help="Data directory of the running server.",
        file_okay=False,
        show_default=False,
        default_factory=no_directory,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

messages = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
"""Standard error, for people."""
SAY_EVERY_S = 5.0
NOT_FOUND = "ResourceNotFoundException"


def target_of(directory: DataDirectory) -> Target:
    """The running server of a data directory, with its first key. Errors: NoCredentials and those of ``read_server``."""
    server = directory.read_server()
    key_id, secret = directory.read_credentials()
    return Target(
        url=server.url, region=directory.read_region(), access_key_id=key_id, secret=secret, ca_bundle=server.tls_cert or None
    )


def command_on(data_dir: Path, arguments: str) -> str:
    """The command with these arguments on a data directory, as one types it."""
    if os.environ.get(DATA_DIR_VARIABLE) == str(data_dir):
        return f"tarry {arguments}"
    return f"tarry {arguments} --data-dir {shlex.quote(str(data_dir))}"


@dataclass(frozen=True, slots=True)
class Server:
    """The running server of a data directory, and how one types commands for it."""

    directory: DataDirectory
    target: Target

    @classmethod
    def of(cls, data_dir: Path) -> Self:
        """Errors: those of ``target_of``."""
        directory = DataDirectory(data_dir)
        return cls(directory, target_of(directory))

    def command(self, arguments: str) -> str:
        """The command with these arguments on this server."""
        return command_on(self.directory.root, arguments)

    @contextlib.contextmanager
    def knows_endpoint(self) -> Iterator[None]:
        """Where the server knows no such endpoint, say where to look."""
        try:
            yield
        except Refusal as error:
            if error.code != NOT_FOUND:
                raise
            raise InvalidRequest(f"{error} `{self.command('endpoints')}` lists what there is.") from None


def print_json(value: Any) -> None:
    """A value of the API as JSON; times are ISO 8601, UTC."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_iso))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], title: str | None = None) -> None:
    """Rows with a head on a terminal; else without one, the cells apart by tabs. A title is a line, or each row's first cell."""
    if not sys.stdout.isatty():
        for row in rows:
            cells = row if title is None else (title, *row)
            typer.echo("\t".join(one_line(str(cell)) for cell in cells))
        return
    if title is not None:
        typer.echo(f"\n{title}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    Console().print(table)


def print_entries(columns: Sequence[str], entries: Iterable[Entry], *, flexible: int, title: str | None = None) -> None:
    """A list. On a terminal an entry is one line, its note another: what does not fit is cut, the ``flexible`` column first.

    Else as ``print_table``, without the columns' names.
    """
    entries = list(entries)
    if not sys.stdout.isatty():
        print_table((), (entry.row for entry in entries), title)
        return
    console = Console()
    lines = [[Text(name, style="bold") for name in columns], *([_text(cell) for cell in entry.shown] for entry in entries)]
    widths = [max(line[number].cell_len for line in lines) for number in range(len(columns))]
    spare = console.width - sum(widths) - 2 * (len(widths) - 1)
    widths[flexible] = max(widths[flexible] + min(spare, 0), len(columns[flexible]))
    if title is not None:
        console.print(Text(f"\n{title}"))
    for line, note in zip(lines, ["", *(entry.note for entry in entries)], strict=True):
        for cell, width in zip(line, widths, strict=True):
            cell.truncate(width, overflow="ellipsis", pad=True)
        _print_line(console, Text("  ").join(line))
        if note:
            _print_line(console, Text(f"  {one_line(note)}", style="dim"))


def _print_line(console: Console, line: Text) -> None:
    line.rstrip()
    line.truncate(console.width, overflow="ellipsis")
    console.print(line, no_wrap=True)


def print_properties(pairs: Iterable[tuple[str, Cell]]) -> None:
    """Names and values, one pair a line. Nothing is cut: the terminal breaks long lines, and what is copied is whole."""
    if not sys.stdout.isatty():
        print_table((), pairs)
        return
    console, pairs = Console(), list(pairs)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        console.print(Text.assemble((name.ljust(width), "bold"), "  ", _text(value)), soft_wrap=True)


def _text(cell: Cell) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text(one_line(cell))


def one_line(text: str) -> str:
    """Text without what moves a terminal's cursor: reasons hold what containers said."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def printable(text: str) -> str:
    """The same for text of several lines."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in text)


def hint(text: str) -> None:
    """A word beside the result, for people; scripts do without it."""
    if messages.is_terminal:
        messages.print(text)


def working(what: str) -> Status:
    """Shows on a terminal that something is being done, while the context is open."""
    return messages.status(Text(what))


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """The same for what has steps to tell, with who takes them. Without a terminal, now and then one is a line."""
    if messages.is_terminal:
        with working(what) as status:
            yield lambda step: status.update(Text(step))
        return
    say_at = float("-inf")

    def say(step: str) -> None:
        nonlocal say_at
        if time.monotonic() >= say_at:
            say_at = time.monotonic() + SAY_EVERY_S
            messages.print(one_line(step))

    yield say


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
