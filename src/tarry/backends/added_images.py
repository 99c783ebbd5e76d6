"""Images that users have added to a data directory: copies, so that a server goes on with what it was given.

``<directory>/<repository and tag>`` is a symbolic link to a copy below ``.versions``, named by its content. To add an image anew
is to replace the link, by one rename: a running server finds the new one when it starts an instance next, and instances that run
keep the files of the old one until a server starts. After a crash the link leads to the old copy, or to the new one, which is on
the disk.
"""

import hashlib
import json
import os
import shutil
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tarry.backends.image_toml import Image, Reference, check_image
from tarry.backends.trees import discard_tree
from tarry.core.errors import ImageNotFound, InvalidRequest
from tarry.files import make_directory, sync

ANY_TAG = "*"
_VERSIONS = ".versions"
_NOT_COPIED = (".git", ".venv", "__pycache__", "*.pyc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What to add: ``reference`` is ``repository``, for all its tags, or ``repository:tag``.

    ``source`` holds a ``serve`` program or a ``serve.py``, or an ``image.toml`` that says what to run; ``python`` is the version
    (``3.11``) or the path of the interpreter of its environment.
    """

    reference: str
    source: Path
    python: str | None = None


class AddedImages:
    """The images of one data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, addition: Addition) -> Image:
        """Copy an image; durable when this returns. Blocks. Errors: InvalidRequest, which says what to change."""
        repository, tag = _names(addition.reference)
        values = _values(addition, repository, tag)
        versions = self._directory / _VERSIONS
        make_directory(versions)
        work = versions / f".new-{uuid.uuid4().hex}"
        try:
            _copy(addition.source, work)
            if "requirements" in values:
                (work / values["requirements"]).touch()
            (work / "image.toml").write_text(_toml(values), "utf-8")
            _open_to_all(work)
            name = quote(f"{repository}:{tag}", safe="")
            version = versions / f"{name}@{_digest(work)}"
            if not version.exists():
                os.sync()
                work.rename(version)
                sync(versions)
            self._point(name, version)
        finally:
            discard_tree(work)
        return Image.read(self._directory / name)

    def read(self) -> tuple[list[Image], list[InvalidRequest]]:
        """All of them, those of one tag first; and what is wrong with those that cannot be read. Blocks."""
        images, errors = [], []
        for link in sorted(self._links()):
            try:
                images.append(Image.read(link))
            except InvalidRequest as error:
                errors.append(error)
        return sorted(images, key=lambda image: ANY_TAG in "".join(image.tags)), errors

    def discard_old(self) -> None:
        """Remove what no link leads to. For a server that starts: no instance runs. Blocks."""
        used = {link.resolve() for link in self._links()}
        for version in (self._directory / _VERSIONS).glob("*"):
            if version.resolve() not in used:
                discard_tree(version)

    def _links(self) -> Iterator[Path]:
        return (path for path in self._directory.glob("[!.]*") if path.is_dir())

    def _point(self, name: str, version: Path) -> None:
        link = self._directory / f".{uuid.uuid4().hex}"
        link.symlink_to(version.relative_to(self._directory))
        link.replace(self._directory / name)
        sync(self._directory)


def _names(reference: str) -> tuple[str, str]:
    try:
        parsed = Reference.parse(reference)
    except ImageNotFound as error:
        raise InvalidRequest(str(error)) from None
    tagged = reference.rpartition("/")[2]
    return parsed.repository, parsed.tag if ":" in tagged else ANY_TAG


def _values(addition: Addition, repository: str, tag: str) -> Mapping[str, Any]:
    """What the copy's ``image.toml`` says: the directory's own, or what follows from its files."""
    source = addition.source
    if not source.is_dir():
        raise InvalidRequest(f"{source} is no directory. Name one with a serve program, serve.py or image.toml.")
    values: dict[str, Any] = {}
    own = source / "image.toml"
    if own.exists():
        try:
            values = tomllib.loads(own.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{own} is not valid TOML: {error}.") from error
    values |= {"repositories": [repository], "tags": [tag]}
    if "command" not in values:
        values["command"] = _command(source)
    if addition.python is not None:
        values["python"] = addition.python
    if "requirements" not in values and ((source / "requirements.txt").exists() or "python" in values):
        values["requirements"] = "requirements.txt"
    check_image(own, values)
    return values


def _command(source: Path) -> list[str]:
    program = source / "serve"
    if program.is_file():
        if not os.access(program, os.X_OK):
            raise InvalidRequest(f"{program} is not executable: chmod +x {program}.")
        return ["{image}/serve"]
    if (source / "serve.py").is_file():
        return ["{python}", "{image}/serve.py"]
    raise InvalidRequest(
        f"{source} has neither a program serve, nor serve.py, nor an image.toml with a command. Put an executable named serve "
        "into it that listens on the port that SAGEMAKER_BIND_TO_PORT names and answers GET /ping and POST /invocations."
    )


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    except (OSError, shutil.Error) as error:
        raise InvalidRequest(f"{source} cannot be copied: {error}.") from error


def _open_to_all(top: Path) -> None:
    """Readable for the user that instances become; the data directory above is not."""
    for folder, _, names in os.walk(top):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            mode = path.stat().st_mode
            path.chmod(mode | (0o755 if path.is_dir() or mode & 0o100 else 0o644))


def _digest(top: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in top.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(top)}\0{path.stat().st_mode:o}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _toml(values: Mapping[str, Any]) -> str:
    """Texts, lists of texts, and tables of texts; TOML writes them as JSON does."""
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in flat.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
