import os
import stat
from pathlib import Path

import pytest

from tarry.files import write_file


def test_content_and_name_are_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / "token").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_file(tmp_path / "token", b"secret")
    assert synced == [(f".token.{os.getpid()}.tmp", False), (tmp_path.name, True)]
    assert (tmp_path / "token").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_what_a_crash_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / f".token.{os.getpid()}.tmp").write_bytes(b"half of it, and longer than the new one")
    (tmp_path / "token").write_bytes(b"old")
    write_file(tmp_path / "token", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    assert (tmp_path / "token").read_bytes() == b"new"
