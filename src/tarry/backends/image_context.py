"""The same image for the Docker engine: what ``docker build`` needs to make a container image of a directory of the catalogue.

The images that AWS serves come from its registry, for those with an account there. What is built from here needs none, answers as
the process engine's does, and carries the reference that the models name. Nothing is built here: this writes the build context.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tarry.backends.image_toml import PORT, Image, fill
from tarry.core.errors import ImageBroken, InvalidRequest

PLACE = PurePosixPath("/opt/serving")
"""Where the image's files lie in the container."""
ENVIRONMENT = PurePosixPath("/opt/environment")
_DEBIAN_PACKAGES = {"java": "default-jre-headless"}
_WHEELS_README = "Wheels that pip finds nowhere else, such as PyTorch's for the CPU; their hashes have to be those of the lock.\n"
_NOT_COPIED = (".git", ".venv", "__pycache__", "*.pyc")
_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN_CHARS_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """An image as ``reference`` names it; ``version``: of its Python, such as 3.11; ``root``: what is copied, the image in it."""

    image: Image
    reference: str
    tag: str
    version: str
    root: Path

    def place(self, path: Path) -> PurePosixPath:
        """Where a file of the image is in the container. Errors: ImageBroken for one that is not copied."""
        inside = os.path.relpath(path, self.root)
        if inside.startswith(os.pardir):
            raise ImageBroken(f"{path} is not in {self.root}, and so would not be in the container: put it there.")
        return PLACE / inside


def write_context(context: Context, directory: Path) -> None:
    """Write the build context into a directory that is empty or does not exist. Blocks. Errors: InvalidRequest, ImageBroken.

    Nothing has been written where ImageBroken is raised; what cannot be copied (InvalidRequest) may leave a part of the context.
    """
    try:
        if Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(context.root)):
            raise InvalidRequest(f"{directory} is inside {context.root}, which is copied into it: choose a place outside.")
        _check_texts(context)
        _check_links(context.root)
        dockerfile = _dockerfile(context)
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise InvalidRequest(f"{directory} is not empty; a build context gets a directory of its own.")
        shutil.copytree(context.root, directory / "serving", symlinks=True, ignore=_ignored)
        (directory / "wheels").mkdir()
        (directory / "wheels" / "README").write_text(_WHEELS_README)
        (directory / "serve").write_text(_serve(context))
        (directory / "serve").chmod(0o755)
        (directory / "Dockerfile").write_text(dockerfile)
    except OSError as error:
        raise InvalidRequest(f"The build context cannot be written to {directory}: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    """In one line: copytree goes on after a problem, and its error has them all."""
    if not isinstance(error, shutil.Error):
        return str(error)
    source, _, reason = error.args[0][0]
    return f"{source}: {reason}"


def _check_texts(context: Context) -> None:
    """Whether what is written into lines of the Dockerfile stays in them. Errors: ImageBroken."""
    image = context.image
    texts = [("reference", context.reference), ("tag", context.tag)]
    texts += [("command", _filled(word, context)) for word in image.command]
    texts += [("checks", statement) for statement in image.checks]
    for key, path in (("requirements", image.requirements), ("sources", image.sources)):
        if path is not None:
            texts.append((key, str(context.place(path))))
    for name, value in _variables(context):
        if _VARIABLE.fullmatch(name) is None:
            raise ImageBroken(
                f"The image's environment has {_shown(name)}, which a Dockerfile's ENV cannot set: "
                "expected a name of letters, digits and _ that begins with no digit."
            )
        texts.append((f"environment {name}", value))
    for word in image.command:
        if (port := PORT.search(_filled(word, context))) is not None:
            raise ImageBroken(
                f"The image's command has {port[0]}, but a container is given one port alone, {{port}}: leave it out."
            )
    for what, text in texts:
        if (control := _CONTROL.search(text)) is not None:
            raise ImageBroken(
                f"The image's {what} is {_shown(text)}, and the control character {control[0]!a} would end or garble its line "
                "in the Dockerfile: leave it out."
            )


def _shown(text: str) -> str:
    return ascii(text)[:_SHOWN_CHARS_MAX]


def _ignored(folder: str, names: list[str]) -> set[str]:
    return shutil.ignore_patterns(*_NOT_COPIED)(folder, names)


def _check_links(root: Path) -> None:
    """Whether all links that are copied lead to what is copied, too. Errors: ImageBroken."""
    top = Path(os.path.realpath(root))
    for folder, directories, files in os.walk(top):
        names = [*directories, *files]
        copied = set(names) - _ignored(folder, names)
        directories[:] = copied.intersection(directories)
        for link in (Path(folder, name) for name in sorted(copied)):
            if link.is_symlink() and _leads_outside(link, top):
                raise ImageBroken(
                    f"The link {link} leads to {link.readlink()}, which is not plainly inside {root} and would not be in the "
                    "container: put a copy in its place."
                )


def _leads_outside(link: Path, top: Path) -> bool:
    """Also if it comes back in by the name of a directory: in the container that has another."""
    target = link.readlink()
    written = PurePosixPath(os.path.normpath(link.parent.relative_to(top) / target))
    real = Path(os.path.realpath(link))  # other links may be on the way
    return target.is_absolute() or written.parts[:1] == (os.pardir,) or not real.is_relative_to(top)


def _dockerfile(context: Context) -> str:
    return "\n".join(
        (
            f"# {context.reference} for Tarry's Docker engine: docker build -t {context.reference} DIRECTORY",
            f"ARG BASE=python:{context.version}-slim-bookworm",
            "FROM ${BASE} AS build",
            *_install(context),
            "",
            "FROM ${BASE}",
            *_packages(context.image),
            f"COPY --from=build {ENVIRONMENT} {ENVIRONMENT}",
            f"COPY serving {PLACE}",
            "COPY serve /usr/local/bin/serve",
            f"ENV PATH={ENVIRONMENT}/bin:$PATH",
            "# All addresses of the container, which is published on the machine's own loopback alone.",
            "ENV SERVING_ADDRESS=0.0.0.0",
            *(f"ENV {name}={_quoted_for_env(value)}" for name, value in _variables(context)),
            "EXPOSE 8080",
            'CMD ["serve"]',
            "",
        )
    )


def _install(context: Context) -> Iterator[str]:
    """The environment, as the process engine builds it, in a stage of its own: its wheels stay behind."""
    image = context.image
    if image.requirements is None:
        yield f"RUN python3 -m venv {ENVIRONMENT}"
        return
    for name in _INDEXES:
        yield f"ARG {name}"
    pip = f"{ENVIRONMENT}/bin/pip install --no-cache-dir --disable-pip-version-check --find-links /wheels"
    locked = b"--hash=" in image.requirements.read_bytes()
    steps = [f"python3 -m venv {ENVIRONMENT}"]
    wheels = " --no-deps --require-hashes --only-binary :all:" if locked else ""
    steps.append(f"{pip}{wheels} -r {_quoted(str(context.place(image.requirements)))}")
    if image.sources is not None:
        sources = _quoted(str(context.place(image.sources)))
        steps.append(f"{pip} --no-deps --require-hashes --no-build-isolation -r {sources}")
    steps += [f"{ENVIRONMENT}/bin/python -I -c {_quoted(statement)}" for statement in image.checks]
    yield "COPY wheels /wheels"
    yield f"COPY serving {PLACE}"
    yield "RUN " + " \\\n && ".join(steps)


def _packages(image: Image) -> Iterator[str]:
    """The programs that it needs beside Python, from Debian. Errors: ImageBroken."""
    if unknown := [program for program in image.programs if program not in _DEBIAN_PACKAGES]:
        raise ImageBroken(
            f"The image needs {', '.join(unknown)}, and no Debian package is known that has it: write a Dockerfile of your own."
        )
    if names := " ".join(_DEBIAN_PACKAGES[program] for program in image.programs):
        yield (f"RUN apt-get update && apt-get install -y --no-install-recommends {names} \\\n && rm -rf /var/lib/apt/lists/*")


def _facts(context: Context) -> Mapping[str, str]:
    return {
        "{python}": str(ENVIRONMENT / "bin/python"),
        "{image}": str(context.place(context.image.directory)),
        "{tag}": context.tag,
        "{port}": "8080",
    }


def _variables(context: Context) -> Iterator[tuple[str, str]]:
    """Those of the image but what tells it ports: alone in a container a server has its own."""
    for name, value in context.image.environment.items():
        if PORT.search(value) is None:
            yield name, _filled(value, context)


def _serve(context: Context) -> str:
    """What the contract calls ``serve``: a home that can be written to, then the image's command."""
    words = " ".join(_quoted(_filled(word, context)) for word in context.image.command)
    return f"#!/bin/sh\nset -e\nexport HOME=/tmp/home\nmkdir -p $HOME\ncd $HOME\nexec {words}\n"


def _filled(word: str, context: Context) -> str:
    return fill(word, _facts(context))


def _quoted(text: str, special: str = '"\\$`') -> str:
    """For the shell."""
    return '"' + "".join(f"\\{letter}" if letter in special else letter for letter in text) + '"'


def _quoted_for_env(text: str) -> str:
    """For a Dockerfile's ENV, to which a backtick is a letter like others."""
    return _quoted(text, '"\\$')
