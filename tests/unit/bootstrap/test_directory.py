"""The files of the data directory: private, durable, and clear when they are damaged."""

import stat
from pathlib import Path

import pytest

from tarry.bootstrap.directory import DataDirectory, NoCredentials, ServerInfo
from tarry.core.errors import InvalidRequest
from tarry.core.names import Scope

INFO = ServerInfo(url="http://127.0.0.1:1", pid=1)


def test_an_existing_open_directory_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    directory = DataDirectory(tmp_path / "data")
    directory.open()
    assert stat.S_IMODE(directory.root.stat().st_mode) == 0o700
    directory.close()


def test_one_server_at_a_time(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.open()
    first.write_server(INFO)
    with pytest.raises(InvalidRequest, match=r"process 1, http://127\.0\.0\.1:1"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_a_killed_server_is_not_taken_for_a_running_one(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    directory.open()
    directory.write_server(INFO)
    assert DataDirectory(tmp_path).read_server() == INFO
    directory.close()  # what the kernel does with the lock of a killed process; the file stays
    with pytest.raises(InvalidRequest, match="No server is running"):
        DataDirectory(tmp_path).read_server()


def test_the_engine_of_the_start_before_is_remembered(tmp_path: Path) -> None:
    told = [DataDirectory(tmp_path).remember_engine(kind) for kind in ("docker", "docker", "process", "process")]
    assert told == [None, "docker", "docker", "process"]


def test_the_scope_is_fixed_at_the_first_start(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    scope = Scope(account_id="999999999999", region="eu-west-1")
    assert directory.fix_scope("eu-west-1", "999999999999") == scope
    assert directory.fix_scope(None, None) == scope
    with pytest.raises(InvalidRequest, match=r"eu-west-1.*us-east-1"):
        directory.fix_scope("us-east-1", None)
    assert directory.read_scope() == scope


def test_reading_the_scope_fixes_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="start a server on it first"):
        DataDirectory(tmp_path).read_scope()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null", '{"region": "us-east-1"}'])
def test_a_damaged_scope_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "scope.json").write_text(text)
    with pytest.raises(InvalidRequest, match=r"scope\.json is damaged"):
        DataDirectory(tmp_path).fix_scope(None, None)
    with pytest.raises(InvalidRequest, match=r"scope\.json is damaged"):
        DataDirectory(tmp_path).read_scope()


def test_credentials_come_back_whatever_is_in_them(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    with pytest.raises(NoCredentials, match="tarry serve"):
        directory.read_credentials()
    directory.write_credentials("AKIA", "a%b=c;d")
    assert directory.read_credentials() == ("AKIA", "a%b=c;d")
    assert stat.S_IMODE((tmp_path / "credentials").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", [b"[x", b"[default]\n", b"nothing", b"\xff\xfe"])
def test_damaged_credentials_are_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "credentials").write_bytes(text)
    with pytest.raises(InvalidRequest, match="credentials is damaged"):
        DataDirectory(tmp_path).read_credentials()
