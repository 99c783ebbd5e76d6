"""Programs name container images by ECR address; on the process engine an image is a directory that says how to start its server.

Such a directory holds an ``image.toml`` and plain files. The built-in ones lie in ``serving/``; settings add more, and those come
first. The registry host (account and region) of a reference is ignored: repository and tag decide.

``image.toml``::

    repositories = ["sagemaker-xgboost"]         # patterns of the repository
    tags = ["0.90-*", "1.*"]                     # patterns of the tag
    command = ["{python}", "{image}/serve.py"]   # also {tag}; no shell
    requirements = "requirements.txt"            # lock of wheels if it has hashes; left out: the server's own interpreter
    sources = "sources.txt"                      # hashed lock of what exists as source archives only
    python = "3.11"                              # version or path ("{tag}": as the tag begins); left out: the server's
    advice = "What to do about it."              # said when the environment cannot be built
    checks = ["import xgboost"]                  # Python that must run in the new environment
    programs = ["java"]                          # must be in the system's places or on the server's PATH
    ports = ["metrics"]                          # names of ports that it needs besides SAGEMAKER_BIND_TO_PORT
    served_at_once = 1                           # requests, or the name of a variable that says it; left out: one for each
                                                 # vCPU of the instance type
    [environment]                                # variables below the model's own, like ENV of a Dockerfile
    TS_METRICS_ADDRESS = "http://127.0.0.1:{port.metrics}"

Words of the command and values of the environment may hold {python}, {image} (the directory), {tag}, {port} (which is
SAGEMAKER_BIND_TO_PORT) and {port.NAME}. All instances share the machine's ports: a server may listen on these alone.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from tarry.backends.image_references import ImageReference
from tarry.core.errors import ImageNotFound, InvalidRequest

PORT = re.compile(r"\{port(?:\.([^{}]*))?\}")
_LISTS = {"repositories": True, "tags": True, "command": True, "checks": False, "programs": False, "ports": False}
_PORTS_MAX = 16
_SERVED_AT_ONCE_MAX = 1000  # AWS: of MaxConcurrentInvocationsPerInstance, API reference
_TEXTS = ("requirements", "sources", "python", "advice")


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
        named = ImageReference.parse(text)
        if named.digest and not named.tag:
            raise ImageNotFound(f'"{text}" names an image by digest alone. Images are chosen by repository and tag: add a tag.')
        return cls(repository=named.repository, tag=named.tag or "latest")


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
    served_at_once: int | str | None
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
        check_image(file, values)
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

    def serves_at_once(self, environment: Mapping[str, str]) -> int | None:
        """How many requests one container works on with a model's variables; None: it does not say, or no such number."""
        if not isinstance(self.served_at_once, str):
            return self.served_at_once
        text = environment.get(self.served_at_once, "")
        return int(text) if text.isascii() and text.isdigit() and 1 <= int(text) <= _SERVED_AT_ONCE_MAX else None

    def matches(self, reference: Reference) -> bool:
        """Whether a reference means this image."""
        return self.has_repository(reference) and any(fnmatchcase(reference.tag, pattern) for pattern in self.tags)

    def has_repository(self, reference: Reference) -> bool:
        """Whether the reference's repository is one of its own, whatever the tag."""
        return any(fnmatchcase(reference.repository, pattern) for pattern in self.repositories)

    def covers(self, repository: str, tag: str) -> bool:
        """Whether all that these two patterns stand for means this image. Of patterns only those are compared that are equal."""
        return _is_among(repository, self.repositories) and _is_among(tag, self.tags)


def _is_among(pattern: str, patterns: Sequence[str]) -> bool:
    is_name = not set("*?[") & set(pattern)
    return any(each in ("*", pattern) or (is_name and fnmatchcase(pattern, each)) for each in patterns)


def _path(directory: Path, name: str | None) -> Path | None:
    return None if name is None else directory.resolve() / name


def check_image(file: Path, values: Mapping[str, Any]) -> None:
    """Whether an ``image.toml`` may say this. Errors: InvalidRequest naming the file and what is wrong with it."""
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
    _check_served(file, values.get("served_at_once", 1))
    environment = values.get("environment", {})
    texts = [values.get(key, "") for key in _TEXTS] + [text for key in _LISTS for text in values.get(key, ())]
    if any("\0" in text for text in texts):
        raise InvalidRequest(f"{file}: no text may have a NUL in it.")
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        raise InvalidRequest(f"{file}: environment must be a table of strings, got {environment!r}.")
    if wrong := [name for name, value in environment.items() if not name or "=" in name or "\0" in name + value]:
        raise InvalidRequest(f"{file}: environment has {wrong[0]!r}, which cannot be: names are not empty, no = and no NUL.")
    _check_ports(file, values.get("ports", []), [*values["command"], *environment.values()])


def _check_served(file: Path, served: object) -> None:
    named = isinstance(served, str) and served.isidentifier()
    if not named and not (type(served) is int and 1 <= served <= _SERVED_AT_ONCE_MAX):
        raise InvalidRequest(
            f"{file}: served_at_once must be a whole number from 1 to {_SERVED_AT_ONCE_MAX}, or the name of a variable of the "
            f"model's Environment; got {served!r}."
        )


def _check_ports(file: Path, ports: Sequence[str], texts: Sequence[str]) -> None:
    if len(ports) > _PORTS_MAX or len(set(ports)) != len(ports) or not all(map(str.isidentifier, ports)):
        raise InvalidRequest(f"{file}: ports must be at most {_PORTS_MAX} different names such as metrics, got {ports!r}.")
    for name in (match[1] for text in texts for match in PORT.finditer(text)):
        if name is not None and name not in ports:
            raise InvalidRequest(f"{file}: {{port.{name}}} stands for none of its ports {ports!r}.")


def fill(text: str, facts: Mapping[str, str]) -> str:
    """The text with each fact's name, such as ``{tag}``, replaced by its value."""
    return re.sub("|".join(map(re.escape, facts)), lambda match: facts[match[0]], text)
