"""What an image needs must never mix with what the server needs, and building it takes minutes: it is built once and kept.

``<directory>/<hash of requirements and Python>`` is a virtual environment made from hashed lock files: one of wheels and, for
packages that nobody has built, one of source archives, which are built with what the first one brought. It is built in place and
counts only when its marker file stands: the marker is written last, after everything before it is on disk. (Not under a temporary
name that is renamed at the end: the console scripts that real toolkits start, such as torchserve, carry absolute paths.)
A lock on ``<hash>.lock`` keeps a second builder out, also one of another server that shares the directory; the builders inherit
it, so it lasts until the last of them has ended. What a crash left half-built has no marker and is built anew.

A source archive's own code runs in a build, so a build has a limit in time, and nothing that it has started outlives it: the
builders carry a token, by which all of them are ended with the build or, after a crash, when the owner's next server starts.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import structlog

from tarry.backends import pythons
from tarry.backends.engines.launching import Program, launch
from tarry.backends.engines.processes import TOKEN_VARIABLE, end_carriers
from tarry.backends.pythons import Interpreter
from tarry.backends.trees import discard_tree
from tarry.core.errors import ImageBroken
from tarry.files import sync

log = structlog.get_logger(__name__)

MARKER = ".complete"
_STEPS = ("Collecting", "Downloading", "Installing", "Resolved", "Prepared", "Installed", "Using cached", "Looking in")
_ERRORS = ("ERROR:", "error:", "╰─▶")
_TAIL_LINES = 30
_LOCK_POLL_S = 0.1
_LINE_BYTES_MAX = 64 * 1024
_NOT_HANDED_ON = ("PYTHON", "TARRY_", "AWS_", "VIRTUAL_ENV", "__PYVENV")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A complete environment: its interpreter and the folder of its programs."""

    python: Path
    programs: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an environment is made of: two hashed lock files, the second of source archives, and code that must run in it.

    Requirements without hashes are for images that users add: what fits today is installed, and kept.
    """

    requirements: Path
    sources: Path | None = None
    interpreter: Interpreter = field(default_factory=pythons.own)
    checks: Sequence[str] = ()

    def is_locked(self) -> bool:
        """Whether the requirements have hashes. Blocks. Errors: OSError."""
        return b"--hash=" in self.requirements.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRules:
    """How long a build may take, waiting for another one of the same included; ``owner``: how its processes' tokens begin."""

    timeout_s: float = 3600.0
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)


class Environments:
    """The virtual environments of all images below one directory; several servers may share it."""

    def __init__(self, directory: Path, progress: Progress | None = None, rules: BuildRules | None = None) -> None:
        """``progress`` is called with a line of text that says how far a build is; without it the lines are logged."""
        self._directory = directory
        self._progress = progress
        self._rules = rules or BuildRules()

    async def provide(self, name: str, recipe: Recipe) -> Environment:
        """The environment of a recipe; built first if it does not exist yet. ``name`` is for people. Cancelling ends the build.

        Errors: ImageBroken, with the last lines of what the builder said; also when it takes too long. After a crash: built anew.
        """
        lock_text = await asyncio.to_thread(_read, name, recipe)
        folder = self._directory / _key(lock_text, recipe.interpreter)
        if (folder / MARKER).exists():
            return _environment(folder)
        try:
            await asyncio.to_thread(self._directory.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise ImageBroken(f"The environments directory {self._directory} cannot be made: {error.strerror}.") from error
        tail: deque[str] = deque(["(another build of it is running)"], maxlen=_TAIL_LINES)
        try:
            async with asyncio.timeout(self._rules.timeout_s) as limit:
                await self._wait_and_build(name, folder, recipe, tail)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ImageBroken(_too_long(name, self._rules.timeout_s, tail)) from error
        return _environment(folder)

    async def _wait_and_build(self, name: str, folder: Path, recipe: Recipe, tail: deque[str]) -> None:
        async with _locked(
            folder.with_name(f"{folder.name}.lock"), lambda: self._say(f"{name}: another build is running")
        ) as lock:
            if not (folder / MARKER).exists():
                token = f"{self._rules.owner}/build/{folder.name}/"
                await self._build(
                    _Build(name=name, folder=folder, recipe=recipe, lock=lock, say=self._say, token=token, tail=tail)
                )

    async def look(self, name: str, recipe: Recipe) -> tuple[Path, str]:
        """The folder of a recipe's environment, and its state: ready, being built, not built. Errors: ImageBroken."""
        folder = self._directory / _key(await asyncio.to_thread(_read, name, recipe), recipe.interpreter)
        if (folder / MARKER).exists():
            return folder, "ready"
        return folder, "being built" if _is_locked(folder.with_name(f"{folder.name}.lock")) else "not built"

    async def _build(self, build: "_Build") -> None:
        began = time.monotonic()
        self._say(f"{build.name}: building its environment (once; this takes a minute or so)")
        await asyncio.to_thread(discard_tree, build.folder)
        try:
            await build.run_all()
            await asyncio.to_thread(_complete, build.folder)
        except BaseException:
            await asyncio.to_thread(discard_tree, build.folder)
            raise
        self._say(f"{build.name}: environment ready after {time.monotonic() - began:.0f} s")

    def _say(self, line: str) -> None:
        if self._progress is None:
            log.info("environment", progress=line)
        else:
            self._progress(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """One build in progress: the steps, run one after the other by programs that die with this server."""

    name: str
    folder: Path
    recipe: Recipe
    lock: int
    say: Progress
    token: str
    tail: deque[str]
    """The last lines of the step that runs."""

    async def run_all(self) -> None:
        outer, python = str(self.recipe.interpreter.path), str(self.folder / "bin" / "python")
        wheels = ["--no-deps", "--require-hashes", "--only-binary", ":all:"] if self.recipe.is_locked() else []
        wheels += ["-r", str(self.recipe.requirements)]
        if uv := await _working_uv():
            await self._run([uv, "venv", "--quiet", "--no-project", "--python", outer, str(self.folder)])
            install = [uv, "pip", "install", "--python", python]
        else:
            await self._run([outer, "-m", "venv", str(self.folder)])
            install = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        await self._run([*install, *wheels])
        if self.recipe.sources is not None:
            await self._run([*install, "--no-deps", "--require-hashes", "--no-build-isolation", "-r", str(self.recipe.sources)])
        for statement in self.recipe.checks:
            await self._run([python, "-I", "-c", statement])

    async def _run(self, command: Sequence[str]) -> None:
        marks = {TOKEN_VARIABLE: self.token}
        builder = Program(command=command, environment={**_builder_environment(os.environ), **marks})
        pipe, same = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        self.tail.clear()
        process = await launch(
            builder, marks=marks, keep=(self.lock,), stdout=pipe, stderr=same, limit=_LINE_BYTES_MAX, start_new_session=True
        )
        try:
            async for line in _lines(cast("asyncio.StreamReader", process.stdout)):
                self.tail.append(line.replace(self.token, "(token)"))  # a FailureReason may quote it
                if line.lstrip().startswith(_STEPS):
                    self.say(f"{self.name}: {line.split(' (from ')[0].strip()[:150]}")
            code = await process.wait()
        finally:
            await end_carriers(self.token)  # first: what holds its output would keep it from being waited for
            if process.returncode is None:
                process.kill()
                await process.wait()
        if code != 0:
            tail = [line for line in self.tail if not line.lstrip().startswith(_STEPS)]
            said = "\n".join(tail)
            raise ImageBroken(
                f'The environment of image "{self.name}" could not be built: {Path(command[0]).name} ended with code {code}: '
                f"{_cause(tail)}\nIts last lines:\n{said}"
            )


def _too_long(name: str, timeout_s: float, tail: Sequence[str]) -> str:
    said = "\n".join(tail)
    return (
        f'The environment of image "{name}" could not be built within {timeout_s:g} seconds (engine.build_timeout_s). If its '
        "last lines show progress, raise the setting or build it before there is an endpoint (tarry images build); else look at "
        f"its requirements.\nIts last lines:\n{said}"
    )


def _cause(lines: Sequence[str]) -> str:
    """The line that says why: the last error of pip's or uv's, else the last one."""
    named = [line for line in lines if line.lstrip().startswith(_ERRORS)] or list(lines)
    return f"{named[-1].strip().rstrip('.')}." if named else "it said nothing."


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of text; an endless line comes in pieces."""
    rest = b""
    while data := await stream.read(_LINE_BYTES_MAX):
        *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
        for line in whole:
            if line.strip():
                yield line.decode("utf-8", "replace")
        if len(rest) > _LINE_BYTES_MAX:
            yield rest.decode("utf-8", "replace")
            rest = b""
    if rest.strip():
        yield rest.decode("utf-8", "replace")


async def _working_uv() -> str | None:
    """The path of uv, if it is there and runs (a version manager's shim may stand in for nothing)."""
    path = shutil.which("uv")
    if path is None:
        return None
    probe = await asyncio.create_subprocess_exec(
        path, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return path if await probe.wait() == 0 else None


@contextlib.asynccontextmanager
async def _locked(file: Path, on_wait: Callable[[], None]) -> AsyncIterator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waited = False
        while not _try_lock(descriptor):
            if not waited:
                on_wait()
            waited = True
            await asyncio.sleep(_LOCK_POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(name: str, recipe: Recipe) -> bytes:
    files = [recipe.requirements, *([] if recipe.sources is None else [recipe.sources])]
    texts = []
    for file in files:
        try:
            texts.append(file.read_bytes())
        except OSError as error:
            raise ImageBroken(f'The requirements file of image "{name}" cannot be read: {file}: {error.strerror}.') from error
    return b"\0".join(texts)


def _key(lock_text: bytes, interpreter: Interpreter) -> str:
    """Another Python, another machine or another lock file is another environment."""
    kind = f"{sys.implementation.name} {interpreter.version} {platform.machine()} {os.path.realpath(interpreter.path)}\n"
    return hashlib.sha256(kind.encode() + lock_text).hexdigest()[:32]


def _environment(folder: Path) -> Environment:
    return Environment(python=folder / "bin" / "python", programs=folder / "bin")


def _complete(folder: Path) -> None:
    os.sync()  # once per build, and cheaper than one fsync per file: after a power cut the marker must not stand alone
    marker = folder / MARKER
    marker.touch()
    for path in (marker, folder):
        sync(path)


def _builder_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The server's own, since proxies and package indexes are configured there; without what would lead the builder astray."""
    kept = {key: value for key, value in environ.items() if not key.startswith(_NOT_HANDED_ON)}
    return {**kept, "PYTHONUNBUFFERED": "1", "PIP_PROGRESS_BAR": "off", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
