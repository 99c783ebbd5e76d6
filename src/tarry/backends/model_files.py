"""Model data that is no archive: objects that become files, whose names come from outside and must stay inside.

AWS: S3ModelDataSource, API reference: an object becomes a file of its key's last part; under a prefix, what is left of each
key becomes the path. Names that are empty, ``.``, ``..``, longer than 255 bytes or have a NUL are not allowed, nor is one that is
both a file and a directory.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from tarry.backends.model_archive import TOO_LARGE, ArchiveBounds, ArchiveRefused, check_path
from tarry.backends.tar_reader import shown
from tarry.ports import ListedObject


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One object and the path that it becomes, relative to the model's directory."""

    listed: ListedObject
    path: PurePosixPath


def file_name(key: str) -> str:
    """The file name of a single object: its key's last part. Errors: ArchiveRefused."""
    return str(_path(key.rpartition("/")[2], key))


def files_under(prefix: str, listed: Iterable[ListedObject], bounds: ArchiveBounds) -> list[ModelFile]:
    """The files that the objects under a prefix become.

    OURS: an empty object whose key ends with a slash is what consoles make to show a folder; AWS fails the deployment, here it is
    passed over. Errors: ArchiveRefused for names that cannot be files side by side, and for too much.
    """
    files: list[ModelFile] = []
    paths: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    size = 0
    for one in listed:
        if one.key.endswith("/") and one.size == 0:
            continue
        path = _path(one.key.removeprefix(prefix), one.key)
        size += one.size
        files.append(ModelFile(one, path))
        if len(files) > bounds.members_max or size > bounds.unpacked_bytes_max:
            raise ArchiveRefused(TOO_LARGE)
        paths.add(path)
        folders.update(path.parents)
    if both := paths & folders:
        raise ArchiveRefused(f'"{shown(str(min(both)))}" would be a file and a directory at once.')
    return files


def _path(rest: str, key: str) -> PurePosixPath:
    parts = rest.split("/")
    if not all(_is_name(part) for part in parts):
        raise ArchiveRefused(f'The key "{shown(key)}" cannot be the name of a file.')
    check_path(rest, parts)
    return PurePosixPath(*parts)


def _is_name(part: str) -> bool:
    return bool(part.strip()) and part not in {".", ".."} and "\0" not in part
