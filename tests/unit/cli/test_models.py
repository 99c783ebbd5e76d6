"""``tarry package`` and ``tarry serve-local``: what they ask for, and what they tell."""

import asyncio
import tarfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tarry.bootstrap import log
from tarry.bootstrap import serve_local as local
from tarry.cli.main import app
from tarry.core.errors import InvalidRequest


@pytest.fixture(autouse=True)
def levels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The levels that the log was set to; it stays as it is: it is that of all tests of this process."""
    seen: list[str] = []
    monkeypatch.setattr(log, "configure_log", seen.append)
    return seen


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[local.Wanted]:
    """What was to be served; it is answered with 200 and the word ``answer``."""
    seen: list[local.Wanted] = []

    async def serve(wanted: local.Wanted, say: Any) -> local.Report:
        seen.append(wanted)
        answer = local.Answer(status=200, content_type="text/plain", body=b"answer", elapsed_s=0.5)
        return local.Report(listened_s=1.0, healthy_s=2.0, answer=answer if wanted.request else None, log=("a line",))

    monkeypatch.setattr(local, "serve_local", serve)
    return seen


def serve(directory: Path, name: str, *arguments: str) -> str:
    (directory / "model.tar.gz").write_bytes(b"")
    (directory / name).write_bytes(b"body")
    command = ["serve-local", str(directory / "model.tar.gz"), "--image", "x:1", "--input", str(directory / name), *arguments]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("name", "arguments", "headers"),
    [
        ("in.csv", (), {"Content-Type": "text/csv"}),
        ("in.json", ("--accept", "text/csv"), {"Content-Type": "application/json", "Accept": "text/csv"}),
        ("in.csv", ("--content-type", "text/libsvm"), {"Content-Type": "text/libsvm"}),
        ("in.nobody-knows", (), {}),
    ],
)
def test_the_headers_of_a_request(
    tmp_path: Path, wanted: list[local.Wanted], name: str, arguments: tuple[str, ...], headers: dict[str, str]
) -> None:
    said = serve(tmp_path, name, *arguments)
    [one] = wanted
    assert one.request is not None
    assert (one.request.body, dict(one.request.headers)) == (b"body", headers)
    assert said.endswith("answer\n")
    assert "the last lines of its log:\na line\n" in said


@pytest.mark.usefixtures("wanted")
def test_the_programs_own_log_is_not_in_the_report(tmp_path: Path, levels: list[str]) -> None:
    serve(tmp_path, "in.csv")
    assert levels == ["warning"]


def test_what_else_is_handed_on(tmp_path: Path, wanted: list[local.Wanted]) -> None:
    more = ("--env", "A=1", "--env", "B=x=y", "--environments", "/e", "--data-dir", "/d")
    serve(tmp_path, "in.csv", *more)
    [one] = wanted
    assert (dict(one.environment), one.environments_dir, one.data_dir) == ({"A": "1", "B": "x=y"}, Path("/e"), Path("/d"))


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    for name in ("weights.bin", ".DS_Store", "__pycache__/a.pyc"):
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_text("")
    done = CliRunner().invoke(app, ["package", str(tmp_path / "m"), "--output", str(tmp_path / "model.tar.gz")])
    assert done.exit_code == 0
    assert "left out: .DS_Store, __pycache__\n" in done.output
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert tar.getnames() == ["weights.bin"]


@pytest.mark.parametrize("option", ["--content-type", "--accept"])
def test_a_header_is_one_line(tmp_path: Path, wanted: list[local.Wanted], option: str) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"")
    command = ["serve-local", str(tmp_path / "model.tar.gz"), "--image", "x:1", "--input", str(tmp_path / "model.tar.gz")]
    done = CliRunner().invoke(app, [*command, option, "a\r\nX: y"])
    assert isinstance(done.exception, InvalidRequest)
    assert str(done.exception) == f"{option} expects one line of printable characters, got 'a\\r\\nX: y'."
    assert wanted == []


def test_sigterm_is_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ended(wanted: local.Wanted, say: Any) -> local.Report:
        raise asyncio.CancelledError

    monkeypatch.setattr(local, "serve_local", ended)
    (tmp_path / "model.tar.gz").write_bytes(b"")
    done = CliRunner().invoke(app, ["serve-local", str(tmp_path / "model.tar.gz"), "--image", "x:1"])
    assert done.exit_code == 143
