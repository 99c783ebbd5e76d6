"""What tars may be like: those of the usual writers, damaged ones, and small ones that would take much memory or time."""

import io
import shutil
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tarry.backends import tar_reader
from tarry.backends.tar_reader import DamagedArchive, Kind, Member, TarReader

BLOCK = 512
CLOSING = b"\0" * 2 * BLOCK


def read(tar: bytes) -> dict[str, tuple[Kind, bytes]]:
    """Every member's kind, and its bytes with the holes filled in, or what it links to."""
    reader = TarReader(io.BytesIO(tar))
    return {member.name: (member.kind, content(reader, member)) for member in reader}


def content(reader: TarReader, member: Member) -> bytes:
    if member.kind is not Kind.FILE:
        return member.target.encode()
    whole = bytearray(member.size)
    for offset, piece in reader.content(member):
        whole[offset : offset + len(piece)] = piece
    return bytes(whole)


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def member(name: str, body: bytes = b"", kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, kind, len(body)) + body + b"\0" * (-len(body) % BLOCK)


def pax(*records: tuple[str, str], kind: bytes = tarfile.XHDTYPE) -> bytes:
    body = b""
    for word, value in records:
        rest = f" {word}={value}\n".encode()
        length = len(rest) + 1
        while length != len(str(length)) + len(rest):
            length = len(str(length)) + len(rest)
        body += str(length).encode() + rest
    return member("pax", body, kind)


def summed(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def old_sparse(places: Iterable[tuple[int, int]], size: int, stored: int) -> bytes:
    """GNU tar's own sparse header with the blocks that continue it."""
    parts = [b"%011o\0%011o\0" % place for place in places]
    block = bytearray(header("sparse", tarfile.GNUTYPE_SPARSE, stored))
    block[386:482] = b"".join(parts[:4]).ljust(96, b"\0")
    block[482] = len(parts) > 4
    block[483:495] = b"%011o\0" % size
    blocks = [summed(block)]
    for start in range(4, len(parts), 21):
        more = b"\1" if len(parts) > start + 21 else b"\0"
        blocks.append(b"".join(parts[start : start + 21]).ljust(504, b"\0") + more.ljust(8, b"\0"))
    return b"".join(blocks)


LONG = "d" * 90 + "/" + "n" * 120 + "ü"


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_what_python_writes_is_read(form: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, pax_headers={"comment": "everyone's"}) as tar:
        for name, body in (("short", b"abc"), (LONG, b"x" * 1000), ("empty", b"")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), 1_700_000_000.25
            if form == tarfile.PAX_FORMAT:
                info.pax_headers = {"SCHILY.xattr.user.note": "7" * 5000}
            else:
                info.mtime = 1_700_000_000
            tar.addfile(info, io.BytesIO(body))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, LONG
        tar.addfile(link)
    files = {"short": b"abc", LONG: b"x" * 1000, "empty": b""}
    expected = {name: (Kind.FILE, body) for name, body in files.items()}
    assert read(buffer.getvalue()) == {**expected, "link": (Kind.SYMBOLIC_LINK, LONG.encode())}


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize(
    "options",
    [
        ["--format=v7"],
        ["--format=ustar"],
        ["--format=gnu"],
        ["--format=oldgnu", "--sparse"],
        ["--format=posix"],
        ["--format=gnu", "--sparse"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
    ],
    ids=" ".join,
)
def test_what_tar_writes_is_read(tmp_path: Path, options: list[str]) -> None:
    long = "n" * (60 if "v7" in options[0] else 90)
    (tmp_path / "in" / long).mkdir(parents=True)
    with (tmp_path / "in" / "weights").open("wb") as file:
        for number in range(30):
            file.seek(number * 100_000)
            file.write(b"w" * 5000)
        file.truncate(5_000_000)
    (tmp_path / "in" / long / "short").write_bytes(b"abc")
    tar = subprocess.run(["tar", "-c", *options, "-C", tmp_path / "in", "."], check=True, capture_output=True).stdout
    assert read(tar) == {
        ".": (Kind.DIRECTORY, b""),
        f"./{long}": (Kind.DIRECTORY, b""),
        "./weights": (Kind.FILE, (tmp_path / "in" / "weights").read_bytes()),
        f"./{long}/short": (Kind.FILE, b"abc"),
    }


def test_global_fields_hold_until_a_member_has_its_own() -> None:
    everyone = pax(("mtime", "5.5"), ("comment", "x"), kind=tarfile.XGLTYPE)
    tar = everyone + member("a") + pax(("mtime", "7")) + member("b") + pax(("mtime", "")) + member("c") + CLOSING
    assert {one.name: one.mtime for one in TarReader(io.BytesIO(tar))} == {"a": 5.5, "b": 7.0, "c": 0.0}


WHOLE = member("a.bin", b"A" * 700) + pax(("path", "b.bin")) + member("b", b"B" * 700) + member("c.bin", b"C") + CLOSING


def test_a_byte_of_a_header_that_is_not_as_it_was_is_never_passed_over() -> None:
    """tarfile took a header that is broken for the end, and what came after it was missing without a word."""
    expected = read(WHOLE)
    refused = 0
    for place in (*range(BLOCK), *range(3 * BLOCK, 4 * BLOCK), *range(5 * BLOCK, 6 * BLOCK)):
        tar = bytearray(WHOLE)
        tar[place] ^= 0xFF
        try:
            assert read(bytes(tar)) == expected, place
        except DamagedArchive:
            refused += 1
    assert refused > 3 * BLOCK - 10  # the ends of the checksums themselves are not looked at


def test_every_tar_that_is_cut_off_is_refused() -> None:
    for end in range(0, len(WHOLE) - len(CLOSING), 100):
        with pytest.raises(DamagedArchive, match=f"the tar ends after {end} bytes, without the blocks of zeros"):
            read(WHOLE[:end])
    cut_between = len(member("a.bin", b"A" * 700))
    with pytest.raises(DamagedArchive, match=r'in or after the member "a\.bin"'):
        read(WHOLE[:cut_between])


def test_what_follows_a_block_of_zeros_is_zeros() -> None:
    a, c = member("a", b"A"), member("c", b"C")
    with pytest.raises(DamagedArchive, match=r"a block of zeros at byte 1024, .* is followed by more than zeros"):
        read(a + b"\0" * BLOCK + c + CLOSING)
    with pytest.raises(DamagedArchive, match="archives were joined"):
        read(a + CLOSING + c + CLOSING)
    with pytest.raises(DamagedArchive, match="the member it belongs to is missing"):
        read(a + pax(("comment", "x")) + CLOSING)
    assert read(a + CLOSING + b"\0" * 100_000) == read(a + b"\0" * BLOCK) == {"a": (Kind.FILE, b"A")}


@pytest.mark.parametrize(
    "body", [b"1" * 30_000, b"12 path=evil", b"0 a=\n", b"99 a=b\n", b"6 a b\n", b"5 =b\n", b"-9 a=b\n", b"11 path=a\0\n "]
)
def test_an_extended_header_is_made_of_proper_records(body: bytes) -> None:
    """tarfile took minutes for a long run of digits, and for anything else passed over the rest."""
    with pytest.raises(DamagedArchive, match="an extended header has no proper record at"):
        read(member("pax", body, tarfile.XHDTYPE) + member("a") + CLOSING)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_an_extended_header_that_is_too_large_is_not_read(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_reader, "HEADER_BYTES_MAX", 5000)
    assert list(read(pax(("comment", "9" * 4900)) + member("a") + CLOSING)) == ["a"]
    with pytest.raises(DamagedArchive, match="larger than any real one: 5001 bytes, where at most 5000"):
        read(header("header", kind, 5001))


def test_extended_headers_do_not_keep_the_reader_busy_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_reader, "HEADERS_BYTES_MAX", 5000)
    with pytest.raises(DamagedArchive, match="more than 5000 bytes together"):
        read((pax(("comment", "x" * 2000)) + member("a")) * 3 + CLOSING)


def test_extended_headers_without_a_member_come_to_an_end() -> None:
    with pytest.raises(DamagedArchive, match="more than 16 extended headers"):
        read(pax(("comment", "x")) * 17 + member("a") + CLOSING)


def test_nothing_is_kept_of_global_headers_that_does_not_matter() -> None:
    headers = b"".join(
        pax(*((f"word{part * 1000 + number}", "") for number in range(1000)), kind=tarfile.XGLTYPE) + member(str(part))
        for part in range(10)
    )
    reader = TarReader(io.BytesIO(headers + CLOSING))
    tracemalloc.start()
    try:
        assert sum(1 for _ in reader) == 10
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


def in_content(lines: str) -> bytes:
    """A sparse file of pax's format 1.0, and the bytes "abc"."""
    numbers = lines.encode()
    body = numbers + b"\0" * (-len(numbers) % BLOCK) + b"abc"
    fields = pax(("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "m"), ("GNU.sparse.realsize", "9"))
    return fields + member("x/m", body)


def in_headers(numbers: str) -> bytes:
    """A sparse file of pax's format 0.1, and the bytes "abc"."""
    return pax(("GNU.sparse.size", "9"), ("GNU.sparse.map", numbers), ("GNU.sparse.name", "m")) + member("x/m", b"abc")


def test_sparse_files_have_their_holes() -> None:
    holed = {"m": (Kind.FILE, b"\0\0ab\0\0c\0\0")}
    assert read(in_content("3\n2\n2\n6\n1\n9\n0\n") + CLOSING) == read(in_headers("2,2,6,1,9,0") + CLOSING) == holed
    old = old_sparse([(1000 * number, 1) for number in range(50)], 50_000, 50) + b"x" * 50 + b"\0" * (BLOCK - 50)
    assert read(old + CLOSING) == {"sparse": (Kind.FILE, (b"x" + b"\0" * 999) * 50)}


@pytest.mark.parametrize(
    "numbers",
    ["5,2,1,1", "0,-3", "0,2", "0,4", "7,3", "", "a,b", "٣,3", "99999999999999999999,3"],
)
def test_a_sparse_map_that_does_not_fit_is_refused(numbers: str) -> None:
    """Of a map out of order tarfile read backwards."""
    with pytest.raises(DamagedArchive):
        read(in_headers(numbers) + CLOSING)
    with pytest.raises(DamagedArchive):
        read(in_content(f"{numbers.count(',')}\n" + numbers.replace(",", "\n") + "\n") + CLOSING)


def test_a_sparse_map_is_made_of_pairs() -> None:
    with pytest.raises(DamagedArchive, match="without a proper map"):
        read(in_headers("0,3,9") + CLOSING)


@pytest.mark.parametrize(
    "sparse",
    [
        lambda count: old_sparse([(1, 0)] * count, 1, 0),
        lambda count: old_sparse([(1, 0)] * 5, 1, 0)[:BLOCK] + (b"\0" * 504 + b"\1" + b"\0" * 7) * (count // 21),
        lambda count: in_content(f"{count}\n"),
        lambda count: in_headers(",".join(["0,0"] * count)),
    ],
    ids=["in further headers", "in further headers without any", "in the content", "in the pax header"],
)
def test_a_sparse_map_is_not_kept_without_end(sparse: Callable[[int], bytes]) -> None:
    with pytest.raises(DamagedArchive, match="a sparse file of more than 65536 parts"):
        read(sparse(65_600) + b"\0" * 2_000_000)


def test_a_sparse_map_in_the_content_has_an_end() -> None:
    with pytest.raises(DamagedArchive, match="map has no end"):
        read(in_content("9" * 1500) + CLOSING)
