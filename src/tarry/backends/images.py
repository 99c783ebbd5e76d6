"""Programs name container images by ECR address; on the process engine an image is a directory that says how to start its server.

Such a directory holds an ``image.toml`` and plain files. The built-in ones lie in ``serving/``; settings add more, and those come
first. The registry host (account and region) of a reference is ignored: repository and tag decide.

``image.toml``::

    repositories = ["sagemaker-xgboost"]         # patterns of the repository
    tags = ["0.90-*", "1.*"]                     # patterns of the tag
    command = ["{python}", "{image}/serve.py"]   # also {tag}; no shell
    requirements = "requirements.txt"            # hashed lock of wheels; left out: the server's own interpreter
    sources = "sources.txt"                      # hashed lock of what exists as source archives only
    python = "3.11"                              # of the environment ("{tag}": as the tag begins); left out: the server's
    advice = "What to do about it."              # said when the environment cannot be built
    checks = ["import xgboost"]                  # Python that must run in the new environment
    programs = ["java"]                          # must be on the PATH
    ports = ["metrics"]                          # names of ports that it needs besides SAGEMAKER_BIND_TO_PORT
    served_at_once = 1                           # requests; left out: one for each vCPU of the instance type
    [environment]                                # variables below the model's own, like ENV of a Dockerfile
    TS_METRICS_ADDRESS = "http://127.0.0.1:{port.metrics}"

Words of the command and values of the environment may hold {python}, {image} (the directory), {tag}, {port} (which is
SAGEMAKER_BIND_TO_PORT) and {port.NAME}. All instances share the machine's ports: a server may listen on these alone.
"""

import os
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from tarry.backends import pythons
from tarry.backends.environments import Environment, Environments, Progress, Recipe
from tarry.backends.interpreters import interpreter_paths
from tarry.core.errors import ImageBroken, ImageNotFound, InvalidRequest

BUILT_IN = Path(__file__).parents[1] / "serving"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE_CHARS_MAX = 255
_REFERENCE = re.compile(
    r"^(?:(?P<registry>[A-Za-z0-9][A-Za-z0-9-]*(?:[.:][A-Za-z0-9.:-]*)|localhost)/)?(?P<repository>[a-z0-9][a-z0-9._/-]*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?$"
)
_LISTS = {"repositories": True, "tags": True, "command": True, "checks": False, "programs": False, "ports": False}
_PORT = re.compile(r"\{port(?:\.([^{}]*))?\}")
_PORTS_MAX = 16
_TEXTS = ("requirements", "sources", "python", "advice")
_PYTHON = re.compile(r"3\.\d+(?![\w])")
_SERVED_AT_ONCE_MAX = 1000  # AWS: of MaxConcurrentInvocationsPerInstance, API reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The two parts of an image reference that choose the image."""

    repository: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``[registry/]repository[:tag]``. Errors: ImageNotFound.

        # OURS: a digest beside a tag is ignored, since nothing is pulled; a digest alone names nothing that we could know.
        """
        match = _REFERENCE.match(text) if len(text) <= _REFERENCE_CHARS_MAX else None
        if match is None:
            raise ImageNotFound(
                f'"{text[:_REFERENCE_CHARS_MAX]}" is not an image reference. Expected [registry/]repository:tag, such as '
                "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:0.90-1-cpu-py3."
            )
        if match["digest"] and not match["tag"]:
            raise ImageNotFound(f'"{text}" names an image by digest alone. Images are chosen by repository and tag: add a tag.')
        return cls(repository=match["repository"], tag=match["tag"] or "latest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One directory of the catalogue."""

    directory: Path
    repositories: tuple[str, ...]
    tags: tuple[str, ...]
    command: tuple[str, ...]
    requirements: Path | None
    sources: Path | None
    python: str | None
    advice: str
    checks: tuple[str, ...]
    programs: tuple[str, ...]
    ports: tuple[str, ...]
    served_at_once: int | None
    environment: Mapping[str, str]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read a directory's ``image.toml``. Errors: InvalidRequest naming the file and what is wrong with it."""
        file = directory / "image.toml"
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise InvalidRequest(f"{directory} is not an image directory: {file}: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{file} is not valid TOML: {error}.") from error
        _check_values(file, values)
        return cls(
            directory=directory.resolve(),
            requirements=_path(directory, values.get("requirements")),
            sources=_path(directory, values.get("sources")),
            python=values.get("python"),
            advice=values.get("advice", ""),
            repositories=tuple(values["repositories"]),
            tags=tuple(values["tags"]),
            command=tuple(values["command"]),
            checks=tuple(values.get("checks", ())),
            programs=tuple(values.get("programs", ())),
            ports=tuple(values.get("ports", ())),
            served_at_once=values.get("served_at_once"),
            environment=values.get("environment", {}),
        )

    def matches(self, reference: Reference) -> bool:
        """Whether a reference means this image."""
        return any(fnmatchcase(reference.repository, pattern) for pattern in self.repositories) and any(
            fnmatchcase(reference.tag, pattern) for pattern in self.tags
        )


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
            return _PORT.sub(lambda match: str(numbers[match[1] or ""]), text)

        environment = {name: filled(value) for name, value in self.environment.items()}
        return replace(self, command=tuple(map(filled, self.command)), environment=environment)


class ImageCatalogue:
    """All images that this server can start."""

    def __init__(self, directories: Sequence[Path], environments_dir: Path, progress: Progress | None = None) -> None:
        """``directories`` come before the built-in images; ``progress`` hears of builds. Errors: InvalidRequest."""
        built_in = sorted(file.parent for file in BUILT_IN.glob("*/image.toml"))
        self._images = tuple(Image.read(directory) for directory in (*directories, *built_in))
        self._environments = Environments(environments_dir, progress)

    async def check(self, reference: str) -> None:
        """Raise ImageNotFound, with what is known and what to do, unless an image matches."""
        self.find(reference)

    async def served_at_once(self, reference: str) -> int | None:
        """See ports.Images."""
        try:
            return self.find(reference)[0].served_at_once
        except ImageNotFound:
            return None

    def find(self, reference: str) -> tuple[Image, Reference]:
        """The image that a reference means. Errors: ImageNotFound."""
        parsed = Reference.parse(reference)
        for image in self._images:
            if image.matches(parsed):
                return image, parsed
        known = "; ".join(f"{', '.join(image.repositories)} (tags {', '.join(image.tags)})" for image in self._images) or "none"
        raise ImageNotFound(
            f'No image is known for "{reference}" (repository "{parsed.repository}", tag "{parsed.tag}"). Known: {known}. '
            "Use one of these, or add a directory with an image.toml to [images] directories."
        )

    async def prepare(self, reference: str) -> PreparedImage:
        """Make sure that an image's environment exists, and say how to start it. Errors: ImageNotFound, ImageBroken."""
        image, parsed = self.find(reference)
        if missing := [program for program in image.programs if shutil.which(program, path=SYSTEM_PATH) is None]:
            raise ImageBroken(f'Image "{parsed.repository}" needs {", ".join(missing)} in {SYSTEM_PATH}: install it.')
        python, path = Path(sys.executable), SYSTEM_PATH
        if image.requirements is not None:
            environment = await self._environment(image, image.requirements, parsed)
            python, path = environment.python, f"{environment.programs}{os.pathsep}{SYSTEM_PATH}"
        facts = {"{python}": str(python), "{image}": str(image.directory), "{tag}": parsed.tag}
        return PreparedImage(
            command=tuple(_fill(word, facts) for word in image.command),
            path=path,
            environment={name: _fill(value, facts) for name, value in image.environment.items()},
            needed=(image.directory, BUILT_IN / "common", *interpreter_paths(python)),
            ports=("", *image.ports),
        )

    async def _environment(self, image: Image, requirements: Path, reference: Reference) -> Environment:
        interpreter = pythons.own()
        if image.python is not None:
            wanted = _fill(image.python, {"{tag}": reference.tag})
            version = _PYTHON.match(wanted)
            found = await pythons.find(version[0]) if version else None
            if found is None:
                raise ImageBroken(_no_python(reference, version[0] if version else None))
            interpreter = found
        recipe = Recipe(requirements=requirements, sources=image.sources, interpreter=interpreter, checks=image.checks)
        try:
            return await self._environments.provide(reference.repository, recipe)
        except ImageBroken as error:
            raise ImageBroken(f"{image.advice} {error}".lstrip()) from error  # first: a FailureReason may be cut


def _path(directory: Path, name: str | None) -> Path | None:
    return None if name is None else directory.resolve() / name


def _no_python(reference: Reference, version: str | None) -> str:
    image = f'Image "{reference.repository}"'
    if version is None:
        return f'{image} needs a tag that begins with a version of Python, such as 3.11; got "{reference.tag}".'
    return f"{image} needs Python {version}, and there is none on this machine: install it, or put it on the PATH of the server."


def _fill(word: str, facts: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, facts)), lambda match: facts[match[0]], word)


def _check_values(file: Path, values: Mapping[str, Any]) -> None:
    if unknown := set(values) - {*_LISTS, *_TEXTS, "served_at_once", "environment"}:
        raise InvalidRequest(f"{file}: unknown key {min(unknown)!r}.")
    for key, required in _LISTS.items():
        value = values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value) or (required and not value):
            raise InvalidRequest(f"{file}: {key} must be a {'non-empty ' if required else ''}list of strings, got {value!r}.")
    for key in _TEXTS:
        if not isinstance(values.get(key, ""), str):
            raise InvalidRequest(f"{file}: {key} must be a string, got {values[key]!r}.")
    if "requirements" not in values and (given := {"sources", "python"} & set(values)):
        raise InvalidRequest(f"{file}: {min(given)} is of use only with requirements.")
    served = values.get("served_at_once", 1)
    if type(served) is not int or not 1 <= served <= _SERVED_AT_ONCE_MAX:
        raise InvalidRequest(f"{file}: served_at_once must be a whole number from 1 to {_SERVED_AT_ONCE_MAX}, got {served!r}.")
    environment = values.get("environment", {})
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        raise InvalidRequest(f"{file}: environment must be a table of strings, got {environment!r}.")
    _check_ports(file, values.get("ports", []), [*values["command"], *environment.values()])


def _check_ports(file: Path, ports: Sequence[str], texts: Sequence[str]) -> None:
    if len(ports) > _PORTS_MAX or len(set(ports)) != len(ports) or not all(map(str.isidentifier, ports)):
        raise InvalidRequest(f"{file}: ports must be at most {_PORTS_MAX} different names such as metrics, got {ports!r}.")
    for name in (match[1] for text in texts for match in _PORT.finditer(text)):
        if name is not None and name not in ports:
            raise InvalidRequest(f"{file}: {{port.{name}}} stands for none of its ports {ports!r}.")
