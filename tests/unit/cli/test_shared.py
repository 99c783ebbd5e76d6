"""How results are printed: for people on a terminal, for scripts in a pipe."""

import contextlib
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.text import Text

from tarry.aws.client import Refusal, Target
from tarry.bootstrap.directory import DataDirectory
from tarry.cli import shared
from tarry.cli.rendering import Entry
from tarry.cli.shared import Server, print_entries, print_json, print_properties, print_table
from tarry.core.errors import InvalidRequest

ROWS = [("a", Text("Failed", style="red"), "two\nlines\tand \x1b[2J")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_in_a_pipe_a_row_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("one", "two", "three"), ROWS)
    assert capsys.readouterr().out == "a\tFailed\ttwo lines and  [2J\n"


def test_a_terminal_gets_a_head_and_colours_and_no_escapes_of_others(terminal: Terminal) -> None:
    with contextlib.redirect_stdout(terminal):
        print_table(("one", "two", "three"), ROWS)
    said = terminal.getvalue()
    assert "three" in said
    assert "\x1b[31mFailed" in said
    assert "\x1b[2J" not in said


ENTRIES = [
    Entry(row=("0" * 36, "2026-11-01", "all"), shown=("0" * 36, Text("Completed", style="green"), "02:34:35", "demo"), note=""),
    Entry(row=("1", "2", "3"), shown=("1" * 36, "Failed", "02:34:35", "e" * 63), note=f"because {'of it ' * 20}\x1b[2J"),
]
COLUMNS = ("invocation", "state", "received", "endpoint")


def test_a_list_has_one_line_for_each_and_one_for_its_note(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.redirect_stdout(terminal):
        print_entries(COLUMNS, ENTRIES, flexible=-1)
    head, first, second, note = (Text.from_ansi(line).plain for line in terminal.getvalue().splitlines())
    assert head.split() == list(COLUMNS)
    assert first.split() == ["0" * 36, "Completed", "02:34:35", "demo"]
    assert second == f"{'1' * 36}  Failed     02:34:35  {'e' * 20}…"
    assert note.startswith("  because of it")
    assert (len(note), note[-1]) == (80, "…")
    assert "\x1b[2J" not in terminal.getvalue()


def test_the_column_that_gives_way_keeps_its_name(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with contextlib.redirect_stdout(terminal):
        print_entries(("endpoint", "status"), [Entry((), ("e" * 63, "InService"))], flexible=0)
        print_entries(("endpoint", "status"), [Entry((), ("e" * 63, "I" * 60))], flexible=0)
    _, first, _, second = (Text.from_ansi(line).plain for line in terminal.getvalue().splitlines())
    assert first == f"{'e' * 28}…  InService"
    assert second == f"{'e' * 7}…  {'I' * 29}…"


def test_a_list_in_a_pipe_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_entries(COLUMNS, ENTRIES, flexible=-1, title="all")
    assert capsys.readouterr().out == f"all\t{'0' * 36}\t2026-11-01\tall\nall\t1\t2\t3\n"


def test_what_is_long_is_not_cut_from_properties(terminal: Terminal) -> None:
    place = f"s3://b/{'x' * 300}"
    with contextlib.redirect_stdout(terminal):
        print_properties([("output", place)])
    assert place in terminal.getvalue()


def test_properties(terminal: Terminal) -> None:
    with contextlib.redirect_stdout(terminal):
        print_properties([("name", "x\x1b[2J")])
    assert "\x1b[1mname" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_properties_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_properties([("name", "x"), ("other", "y")])
    assert capsys.readouterr().out == "name\tx\nother\ty\n"


def test_json_has_times_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    time = datetime(2026, 11, 1, 12, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=2)))
    print_json({"ReceivedTime": time, "Reason": "größer"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"ReceivedTime": "2026-11-01T10:00:00.250Z", "Reason": "größer"}


@pytest.fixture
def server() -> Server:
    return Server(DataDirectory(Path("/data dir")), Target(url="", region="", access_key_id="", secret=""))


def test_what_is_not_found_comes_with_the_next_step(server: Server) -> None:
    with pytest.raises(InvalidRequest, match=r"Could not find it\. `tarry endpoints"), server.knows_endpoint():
        raise Refusal("ResourceNotFoundException", "Could not find it.")
    with pytest.raises(Refusal, match=r"denied$"), server.knows_endpoint():
        raise Refusal("AccessDeniedException", "denied")


def test_the_next_command_names_the_directory_unless_the_shell_knows_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TARRY_DATA_DIR", raising=False)
    assert server.command("endpoints") == "tarry endpoints --data-dir '/data dir'"
    monkeypatch.setenv("TARRY_DATA_DIR", "/data dir")
    assert server.command("endpoints") == "tarry endpoints"


def test_without_a_terminal_a_step_now_and_then_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 0.0
    monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: now_s))
    with shared.progress("building") as say:
        for now_s in (0.0, 1.0, shared.SAY_EVERY_S, shared.SAY_EVERY_S + 1):
            say(f"step {now_s:g}")
    assert capsys.readouterr().err == "step 0\nstep 5\n"
