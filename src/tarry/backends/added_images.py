"""Images that users have added to a data directory: copies, so that a server goes on with what it was given.

``<directory>/<repository and tag>`` is a symbolic link to a copy below ``.versions``, named by its content. To add an image anew
is to replace the link, by one rename: a running server finds the new one when it starts an instance next, and instances that run
keep the files of the old one until a server starts. After a crash the link leads to the old copy, or to the new one, which is on
the disk.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

import structlog

from tarry.backends.image_toml import Image, Reference, check_image
from tarry.backends.trees import discard_tree
from tarry.core.errors import ImageNotFound, InvalidRequest
from tarry.files import make_directory, sync

log = structlog.get_logger(__name__)

ANY_TAG = "*"
REQUIREMENTS = "requirements.txt"
_VERSIONS = ".versions"
_NAME_CHARACTERS_MAX = 255 - len("@") - 16  # of a file's name, with the digest of the content behind it
_ARGUMENTS = ("serve",)  # AWS: what a container is started with (your-algorithms-inference-code)
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
        name = quote(f"{repository}:{tag}", safe="")
        if len(name) > _NAME_CHARACTERS_MAX:
            over = len(name) - _NAME_CHARACTERS_MAX
            raise InvalidRequest(f"{addition.reference} is too long for a file's name: shorten it by {over} characters.")
        values = _values(addition, repository, tag)
        try:
            with self._adding() as work:
                _fill(work, addition.source, values)
                self._publish(name, work)
        except (OSError, UnicodeError) as error:
            raise InvalidRequest(f"{addition.source} cannot be added to {self._directory}: {error}.") from error
        return Image.read(self._directory / name)

    @contextlib.contextmanager
    def _adding(self) -> Iterator[Path]:
        """A place for a copy; while there is one, no server removes what nothing leads to yet."""
        versions = self._directory / _VERSIONS
        make_directory(versions)
        work = versions / f".new-{uuid.uuid4().hex}"
        lock = os.open(versions, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield work
        finally:
            discard_tree(work)
            os.close(lock)

    def _publish(self, name: str, work: Path) -> None:
        version = work.with_name(f"{name}@{_digest(work)}")
        if not version.exists():
            os.sync()
            work.rename(version)
            sync(version.parent)
        self._point(name, version)

    def remove(self, reference: str) -> str:
        """Remove an image, named as it was added; its name. Its copies go when a server starts next: what runs keeps them.

        Errors: InvalidRequest where there is none.
        """
        repository, tag = _names(reference)
        link = self._directory / quote(f"{repository}:{tag}", safe="")
        if not link.is_symlink():
            there = ", ".join(unquote(one.name) for one in sorted(self._links())) or "none"
            raise InvalidRequest(f"No image {repository}:{tag} was added to {self._directory}. Added are: {there}.")
        link.unlink()
        sync(self._directory)
        return f"{repository}:{tag}"

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
        """Remove what no link leads to, unless something is being added. For a server that starts: no instance runs. Blocks."""
        versions = self._directory / _VERSIONS
        if not versions.is_dir():
            return
        lock = os.open(versions, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            used = {link.resolve() for link in self._links()}
            for version in versions.glob("*"):
                if version.resolve() not in used:
                    discard_tree(version)
        except BlockingIOError:
            log.info("an image is being added: old ones are removed at another start")
        finally:
            os.close(lock)

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
        if not own.is_file():
            raise InvalidRequest(f"{own} is not a file: expected TOML that says what to run.")
        try:
            values = tomllib.loads(own.read_text("utf-8"))
        except OSError as error:
            raise InvalidRequest(f"{own} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{own} is not valid TOML: {error}.") from error
    values |= {"repositories": [repository], "tags": [tag]}
    if "command" not in values:
        values["command"] = _command(source)
    if addition.python is not None:
        values["python"] = addition.python
    if "requirements" not in values and ((source / REQUIREMENTS).exists() or "python" in values):
        values["requirements"] = REQUIREMENTS
    check_image(own, values)
    for key in ("requirements", "sources"):
        if key in values:
            _check_inside(own, key, values[key])
    return values


def _check_inside(own: Path, key: str, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InvalidRequest(f"{own}: {key} must name a file in the directory, got {name!r}: only that is copied.")
    if name != REQUIREMENTS and not (own.parent / name).is_file():
        raise InvalidRequest(f"{own}: {key} names {name!r}, and there is no such file in the directory.")


def _command(source: Path) -> list[str]:
    program = source / "serve"
    if program.is_file():
        if not os.access(program, os.X_OK):
            raise InvalidRequest(f"{program} is not executable: chmod +x {program}.")
        return ["{image}/serve", *_ARGUMENTS]
    if (source / "serve.py").is_file():
        return ["{python}", "{image}/serve.py", *_ARGUMENTS]
    raise InvalidRequest(
        f"{source} has neither a program serve, nor serve.py, nor an image.toml with a command. Put an executable named serve "
        "into it that listens on the port that SAGEMAKER_BIND_TO_PORT names and answers GET /ping and POST /invocations."
    )


def _fill(work: Path, source: Path, values: Mapping[str, Any]) -> None:
    """Copy a directory, with what its ``image.toml`` has become; whole and right when this returns. Errors: InvalidRequest."""
    try:
        shutil.copytree(source, work, ignore=shutil.ignore_patterns(*_NOT_COPIED), copy_function=_copy_file)
    except shutil.Error as error:
        raise InvalidRequest(f"{source} cannot be copied: {error.args[0][0][2]}.") from error
    if values.get("requirements") == REQUIREMENTS:
        (work / REQUIREMENTS).touch()
    (work / "image.toml").write_text(_toml(values), "utf-8")
    _open_to_all(work)
    Image.read(work)


def _copy_file(source: str, target: str) -> None:
    if not stat.S_ISREG(os.stat(source).st_mode):  # noqa: PTH116 - also through links
        raise InvalidRequest(f"{source} is neither a file nor a directory: an image is made of these alone.")
    shutil.copy2(source, target)


def _open_to_all(top: Path) -> None:
    """Readable for the user that instances become; the data directory above is not."""
    for folder, _, names in os.walk(top):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            mode = path.stat().st_mode
            path.chmod(mode | (0o755 if path.is_dir() or mode & 0o100 else 0o644))


def _digest(top: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in top.rglob("*") if path.is_file()):
        digest.update(os.fsencode(f"{path.relative_to(top)}\0{path.stat().st_mode:o}\0{path.stat().st_size}\0"))
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _toml(values: Mapping[str, Any]) -> str:
    """Texts, lists of texts, and tables of texts; TOML writes them as JSON does, in Unicode and with DEL escaped."""
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"{name} = {_quoted(value)}" for name, value in flat.items()]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{_quoted(key)} = {_quoted(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
