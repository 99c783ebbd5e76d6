"""Which images this server can start, and how: the catalogue of the process engine.

Directories that the settings name come first, then those that ``tarry images add`` has put into the data directory, then the
built-in ones in ``serving/``. Those that were added are read anew each time, so that a running server finds them.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Self

import structlog

from tarry.backends import pythons
from tarry.backends.added_images import ANY_TAG, AddedImages
from tarry.backends.environments import BuildRules, Environment, Environments, Progress, Recipe
from tarry.backends.image_context import Context
from tarry.backends.image_toml import PORT, Image, Reference, fill
from tarry.backends.interpreters import interpreter_paths
from tarry.backends.pythons import Interpreter
from tarry.core.errors import ImageBroken, ImageNotFound

log = structlog.get_logger(__name__)

BUILT_IN = Path(__file__).parents[1] / "serving"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NAMES_CHARS_MAX = 60
_PYTHON = re.compile(r"3\.\d+(?![\w])")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """Everything that is needed to start an image's server: its command line, PATH and variables.

    ``needed`` are the files and directories that it cannot do without, wherever they lie; ``ports`` the names of those that it
    listens on, the first of them without a name.
    """

    command: tuple[str, ...]
    path: str
    environment: Mapping[str, str]
    needed: tuple[Path, ...] = ()
    ports: tuple[str, ...] = ("",)

    def on(self, ports: Sequence[int]) -> Self:
        """The same with numbers in place of ``{port}`` and ``{port.NAME}``; there are as many as it has ``ports``."""
        numbers = dict(zip(self.ports, ports, strict=True))

        def filled(text: str) -> str:
            return PORT.sub(lambda match: str(numbers[match[1] or ""]), text)

        environment = {name: filled(value) for name, value in self.environment.items()}
        return replace(self, command=tuple(map(filled, self.command)), environment=environment)


class Source(StrEnum):
    """Where an image comes from."""

    SETTINGS = "settings"
    ADDED = "added"
    BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Entry:
    """An image of the catalogue."""

    image: Image
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far an image is from being started: the state of its environment, its Python and folder, and what is wrong."""

    state: str
    python: str = ""
    folder: Path | None = None
    problem: str = ""


class ImageCatalogue:
    """All images that this server can start."""

    def __init__(
        self,
        directories: Sequence[Path],
        environments_dir: Path,
        progress: Progress | None = None,
        added: AddedImages | None = None,
        rules: BuildRules | None = None,
    ) -> None:
        """``directories`` come before all others; ``progress`` hears of builds, ``rules`` are theirs. Errors: InvalidRequest."""
        self._given = tuple(Entry(Image.read(directory), Source.SETTINGS) for directory in directories)
        built_in = sorted(file.parent for file in BUILT_IN.glob("*/image.toml"))
        self._built_in = tuple(Entry(Image.read(directory), Source.BUILT_IN) for directory in built_in)
        self._environments = Environments(environments_dir, progress, rules)
        self._added = added

    def entries(self) -> tuple[Entry, ...]:
        """All images, in the order in which they are asked whether a reference means them."""
        added: list[Entry] = []
        if self._added is not None:
            images, errors = self._added.read()
            added = [Entry(image, Source.ADDED) for image in images]
            for error in errors:
                log.warning("an image that was added cannot be used: add it again", error=str(error))
        return (*self._given, *added, *self._built_in)

    async def check(self, reference: str) -> None:
        """Raise ImageNotFound, with what is known and what to do, unless an image matches."""
        self.find(reference)

    async def served_at_once(self, reference: str, environment: Mapping[str, str]) -> int | None:
        """See ports.Images."""
        try:
            return self.find(reference)[0].image.serves_at_once(environment)
        except ImageNotFound:
            return None

    def find(self, reference: str) -> tuple[Entry, Reference]:
        """The image that a reference means. Errors: ImageNotFound."""
        parsed = Reference.parse(reference)
        entries = self.entries()
        for entry in entries:
            if entry.image.matches(parsed):
                return entry, parsed
        raise ImageNotFound(f'No image is known for "{reference}". {_advice(parsed, [entry.image for entry in entries])}')

    def built_in_tags(self, image: Image) -> tuple[str, ...]:
        """Of one that was added: the tags (patterns) of built-in images that lead to it instead."""
        named = Reference(repository=image.repositories[0], tag=image.tags[0])
        hidden = [entry.image for entry in self._built_in if entry.image.has_repository(named)]
        if named.tag == ANY_TAG:
            return tuple(tag for one in hidden for tag in one.tags)
        return image.tags if any(one.matches(named) for one in hidden) else ()

    async def prepare(self, reference: str) -> PreparedImage:
        """Make sure that an image's environment exists, and say how to start it. Errors: ImageNotFound, ImageBroken."""
        entry, parsed = self.find(reference)
        image = entry.image
        if missing := _missing(image):
            raise ImageBroken(f'Image "{parsed.repository}" {missing}')
        elsewhere = _elsewhere(image)
        python, path = Path(sys.executable), os.pathsep.join([SYSTEM_PATH, *(str(program.parent) for program in elsewhere)])
        if image.requirements is not None:
            environment = await self._environment(image, image.requirements, parsed)
            python, path = environment.python, f"{environment.programs}{os.pathsep}{path}"
        facts = {"{python}": str(python), "{image}": str(image.directory), "{tag}": parsed.tag}
        return PreparedImage(
            command=tuple(fill(word, facts) for word in image.command),
            path=path,
            environment={name: fill(value, facts) for name, value in image.environment.items()},
            needed=(
                image.directory,
                BUILT_IN,  # built-in images share files
                *interpreter_paths(python),
                *(path for program in elsewhere for path in _installation(program)),
            ),
            ports=("", *image.ports),
        )

    async def standing(self, image: Image, reference: Reference | None = None) -> Standing:
        """Whether an image can be started as it is; without a reference, as far as that can be told for all its tags."""
        if missing := _missing(image):
            return Standing(state="cannot be built", problem=missing)
        if image.requirements is None:
            return Standing(state="needs none", python=pythons.own().version)
        if reference is None and "{tag}" in (image.python or ""):
            return Standing(state="one a tag")
        try:
            recipe = await _recipe(image, image.requirements, reference or Reference(repository=image.repositories[0], tag=""))
            folder, state = await self._environments.look(image.repositories[0], recipe)
        except ImageBroken as error:
            return Standing(state="cannot be built", problem=str(error))
        return Standing(state=state, python=recipe.interpreter.version, folder=folder)

    def context(self, reference: str) -> Context:
        """What a build context for Docker is made of. Errors: ImageNotFound, ImageBroken."""
        entry, parsed = self.find(reference)
        image = entry.image
        return Context(
            image=image,
            reference=reference,
            tag=parsed.tag,
            version=_wanted_version(image, parsed) or pythons.own().version.rpartition(".")[0],
            root=BUILT_IN.resolve() if entry.source is Source.BUILT_IN else image.directory,  # built-in images share files
        )

    async def _environment(self, image: Image, requirements: Path, reference: Reference) -> Environment:
        recipe = await _recipe(image, requirements, reference)
        try:
            return await self._environments.provide(reference.repository, recipe)
        except ImageBroken as error:
            cause, line_end, details = str(error).partition("\n")  # a FailureReason may be cut: the cause first, then what to do
            raise ImageBroken(f"{cause} {image.advice}".rstrip() + line_end + details) from error


async def _recipe(image: Image, requirements: Path, reference: Reference) -> Recipe:
    interpreter = await _interpreter(image, reference)
    return Recipe(requirements=requirements, sources=image.sources, interpreter=interpreter, checks=image.checks)


async def _interpreter(image: Image, reference: Reference) -> Interpreter:
    if image.python is None:
        return pythons.own()
    version = _wanted_version(image, reference)
    found = await (pythons.at(Path(image.python)) if version is None else pythons.find(version))
    if found is None:
        raise ImageBroken(
            f'Image "{reference.repository}" needs Python {version or image.python}, and there is none on this machine: '
            "install it, or put it on the PATH of the server."
        )
    return found


def _wanted_version(image: Image, reference: Reference) -> str | None:
    """Such as 3.11; None where the image names no version (but the path of an interpreter, or nothing). Errors: ImageBroken."""
    if image.python is None or image.python.startswith("/"):
        return None
    version = _PYTHON.match(fill(image.python, {"{tag}": reference.tag}))
    if version is None:
        raise ImageBroken(
            f'Image "{reference.repository}" needs a tag that begins with a version of Python, such as 3.11; '
            f'got "{reference.tag}".'
        )
    return version[0]


def hidden_by(entry: Entry, earlier: Sequence[Entry]) -> Source | None:
    """Where the images come from that are taken for all that an entry would be for; None: it is taken for some of it."""
    source = None
    for repository, tag in product(entry.image.repositories, entry.image.tags):
        source = next((one.source for one in earlier if one.image.covers(repository, tag)), None)
        if source is None:
            return None
    return source


def _advice(reference: Reference, images: Sequence[Image]) -> str:
    """What may have been meant: the tags of the repository, those first that begin alike; or the repositories. Else one's own."""
    add = f"tarry images add {reference.repository}"
    tags = [tag.replace("[.-]*", ".*") for image in images if image.has_repository(reference) for tag in image.tags]
    if tags:
        tags.sort(key=lambda tag: not tag.startswith(reference.tag))
        return (
            f'"{reference.repository}" has no tag "{reference.tag}", but {_some(tags)}; use one of these '
            f"(tarry images list has all). Your own for this tag alone: {add}:{reference.tag} DIRECTORY --data-dir DIR."
        )
    names = dict.fromkeys(name for image in images for name in image.repositories)
    known = _some(get_close_matches(reference.repository, names, n=len(names), cutoff=0.0))
    return f"Known are {known}; tarry images list has all. Add your own: {add} DIRECTORY --data-dir DIR."


def _some(names: Sequence[str]) -> str:
    """As many as fit into a sentence."""
    text = names[0]
    for name in names[1:]:
        if len(text) + len(name) > _NAMES_CHARS_MAX:
            return f"{text}, …"
        text = f"{text}, {name}"
    return text


def _missing(image: Image) -> str:
    """What of its programs this machine lacks, in a sentence; empty: nothing."""
    missing = [program for program in image.programs if _find(program) is None]
    if not missing:
        return ""
    return f"needs {', '.join(missing)}, neither in {SYSTEM_PATH} nor on the PATH of the server: install it."


def _find(program: str) -> Path | None:
    """Where a program is, in the system's places or else on the server's own PATH."""
    found = shutil.which(program, path=SYSTEM_PATH) or shutil.which(program)
    return None if found is None else Path(found).absolute()


def _elsewhere(image: Image) -> list[Path]:
    """Those of its programs that are not in the system's places."""
    places = [Path(place) for place in SYSTEM_PATH.split(os.pathsep)]
    return [found for program in image.programs if (found := _find(program)) is not None and found.parent not in places]


def _installation(program: Path) -> Iterator[Path]:
    """What a program needs to run: itself, and all of what was installed with it where that is told by a directory ``bin``."""
    yield program
    real = program.resolve()
    above = real.parent.parent
    alone = real.parent.name != "bin" or above.parent in (Path("/"), Path("/home"))  # no one's home is an installation
    yield real if alone else above
