"""How results are printed: for people on a terminal, for scripts in a pipe."""

import contextlib
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.text import Text

from tarry.aws.client import Refusal, Target
from tarry.bootstrap.directory import DataDirectory
from tarry.cli.shared import Server, print_json, print_properties, print_table
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
