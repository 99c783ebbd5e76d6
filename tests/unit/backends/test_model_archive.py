"""Archives that attack, and archives that only look odd."""

import gzip
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest
from tests.support.model_objects import archive_of

from tarry.backends.model_archive import ArchiveBounds, ArchiveRefused, unpack


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def try_unpack(tmp_path: Path, archive: bytes, bounds: ArchiveBounds | None = None) -> Path:
    (tmp_path / "archive").write_bytes(archive)
    unpack(tmp_path / "archive", tmp_path / "out", bounds or ArchiveBounds(), threading.Event())
    return tmp_path / "out"


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_plain_archive_is_unpacked_read_only(tmp_path: Path) -> None:
    out = try_unpack(
        tmp_path, archive_of({"./xgboost-model": b"abc", "code//inference.py": b"x", "ünïcode": b"", ".hidden": b"h"})
    )
    assert files(out) == {"xgboost-model": b"abc", "code/inference.py": b"x", "ünïcode": b"", ".hidden": b"h"}
    assert (out / "xgboost-model").stat().st_mode & 0o777 == 0o444


def test_links_inside_are_kept(tmp_path: Path) -> None:
    archive = archive_of(
        {"a/model": b"abc"},
        [
            member("a/again", tarfile.LNKTYPE, "a/model"),
            member("b/c/soft", tarfile.SYMTYPE, "../../a/model"),
            member("d", tarfile.SYMTYPE, "a"),
        ],
    )
    out = try_unpack(tmp_path, archive)
    assert files(out) == {"a/model": b"abc", "a/again": b"abc", "b/c/soft": b"abc"}
    assert (out / "d/model").read_bytes() == b"abc"


def test_the_root_itself_and_repeated_files_are_fine(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(member("./", tarfile.DIRTYPE))
        for body in (b"old", b"newer"):
            tar.addfile(member("model", size=len(body)), io.BytesIO(body))
    assert files(try_unpack(tmp_path, buffer.getvalue())) == {"model": b"newer"}


S, L, D = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("a/../../evil")],
        [member("/tmp/evil")],
        [member("//evil")],
        [member("link", S, "/etc/passwd")],
        [member("link", S, "../evil")],
        [member("a/link", S, "../../evil")],
        [member("link", S, "a/../../evil")],
        [member("dot", S, "."), member("link", S, "dot/../evil")],
        [member("a/b/d", S, "../.."), member("a/b/link", S, "d/../evil")],
        [member("a", D), member("link", S, "a"), member("link/evil")],
        [member("link", S, "a"), member("link")],
        [member("hard", L, "/etc/passwd")],
        [member("hard", L, "../evil")],
        [member("soft", S, "a"), member("hard", L, "soft")],
        [member("hard", L, "absent")],
        [member("device", tarfile.CHRTYPE)],
        [member("device", tarfile.BLKTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("x" * 300)],
        [member("a"), member("a/b")],
        [member("a/b"), member("a")],
        [member("link", S, "")],
    ],
    ids=lambda members: " ".join(f"{info.name[:20]}>{info.linkname}" for info in members),
)
def test_what_reaches_outside_or_is_no_file_is_refused(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    with pytest.raises(ArchiveRefused):
        try_unpack(tmp_path, archive_of({}, members))
    assert not (tmp_path / "evil").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        gzip.compress(b"no tar, but long enough" * 100),
        gzip.compress(b""),
        archive_of({"a": os.urandom(9999)})[:5000],
    ],
    ids=["empty", "text", "gzip of text", "gzip of nothing", "cut off"],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises(ArchiveRefused, match="not a gzip-compressed tar archive"):
        try_unpack(tmp_path, archive)


def test_a_bomb_stops_at_the_bound(tmp_path: Path) -> None:
    archive = archive_of({"zeros": b"\0" * 1_000_001})
    with pytest.raises(ArchiveRefused, match="archive is too large"):
        try_unpack(tmp_path, archive, ArchiveBounds(unpacked_bytes_max=1_000_000))
    assert files(tmp_path / "out") == {}


def test_many_members_stop_at_the_bound(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="archive is too large"):
        try_unpack(tmp_path, archive_of({str(n): b"" for n in range(11)}), ArchiveBounds(members_max=10))


def test_a_huge_sparse_member_is_counted_in_full(tmp_path: Path) -> None:
    info = member("sparse", size=0)
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(10**12), "GNU.sparse.map": "0,0"}
    with pytest.raises(ArchiveRefused, match="archive is too large"):
        try_unpack(tmp_path, archive_of({}, [info]))


def test_a_huge_extended_header_is_not_taken_into_memory(tmp_path: Path) -> None:
    header = member("header", tarfile.XHDTYPE, size=512 * 1024**2).tobuf(tarfile.USTAR_FORMAT)
    body = io.BytesIO()
    with gzip.GzipFile(fileobj=body, mode="wb", compresslevel=1) as stream:
        stream.write(header)
        for _ in range(16):
            stream.write(b"\0" * 1024**2)
    with pytest.raises(ArchiveRefused, match="larger than any real one"):
        try_unpack(tmp_path, body.getvalue())


def test_it_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(archive_of({"a": b""}))
    stop = threading.Event()
    stop.set()
    with pytest.raises(ArchiveRefused, match="stopped"):
        unpack(tmp_path / "archive", tmp_path / "out", ArchiveBounds(), stop)
