import os
import stat
from pathlib import Path

import pytest

from tarry.files import make_directory, write_file


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


@pytest.mark.parametrize(("there", "synced"), [("", ["b", "a", "TOP"]), ("a", ["b", "a"]), ("a/b/c", ["b"])])
def test_the_names_of_a_new_directory_and_its_parents_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, synced: list[str]
) -> None:
    """One that is there already may be as new: its name is synced too."""
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    seen: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append(Path(f"/proc/self/fd/{descriptor}").readlink().name))
    make_directory(tmp_path / "a/b/c")
    assert seen == [tmp_path.name if name == "TOP" else name for name in synced]
    assert (tmp_path / "a/b/c").is_dir()


def test_a_directory_below_one_that_only_others_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not read it cannot sync it; what was there before is theirs to have made durable."""
    (tmp_path / "data").mkdir()

    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refused)
    make_directory(tmp_path / "data")
