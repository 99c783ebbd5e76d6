"""What a power cut may leave of a directory: the model that a program has to be written for.

A write is durable once an fsync of its file that began after it has returned; a name (created, renamed, removed) once an
fsync of its directory has. Everything else may be there, or not, or in part: the caller of ``survivors`` chooses whether nothing
of it is, or what the dice say. No file system is as bad as this, and a program that outlives this outlives all of them.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tests.support.power_cut.trace import NAME, OPEN, SYNC, TRUNCATE, UNKNOWN, WRITE, Call

BLOCK_BYTES = 4096
"""What a disk writes at once; a longer write may survive in part."""


@dataclass(slots=True, eq=False)
class Change:
    """A change that no sync has made durable yet. ``ended``: the call has returned, so a sync from now on covers it."""

    ended: bool = False


@dataclass(slots=True, eq=False)
class Written(Change):
    """Bytes at an offset of a file."""

    offset: int = 0
    data: bytes = b""


@dataclass(slots=True, eq=False)
class Truncated(Change):
    """A file's new size."""

    size: int = 0


@dataclass(slots=True, eq=False)
class Named(Change):
    """An entry of a directory; None: removed. A renamed file has left its old name in the same moment."""

    name: str = ""
    node: "File | Directory | None" = None
    before: str | None = None


@dataclass(slots=True, eq=False)
class File:
    """A file without its names."""

    durable: bytearray = field(default_factory=bytearray)
    changes: list[Change] = field(default_factory=list)
    position: int = 0
    """Where the next plain write goes: each file here has one writer, which began at 0."""


@dataclass(slots=True, eq=False)
class Directory:
    """A directory: the entries that are durable, those that programs see now, and the changes between them."""

    durable: "dict[str, File | Directory]" = field(default_factory=dict)
    seen: "dict[str, File | Directory]" = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


class Step(NamedTuple):
    """Something that happens at a line of the log."""

    line: int
    happen: Callable[[], None]


class Disk:
    """The tree below ``root``, which is there and durable from the beginning. ``ignored`` names (relative) may be lost."""

    def __init__(self, root: Path, ignored: Callable[[PurePosixPath], bool]) -> None:
        self._root = root
        self._ignored = ignored
        self._tree = Directory()

    def steps(self, calls: Iterable[Call]) -> list[Step]:
        """What these calls do to the disk, by line. To be made to happen in order."""
        found = [step for call in calls for step in self._steps_of(call)]
        return sorted(found, key=lambda step: step.line)

    def survivors(self, target: Path, dice: random.Random | None = None) -> None:
        """Write what a power cut now would leave into the new directory ``target``."""
        _restore(self._tree, target, dice)

    def unsynced(self, path: Path) -> int:
        """How many changes of a file, or of the names in a directory, a power cut now might take back."""
        node = self._find(path)
        return 0 if node is None else len(node.changes)

    # ------------------------------------------------------------------------------------------------------ calls → steps

    def _steps_of(self, call: Call) -> Iterator[Step]:
        """A change may be on the disk from the line where its call began; a sync covers what had ended before it began."""
        paths = [path for path in self._paths(call) if self._mine(path)]
        if not paths or call.result < 0:
            return
        assert call.name not in UNKNOWN, f"the model of the disk does not know {call.name}: {paths}"
        if call.name in SYNC:
            if call.end is not None:
                yield from self._sync(call, paths[0])
            return
        changes: list[Change] = []
        yield Step(call.begin, lambda: changes.extend(self._apply(call, paths)))
        if call.end is not None:
            yield Step(call.end, lambda: _end(changes))

    def _sync(self, call: Call, path: Path) -> Iterator[Step]:
        covered: list[Change] = []
        nodes: list[File | Directory] = []

        def begin() -> None:
            node = self._find(path)
            assert node is not None, f"a sync of {path}, which is not there"
            nodes.append(node)
            covered.extend(change for change in node.changes if change.ended)

        def end() -> None:
            for change in covered:
                if change in nodes[0].changes:
                    nodes[0].changes.remove(change)
                    _make_durable(nodes[0], change)

        assert call.end is not None
        yield Step(call.begin, begin)
        yield Step(call.end, end)

    def _apply(self, call: Call, paths: list[Path]) -> list[Change]:
        if call.name in OPEN:
            return self._open(paths[0], call.arguments)
        if call.name in WRITE:
            return [self._write(call, paths[0])]
        if call.name in TRUNCATE:
            return [_changed(self._file(paths[0]), Truncated(size=call.number))]
        if call.name.startswith("rename"):
            node = self._find(paths[0])
            assert node is not None, paths
            assert paths[0].parent == paths[1].parent, f"a file moved from one directory to another: {paths}"
            return [self._name(paths[1], node, before=paths[0].name)]
        if call.name.startswith("mkdir"):
            return [self._name(paths[0], Directory())]
        return [self._name(paths[0], None)]

    def _open(self, path: Path, arguments: str) -> list[Change]:
        node = self._find(path)
        if node is None:
            return [self._name(path, File())] if "O_CREAT" in arguments else []
        if "O_TRUNC" in arguments and isinstance(node, File):
            node.position = 0
            return [_changed(node, Truncated())]
        return []

    def _write(self, call: Call, path: Path) -> Change:
        file, data = self._file(path), call.data
        if call.name.startswith("pwrite"):
            return _changed(file, Written(offset=call.number, data=data))
        written = Written(offset=file.position, data=data)
        file.position += len(data)
        return _changed(file, written)

    # -------------------------------------------------------------------------------------------------------------- names

    def _paths(self, call: Call) -> list[Path]:
        """The files that a call is about."""
        if call.name in WRITE or call.name in SYNC or call.name == "ftruncate":
            return [Path(call.descriptor)]
        if call.name == "sendfile":
            return [Path(call.descriptor)]  # the target; what is read does not matter
        if call.name in UNKNOWN:
            return [Path(name) for name in (*call.descriptors, *(each.decode() for each in call.strings))]
        if call.name not in (*OPEN, *NAME, *TRUNCATE):
            return []
        names = [Path(each.decode()) for each in call.strings]
        bases = call.descriptors if "at" in call.name.removeprefix("creat").removeprefix("truncate") else []
        return [Path(base) / name for base, name in zip(bases, names, strict=False)] if bases else names

    def _mine(self, path: Path) -> bool:
        if not path.is_relative_to(self._root) or path == self._root.parent or path.name.endswith(" (deleted)"):
            return False
        return not self._ignored(PurePosixPath(path.relative_to(self._root)))

    def _find(self, path: Path) -> "File | Directory | None":
        node: File | Directory | None = self._tree
        for part in path.relative_to(self._root).parts:
            node = node.seen.get(part) if isinstance(node, Directory) else None
        return node

    def _file(self, path: Path) -> File:
        node = self._find(path)
        assert isinstance(node, File), f"{path} is written to, and is not there"
        return node

    def _name(self, path: Path, node: "File | Directory | None", before: str | None = None) -> Change:
        directory = self._find(path.parent)
        assert isinstance(directory, Directory), path
        change = Named(name=path.name, node=node, before=before)
        _enter(directory.seen, change)
        return _changed(directory, change)


def _end(changes: Iterable[Change]) -> None:
    for change in changes:
        change.ended = True


def _changed(node: "File | Directory", change: Change) -> Change:
    node.changes.append(change)
    return change


def _make_durable(node: "File | Directory", change: Change) -> None:
    if isinstance(node, File):
        _put(node.durable, change)
    else:
        _enter(node.durable, change)


def _put(content: bytearray, change: Change) -> None:
    if isinstance(change, Truncated):
        content[:] = content[: change.size].ljust(change.size, b"\0")
    elif isinstance(change, Written):
        end = change.offset + len(change.data)
        content.extend(bytes(max(0, end - len(content))))
        content[change.offset : end] = change.data


def _enter(entries: "dict[str, File | Directory]", change: Change) -> None:
    assert isinstance(change, Named)
    if change.before is not None:
        entries.pop(change.before, None)
    if change.node is None:
        entries.pop(change.name, None)
    else:
        entries[change.name] = change.node


def _restore(directory: Directory, target: Path, dice: random.Random | None) -> None:
    entries = dict(directory.durable)
    for change in directory.changes:
        if dice is not None and dice.random() < 0.5:
            _enter(entries, change)
    if entries:  # an empty directory is worth nothing: whoever needs it makes it anew
        target.mkdir(mode=0o700)
    for name, node in entries.items():
        if isinstance(node, Directory):
            _restore(node, target / name, dice)
        else:
            (target / name).write_bytes(_content(node, dice))


def _content(file: File, dice: random.Random | None) -> bytes:
    content = bytearray(file.durable)
    for change in file.changes if dice is not None else ():
        for piece in _pieces(change):
            if dice is not None and dice.random() < 0.5:
                _put(content, piece)
    return bytes(content)


def _pieces(change: Change) -> Iterator[Change]:
    if not isinstance(change, Written):
        yield change
        return
    start = 0
    while start < len(change.data):
        end = start + BLOCK_BYTES - (change.offset + start) % BLOCK_BYTES
        yield Written(offset=change.offset + start, data=change.data[start:end])
        start = end
