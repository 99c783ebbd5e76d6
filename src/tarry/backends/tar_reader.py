"""Reads a tar archive that comes from outside: every header is bounded, and nothing that is amiss is taken for the end.

``tarfile`` takes extended headers and sparse maps into memory whole, keeps global headers, matches them in a time that grows with
the square of their size (holding the lock of the interpreter), and ends without a word at a header that is broken. Of it only the
parser of a single header block is used here.

Read are ustar, pax (POSIX.1-2001) and GNU's long names and sparse files. Why not tarfile alone: docs/decisions/0009.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

BLOCK_BYTES = 512
HEADER_BYTES_MAX = 1024 * 1024
HEADERS_BYTES_MAX = 1024 * 1024 * 1024
HEADERS_IN_A_ROW_MAX = 16
EXTENTS_MAX = 65_536
"""OURS: extended attributes make headers of a few KB, four kinds of them may precede a member, and few files have many holes.
All headers of one archive together take a few minutes to look through at most.
"""
_PIECE_BYTES = 1024 * 1024
_KEPT_GLOBALLY = frozenset({"path", "linkpath", "size", "mtime"})
_KEPT = _KEPT_GLOBALLY | {f"GNU.sparse.{word}" for word in ("name", "size", "realsize", "map", "major", "minor")}
_SPARSE_PLACES = ("GNU.sparse.offset", "GNU.sparse.numbytes")
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_TIME = re.compile(r"-?[0-9]{1,19}(\.[0-9]{0,30})?", re.ASCII)


class DamagedArchive(Exception):
    """The archive is no tar, or not whole; the text says where, what was expected and what came."""


Extents = Sequence[tuple[int, int]]


class Kind(Enum):
    """What a member is; OTHER is everything that no model has, like devices."""

    FILE = auto()
    DIRECTORY = auto()
    SYMBOLIC_LINK = auto()
    HARD_LINK = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One member. ``extents`` are (offset, length) of its bytes in the file, in order; between them are zeros, up to ``size``."""

    name: str
    kind: Kind
    target: str
    mode: int
    mtime: float
    size: int = 0
    extents: Extents = ()


class Stream(Protocol):
    """What the archive comes from, unpacked."""

    def read(self, size: int, /) -> bytes:
        """As many bytes as asked for; fewer only at the end."""
        ...


class TarReader:
    """The members of an archive, one after the other, and the bytes of the one that came last.

    Reading to the end checks everything: headers, the two closing blocks, and that the stream ends after them.
    Errors: DamagedArchive, and what the stream raises.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._position = 0
        self._global: dict[str, str] = {}
        self._place = "at its beginning"
        self._unread = 0
        self._padding = 0
        self._extended_bytes = 0

    def __iter__(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member

    def content(self, member: Member) -> Iterator[tuple[int, bytes]]:
        """The bytes of the member that came last, in pieces, each with its offset in the file."""
        for start, length in member.extents:
            end = start + length
            while start < end:
                piece = self._read(min(end - start, _PIECE_BYTES))
                self._unread -= len(piece)
                yield start, piece
                start += len(piece)

    def _next(self) -> Member | None:
        self._skip(self._unread + self._padding)
        self._unread = self._padding = 0
        fields: dict[str, str] = {}
        awaited = False
        for _ in range(HEADERS_IN_A_ROW_MAX):
            block = self._read(BLOCK_BYTES)
            header = self._header(block)
            if header is None:
                self._end(awaited)
                return None
            if header.type == tarfile.XGLTYPE:
                found = self._fields(header)
                self._global |= {word: found[word] for word in _KEPT_GLOBALLY & found.keys()}
                continue
            if header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                fields |= self._fields(header)
            elif header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                word = "path" if header.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                fields[word] = _text(self._extended(header).partition(b"\0")[0])
            else:
                return self._member(header, block, self._global | fields)
            awaited = True
        raise self._damaged(f"more than {HEADERS_IN_A_ROW_MAX} extended headers follow one another, without a member")

    def _header(self, block: bytes) -> tarfile.TarInfo | None:
        """None for a block of zeros."""
        if not block.strip(b"\0"):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise self._damaged(
                f"the block at byte {self._position - BLOCK_BYTES} should be a header and is none: {error}"
            ) from error
        if header.size < 0:
            raise self._damaged(f'the member "{shown(header.name)}" has a negative size, {header.size}')
        return header

    def _end(self, awaited: bool) -> None:
        """After the first closing block: nothing but zeros until the stream ends, which has its own checksum looked at."""
        if awaited:
            raise self._damaged("an extended header is the last one, and the member it belongs to is missing")
        closed = self._position - BLOCK_BYTES
        while piece := self._some(_PIECE_BYTES):
            if piece.strip(b"\0"):
                raise self._damaged(
                    f"a block of zeros at byte {closed}, which ends a tar archive, is followed by more than zeros: a header is "
                    "lost, or archives were joined"
                )

    def _extended(self, header: tarfile.TarInfo) -> bytes:
        """What an extended header holds."""
        if header.size > HEADER_BYTES_MAX:
            raise self._damaged(
                f"an extended header is larger than any real one: {header.size} bytes, where at most {HEADER_BYTES_MAX} are read"
            )
        self._extended_bytes += header.size
        if self._extended_bytes > HEADERS_BYTES_MAX:
            raise self._damaged(f"its extended headers have more than {HEADERS_BYTES_MAX} bytes together")
        return self._read(header.size + _padding(header.size))[: header.size]

    def _fields(self, header: tarfile.TarInfo) -> dict[str, str]:
        """The records of a pax header that matter here."""
        fields: dict[str, str] = {}
        places: list[str] = []
        for word, value in self._records(self._extended(header)):
            if word in _KEPT:
                fields[word] = _text(value)
            elif word in _SPARSE_PLACES:  # the oldest form: one record for each number
                places.append(_text(value))
        if places:
            fields["GNU.sparse.map"] = ",".join(places)
        return fields

    def _records(self, body: bytes) -> Iterator[tuple[str, bytes]]:
        """Each is ``length word=value`` and a line's end; the length counts all of it."""
        start = 0
        while start < len(body):
            space = body.find(b" ", start, start + len(str(HEADER_BYTES_MAX)) + 1)
            digits = body[start:space] if space > start else b""
            end = start + int(digits) if digits.isdigit() else 0
            word, equals, value = body[space + 1 : end - 1].partition(b"=")
            if not space < end <= len(body) or body[end - 1 : end] != b"\n" or not equals or not word:
                raise self._damaged(f'an extended header has no proper record at "{shown(_text(body[start : start + 40]))}"')
            yield _text(word), value
            start = end

    def _member(self, header: tarfile.TarInfo, block: bytes, given: Mapping[str, str]) -> Member:
        fields = {word: value for word, value in given.items() if value}  # pax: an empty value takes an earlier one back
        name = fields.get("GNU.sparse.name") or fields.get("path") or header.name
        self._place = f'in or after the member "{shown(name)}"'
        mtime = fields.get("mtime", str(header.mtime))
        if not _TIME.fullmatch(mtime):
            raise self._damaged(f'its time is no number of seconds: "{shown(mtime[:40])}"')
        kind = _kind(header)
        size, extents = self._size_and_extents(header, block, fields) if kind is Kind.FILE else (0, ())
        target = fields.get("linkpath", header.linkname)
        return Member(name=name, kind=kind, target=target, mode=header.mode, mtime=float(mtime), size=size, extents=extents)

    def _size_and_extents(self, header: tarfile.TarInfo, block: bytes, fields: Mapping[str, str]) -> tuple[int, Extents]:
        """Of a file, plain or sparse. What is read next is its bytes."""
        stored = self._number(fields.get("size", str(header.size)))
        self._unread, self._padding = stored, _padding(stored)
        size = fields.get("GNU.sparse.realsize") or fields.get("GNU.sparse.size", "")
        if header.type == tarfile.GNUTYPE_SPARSE:
            return self._checked(_octal(block[483:495]), self._map_in_headers(block))
        if "GNU.sparse.map" in fields or "GNU.sparse.size" in fields:
            places = fields.get("GNU.sparse.map", "").split(",", 2 * EXTENTS_MAX + 1)
            self._check_extents(len(places) // 2)
            return self._checked(self._number(size), [self._number(place) for place in places])
        if "GNU.sparse.major" in fields:
            return self._checked(self._number(size), self._map_in_content())
        return stored, ((0, stored),)

    def _checked(self, size: int | None, numbers: Sequence[int | None]) -> tuple[int, Extents]:
        """A sparse file's places and lengths: in order, inside of the file, and of as many bytes as follow."""
        known = [number for number in numbers if number is not None]
        extents = tuple(zip(known[::2], known[1::2], strict=False))
        ends = [0, *(offset + length for offset, length in extents)]
        proper = len(known) == len(numbers) == 2 * len(extents) and all(
            end <= offset for end, (offset, _) in zip(ends, extents, strict=False)
        )
        if size is None or not proper or ends[-1] > size or sum(known[1::2]) != self._unread:
            raise self._damaged(f"it is a sparse file without a proper map, with {len(extents)} parts and {self._unread} bytes")
        return size, extents

    def _map_in_headers(self, block: bytes) -> list[int | None]:
        """GNU tar's own format: four parts in the header, then 21 in each further block."""
        fields, more = block[386:482], block[482]
        numbers: list[int | None] = []
        places = 0
        while True:
            places += len(fields) // 24
            self._check_extents(places)
            for start in range(0, len(fields), 24):
                if fields[start + 12]:  # else this place is not used
                    numbers += [_octal(fields[start : start + 12]), _octal(fields[start + 12 : start + 24])]
            if not more:
                return numbers
            further = self._read(BLOCK_BYTES)
            fields, more = further[:504], further[504]

    def _map_in_content(self) -> list[int]:
        """pax, sparse format 1.0: lines of digits before the content, in whole blocks; the first is the number of parts."""
        numbers: list[int] = []
        wanted, rest = 1, b""
        while len(numbers) < wanted:
            line, ends, after = rest.partition(b"\n")
            if ends:
                numbers.append(self._number(_text(line)))
                wanted, rest = 1 + 2 * numbers[0], after
                self._check_extents(numbers[0])
            elif len(rest) > BLOCK_BYTES or self._unread < BLOCK_BYTES:
                raise self._damaged("its sparse map has no end")
            else:
                rest += self._read(BLOCK_BYTES)
                self._unread -= BLOCK_BYTES
        return numbers[1:]

    def _check_extents(self, count: int) -> None:
        if count > EXTENTS_MAX:
            raise self._damaged(f"it is a sparse file of more than {EXTENTS_MAX} parts; pack it without --sparse")

    def _number(self, text: str) -> int:
        if not _NUMBER.fullmatch(text):
            raise self._damaged(f'a size or place in its headers is no number: "{shown(text[:40])}"')
        return int(text)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._read(min(size, _PIECE_BYTES)))

    def _read(self, size: int) -> bytes:
        piece = self._some(size)
        if len(piece) < size:
            raise self._damaged(
                f"the tar ends after {self._position} bytes, without the blocks of zeros that close one: it was cut off"
            )
        return piece

    def _some(self, size: int) -> bytes:
        try:
            piece = self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(str(error) or type(error).__name__) from error
        self._position += len(piece)
        return piece

    def _damaged(self, reason: str) -> DamagedArchive:
        return DamagedArchive(f"{reason} ({self._place})")


def shown(name: str) -> str:
    """A name from outside as a part of a sentence: cut, and with nothing that is no text."""
    return name[:200].encode("utf-8", "replace").decode()


def _kind(header: tarfile.TarInfo) -> Kind:
    if header.isreg():
        return Kind.FILE
    if header.isdir():
        return Kind.DIRECTORY
    if header.issym():
        return Kind.SYMBOLIC_LINK
    return Kind.HARD_LINK if header.islnk() else Kind.OTHER


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _padding(size: int) -> int:
    return -size % BLOCK_BYTES


def _octal(field: bytes) -> int | None:
    """A number of a header: octal digits, or 0x80 and a binary number. None if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else None
