"""Where settings come from, and what happens to those that nobody knows."""

from pathlib import Path
from typing import Any

import pytest

from tarry.core.errors import InvalidRequest
from tarry.settings import load


def _toml(directory: Path, text: str) -> None:
    (directory / "tarry.toml").write_text(text)


def test_later_sources_win(tmp_path: Path) -> None:
    _toml(tmp_path, "[server]\nport = 1\nhost = 'a'\ndrain_timeout_s = 3\n")
    environ = {"TARRY_SERVER__PORT": "2", "TARRY_SERVER__HOST": "b", "OTHER": "x"}
    flags: dict[str, Any] = {"server": {"port": 3, "host": None}, "environments_dir": None}
    settings = load(tmp_path, flags, environ)
    assert (settings.server.port, settings.server.host, settings.server.drain_timeout_s) == (3, "b", 3.0)
    assert settings.queue.lease_s == 30.0


def test_instances_have_the_times_that_aws_gives_them(tmp_path: Path) -> None:
    """Where nobody says otherwise; seconds."""
    engine = load(tmp_path, {}, {}).engine
    assert (engine.stop_grace_s, engine.unanswered_s, engine.provision_timeout_s) == (30, 180, 300)


def test_lists_come_as_json(tmp_path: Path) -> None:
    settings = load(tmp_path, {}, {"TARRY_IMAGES__DIRECTORIES": '["/a", "/b"]', "TARRY_ENGINE__PORTS": "[3, 4]"})
    assert settings.images.directories == (Path("/a"), Path("/b"))
    assert settings.engine.ports == (3, 4)


@pytest.mark.parametrize(
    ("toml", "environ", "expected"),
    [
        ("", {}, ({}, "measured", 256 * 1024**2)),
        ('[engine]\ninstances_max = 3\ncapacity = "strict"\nmemory_reserve = 1000\n', {}, ({"*": 3}, "strict", 1000)),
        ('[engine.instances_max]\n"ml.g5.*" = 1\n"*" = 8\n', {}, ({"ml.g5.*": 1, "*": 8}, "measured", 256 * 1024**2)),
        (
            "",
            {"TARRY_ENGINE__INSTANCES_MAX": "2", "TARRY_ENGINE__MEMORY_RESERVE": "1.5 GiB"},
            ({"*": 2}, "measured", 1536 * 1024**2),
        ),
        ("", {"TARRY_ENGINE__INSTANCES_MAX": '{"local": 0}'}, ({"local": 0}, "measured", 256 * 1024**2)),
    ],
)
def test_what_may_be_placed_is_read(tmp_path: Path, toml: str, environ: dict[str, str], expected: tuple[object, ...]) -> None:
    _toml(tmp_path, toml)
    engine = load(tmp_path, {}, environ).engine
    assert (engine.instances_max, engine.capacity, engine.memory_reserve) == expected


def test_the_directory_is_the_command_lines_business(tmp_path: Path) -> None:
    assert load(tmp_path, {}, {"TARRY_DATA_DIR": "/elsewhere"}).data_dir == tmp_path


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "words"),
    [
        ("[server]\nprot = 1", {}, {}, r"server\.prot.*tarry\.toml"),
        ("[sever]\nport = 1", {}, {}, r"sever.*tarry\.toml"),
        ("server = [", {}, {}, "not valid TOML"),
        ("", {"TARRY_SERVER__PROT": "1"}, {}, r"server\.prot.*environment"),
        ("", {"TARRY_PORT": "1"}, {}, r"port.*environment"),
        ("", {"TARRY_IMAGES__DIRECTORIES": "[1"}, {}, "TARRY_IMAGES__DIRECTORIES is not valid JSON"),
        ("", {"TARRY_SERVER__PORT": "70000"}, {}, r"server\.port.*70000"),
        ("", {}, {"server": {"port": -1}}, r"server\.port.*command line"),
        ("", {}, {"scope": {"account_id": "12"}}, r"scope\.account_id"),
        ("", {}, {"scope": {"region": "EU west"}}, r"scope\.region"),
        ("", {}, {"server": {"tls_cert": Path("c")}}, "give both or neither"),
        ("data_dir = '/a'", {}, {}, r"data_dir.*tarry\.toml.*--data-dir or TARRY_DATA_DIR"),
        ("", {"TARRY_QUEUE__LEASE_S": "0"}, {}, r"queue\.lease_s"),
        ("[engine]\ncapacity = 'loose'", {}, {}, r"engine\.capacity.*'measured' or 'strict'"),
        ("[engine]\ninstances_max = -1", {}, {}, r"engine\.instances_max.*greater than or equal to 0"),
        ("[engine]\nmemory_reserve = 'much'", {}, {}, r"engine\.memory_reserve.*much"),
    ],
)
def test_what_is_wrong_is_named_with_its_source(
    tmp_path: Path, toml: str, environ: dict[str, str], flags: dict[str, Any], words: str
) -> None:
    _toml(tmp_path, toml)
    with pytest.raises(InvalidRequest, match=words):
        load(tmp_path, flags, environ)
