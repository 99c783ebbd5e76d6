"""Archives that attack, and archives that only look odd."""

import contextlib
import gzip
import io
import os
import tarfile
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.model_objects import archive_of

from tarry.backends import model_archive
from tarry.backends.model_archive import ArchiveBounds, ArchiveRefused, unpack
from tarry.backends.system import free_bytes


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
        [member("link", S, "/".join(["d"] * 101))],
        [member("a"), member("a", S, "b")],
        [member("a", S, "b"), member("a", S, "c")],
        [member("a", D), member("a")],
        [member("a"), member("a", D)],
        [member("a"), member("b"), member("b", L, "a")],
        [member("a"), member("a", L, "a")],
        [member("a"), member("b", L, "a/c")],
        [member("a", D), member("b", L, "a")],
        [member("b", L, "c/d")],
        [member("/".join(["d"] * 101))],
        [member("/".join(["d" * 200] * 11))],
        # a regular file's name is taken over by a link, which a hard link would then carry up to the root
        [member("q/q/l"), member("q/q/l", S, "../../x"), member("h", L, "q/q/l")],
    ],
    ids=lambda members: " ".join(f"{info.name[:20]}>{info.linkname}" for info in members),
)
def test_what_reaches_outside_or_is_no_file_is_refused(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    with pytest.raises(ArchiveRefused):
        try_unpack(tmp_path, archive_of({}, members))
    assert not (tmp_path / "evil").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]


def test_a_hard_link_cannot_carry_a_link_up_to_where_it_leads_outside(tmp_path: Path) -> None:
    """tarfile takes names for what they once were: with paths beyond the system's length it writes through such a link."""
    depth, long = 40, "d" * 240
    deep = "/".join(["q"] * depth) + "/l"
    members = [member(deep), member(deep, S, "../" * depth + str(tmp_path).lstrip("/")), member("h", L, deep)]
    short = ""
    for level in range(18):
        members += [member(f"{short}{long}", D), member(f"z{level}/w"), member(f"z{level}/w", S, long)]
        members.append(member(f"{short}s", L, f"z{level}/w"))
        short += "s/"
    members += [member(f"{short}h", L, deep), member(f"{short}h/evil")]
    with pytest.raises(ArchiveRefused):
        try_unpack(tmp_path, archive_of({}, members))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


# few names, so that members meet one another
NAMES = st.sampled_from(["a", "b", "b/a", "b/b", "b/a/a", "b/b/a"])
TARGETS = st.builds(lambda climbs, rest: "../" * climbs + rest, st.integers(0, 3), NAMES | st.just("victim"))
MEMBERS = st.one_of(
    st.builds(member, NAMES, st.sampled_from([tarfile.REGTYPE, D])),
    st.builds(member, NAMES, st.just(S), TARGETS),
    st.builds(member, NAMES, st.just(L), NAMES),
    st.builds(member, NAMES, st.just(L), TARGETS),
    st.builds(member, TARGETS, st.sampled_from([tarfile.REGTYPE, D])),
)
ARCHIVES = st.lists(
    st.one_of(
        MEMBERS.map(lambda one: [one]),
        st.builds(
            lambda name, target, link: [member(name), member(name, S, target), member(link, L, name)], NAMES, TARGETS, NAMES
        ),
    ),
    min_size=1,
    max_size=8,
).map(lambda several: [one for some in several for one in some])


def plant(info: tarfile.TarInfo) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    body = b"planted" if info.type == tarfile.REGTYPE else b""
    info.size = len(body)
    return info, io.BytesIO(body) if body else None


@settings(max_examples=300, deadline=None)
@given(members=ARCHIVES)
def test_no_sequence_of_members_reaches_outside(members: list[tarfile.TarInfo]) -> None:
    with TemporaryDirectory() as name:
        home = Path(name).resolve()
        (home / "victim").write_bytes(b"safe")
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
            for info in members:
                tar.addfile(*plant(info))
        with contextlib.suppress(ArchiveRefused):
            try_unpack(home, buffer.getvalue())
        assert sorted(path.name for path in home.iterdir()) == ["archive", "out", "victim"]
        assert ((home / "victim").read_bytes(), (home / "victim").stat().st_nlink) == (b"safe", 1)
        for folder, directories, files_here in os.walk(home / "out"):
            for path in (Path(folder, name) for name in (*directories, *files_here)):
                where = os.path.realpath(path)  # of a link that leads nowhere or in a circle too
                assert os.path.commonpath([where, home / "out"]) == str(home / "out"), (path, where)


def test_what_is_not_text_in_a_name_is_not_in_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused) as refused:
        try_unpack(tmp_path, archive_of({}, [member("\udcff", tarfile.FIFOTYPE)]))
    assert str(refused.value).encode() == b'The member "?" is neither a file, nor a directory, nor a link.'


def test_a_later_file_replaces_an_earlier_one_but_not_its_hard_link(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(member("a", size=3), io.BytesIO(b"old"))
        tar.addfile(member("b", L, "a"))
        tar.addfile(member("a", size=5), io.BytesIO(b"newer"))
    assert files(try_unpack(tmp_path, buffer.getvalue())) == {"a": b"newer", "b": b"old"}


def test_times_and_the_right_to_execute_are_kept(tmp_path: Path) -> None:
    plain, program = member("plain"), member("program")
    plain.mode, program.mode, program.mtime = 0o666, 0o4777, 1_500_000_000
    out = try_unpack(tmp_path, archive_of({}, [plain, program]))
    assert [(out / name).stat().st_mode & 0o7777 for name in ("plain", "program")] == [0o444, 0o555]
    assert (out / "program").stat().st_mtime == 1_500_000_000


def test_implied_directories_count(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="archive is too large"):
        try_unpack(tmp_path, archive_of({"/".join(["d"] * 11): b""}), ArchiveBounds(members_max=10))


@pytest.mark.parametrize(("size", "sparse_map"), [("-512", ""), ("9", "5,2,1,2"), ("9", "0,-5")])
def test_sizes_that_would_read_backwards_are_refused(tmp_path: Path, size: str, sparse_map: str) -> None:
    info = member("m")
    info.pax_headers = {"size": size}
    if sparse_map:
        info.pax_headers = {
            "GNU.sparse.major": "0",
            "GNU.sparse.minor": "1",
            "GNU.sparse.size": size,
            "GNU.sparse.map": sparse_map,
        }
    with pytest.raises(ArchiveRefused, match="damaged"):
        try_unpack(tmp_path, archive_of({}, [info]))


def test_a_sparse_file_has_its_holes(tmp_path: Path) -> None:
    info = member("m", size=3)
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "9", "GNU.sparse.map": "2,3"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(info, io.BytesIO(b"abc"))
    assert files(try_unpack(tmp_path, buffer.getvalue())) == {"m": b"\0\0abc\0\0\0\0"}


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


SMALL = archive_of({"a.bin": b"A" * 700, "b.bin": b"B" * 700})


@pytest.mark.parametrize("level", [0, 9])
def test_an_archive_that_is_not_as_it_was_is_refused_or_gives_the_same_files(tmp_path: Path, level: int) -> None:
    """Weights with a changed byte were served: the checksum of gzip was not looked at."""
    archive = gzip.compress(gzip.decompress(SMALL)[: 5 * 1024], compresslevel=level, mtime=0)
    step = max(len(archive) // 150, 1)
    refused = 0
    for place in (*range(0, len(archive) - 8, step), *range(len(archive) - 8, len(archive))):
        changed = bytearray(archive)
        changed[place] ^= 0x04
        home = tmp_path / str(place)
        home.mkdir()
        try:
            assert files(try_unpack(home, bytes(changed))) == {"a.bin": b"A" * 700, "b.bin": b"B" * 700}
        except ArchiveRefused:
            refused += 1
    assert refused >= 100


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for end in (*range(0, len(SMALL) - 8, 20), *range(len(SMALL) - 8, len(SMALL))):
        home = tmp_path / str(end)
        home.mkdir()
        with pytest.raises(ArchiveRefused, match=r"damaged: .* Make it anew"):
            try_unpack(home, SMALL[:end])


def test_the_reason_names_the_member_and_both_checksums(tmp_path: Path) -> None:
    changed = bytearray(gzip.compress(gzip.decompress(SMALL), compresslevel=0))
    changed[changed.index(b"AAAA") + 100] ^= 1
    with pytest.raises(
        ArchiveRefused, match=r'damaged: CRC check failed 0x\w+ != 0x\w+ \(in or after the member "b\.bin"\)\. Make'
    ):
        try_unpack(tmp_path, bytes(changed))


def test_a_small_header_that_takes_minutes_to_match_is_refused(tmp_path: Path) -> None:
    digits = b"1" * 30_000
    header = member("header", tarfile.XHDTYPE, size=len(digits)).tobuf(tarfile.USTAR_FORMAT)
    tar = header + digits + b"\0" * (-len(digits) % 512) + member("x").tobuf(tarfile.USTAR_FORMAT) + b"\0" * 1024
    with pytest.raises(ArchiveRefused, match='an extended header has no proper record at "1111'):
        try_unpack(tmp_path, gzip.compress(tar))


def test_a_bomb_stops_at_the_bound(tmp_path: Path) -> None:
    archive = archive_of({"zeros": b"\0" * 1_000_001})
    with pytest.raises(ArchiveRefused, match="archive is too large"):
        try_unpack(tmp_path, archive, ArchiveBounds(unpacked_bytes_max=1_000_000))
    assert files(tmp_path / "out") == {}


def test_a_member_that_the_disk_has_no_room_for_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """Else a bomb within the bounds takes the room that results need."""
    reserve = free_bytes(tmp_path) - 5_000_000
    with pytest.raises(ArchiveRefused, match=rf"It needs 8000000 bytes more .*queue\.disk_reserve_bytes, {reserve}, are kept"):
        try_unpack(tmp_path, archive_of({"zeros": b"\0" * 8_000_000}), ArchiveBounds(disk_reserve_bytes=reserve))
    assert files(tmp_path / "out") == {}


def test_room_that_others_take_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several archives at a time found room for each, and together took what results need."""
    room = iter([10_000_000, 10_000_000, 10_000_000, 0])
    monkeypatch.setattr(model_archive, "free_bytes", lambda directory: next(room))
    with pytest.raises(ArchiveRefused, match="where 0 are free"):
        try_unpack(tmp_path, archive_of({"zeros": b"\0" * 8_000_000}))
    assert next(room, None) is None
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 4_000_000


def test_members_without_content_take_room_too(tmp_path: Path) -> None:
    members = [member(f"d{number}", D) for number in range(3)]
    with pytest.raises(ArchiveRefused, match="It needs 4096 bytes more"):
        try_unpack(tmp_path, archive_of({}, members), ArchiveBounds(disk_reserve_bytes=2**62))


def test_many_members_stop_at_the_bound(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="archive is too large"):
        try_unpack(tmp_path, archive_of({str(n): b"" for n in range(11)}), ArchiveBounds(members_max=10))


def test_as_many_members_as_the_bound_are_fine(tmp_path: Path) -> None:
    try_unpack(tmp_path, archive_of({str(n): b"" for n in range(10)}), ArchiveBounds(members_max=10))
    assert len(files(tmp_path / "out")) == 10


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
