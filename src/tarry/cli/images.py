"""``tarry images``: what can be started here, and adding to it. None of it asks a server; a running one finds what is added."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from tarry.cli.shared import AsJson, command_on, hint, messages, print_json, print_properties, print_table, progress
from tarry.settings import DATA_DIR_VARIABLE

if TYPE_CHECKING:
    from tarry.backends.images import Entry, ImageCatalogue, Source, Standing

app = typer.Typer(help="What can be started.", no_args_is_help=True)

_COLUMNS = ("repositories", "tags", "from", "environment", "python")
_TAGS_SHOWN = 4
_STYLES = {"ready": "green", "cannot be built": "red", "not built": "yellow", "being built": "cyan"}

MaybeDataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar=DATA_DIR_VARIABLE, help="Data directory whose images there are too.", file_okay=False),
]
Environments = Annotated[
    Path | None,
    typer.Option(
        help="Where the images' environments are kept. [default: those of --data-dir, without it ~/.cache/tarry/environments]",
        file_okay=False,
    ),
]
Reference = Annotated[str, typer.Argument(help="Image reference, such as the URI that the SageMaker SDK gives.")]


@app.command("list")
def list_(data_dir: MaybeDataDir = None, environments: Environments = None, *, as_json: AsJson = False) -> None:
    """The images: repositories and tags (patterns), where each comes from, whether its environment stands.

    Where several are for a reference, the first is taken.
    """
    from tarry.backends.images import hidden_by  # noqa: PLC0415 - slow to import
    from tarry.bootstrap.images import catalogue_of  # noqa: PLC0415

    _say_if_of_no_effect(data_dir)
    catalogue = catalogue_of(data_dir, environments)
    entries = catalogue.entries()
    standings = asyncio.run(_standings(catalogue, entries))
    hidden = [hidden_by(entry, entries[:number]) for number, entry in enumerate(entries)]
    found = list(zip(entries, standings, hidden, strict=True))
    if as_json:
        print_json({"Images": [{**_document(entry, standing), "HiddenBy": by} for entry, standing, by in found]})
        return
    print_table(_COLUMNS, (_row(entry, standing, by) for entry, standing, by in found))


@app.command()
def show(
    reference: Reference, data_dir: MaybeDataDir = None, environments: Environments = None, *, as_json: AsJson = False
) -> None:
    """What a reference means here, and whether it can be started: exit code 1 if not."""
    from tarry.bootstrap.images import catalogue_of  # noqa: PLC0415 - slow to import

    _say_if_of_no_effect(data_dir)
    catalogue = catalogue_of(data_dir, environments)
    entry, parsed = catalogue.find(reference)
    standing = asyncio.run(catalogue.standing(entry.image, parsed))
    document = {"Repository": parsed.repository, "Tag": parsed.tag, **_document(entry, standing)}
    if as_json:
        print_json(document)
    else:
        startable = Text(f"no: {standing.problem}", "red") if standing.problem else Text("yes", "green")
        print_properties([*((name, _cell(value)) for name, value in _flat(document) if value), ("startable", startable)])
    if standing.problem:
        raise typer.Exit(1)


@app.command()
def build(reference: Reference, data_dir: MaybeDataDir = None, environments: Environments = None) -> None:
    """Build an image's environment now instead of at the first endpoint that needs it; nothing to do if it stands."""
    from tarry.bootstrap.images import catalogue_of  # noqa: PLC0415 - slow to import

    _say_if_of_no_effect(data_dir)
    with progress(f"building the environment of {reference}") as say:
        prepared = asyncio.run(catalogue_of(data_dir, environments, say).prepare(reference))
    typer.echo(f"{reference} can be started: {prepared.command[0]}")


@app.command()
def add(
    repository: Annotated[
        str, typer.Argument(help="What the endpoint names as Image: REPOSITORY, for all tags, or REPOSITORY:TAG.")
    ],
    directory: Annotated[Path, typer.Argument(help="Directory with a program serve (or serve.py).", file_okay=False)],
    data_dir: Annotated[Path, typer.Option("--data-dir", envvar=DATA_DIR_VARIABLE, help="Data directory.", file_okay=False)],
    python: Annotated[str | None, typer.Option(help="Version or path of the Python of its environment.")] = None,
) -> None:
    """Add an image of your own, or replace it: a directory with a program that listens on SAGEMAKER_BIND_TO_PORT.

    It is copied. With a requirements.txt it gets an environment, whose programs come first on its PATH. A running server finds it
    when it starts an instance next.
    """
    from tarry.backends.added_images import Addition  # noqa: PLC0415 - slow to import
    from tarry.bootstrap.images import added_images, catalogue_of  # noqa: PLC0415

    _say_if_of_no_effect(data_dir)
    image = added_images(data_dir).add(Addition(reference=repository, source=directory, python=python))
    name = f"{image.repositories[0]}:{image.tags[0]}"
    typer.echo(f"added {name} ({image.directory})")
    if tags := catalogue_of(None, None).built_in_tags(image):
        undo = command_on(data_dir, f"images remove {shlex.quote(name.removesuffix(':*'))}")
        messages.print(
            f"It is taken in place of the built-in image from now on, for {image.repositories[0]} with the tags {_few(tags)}. "
            f"The built-in one again: {undo}"
        )
    if image.requirements is not None:
        hint(f"Its environment is built at the first endpoint, or now: tarry images build {name.replace('*', 'latest')}")


@app.command()
def remove(
    reference: Annotated[str, typer.Argument(help="The image as it was added: REPOSITORY, or REPOSITORY:TAG.")],
    data_dir: Annotated[Path, typer.Option("--data-dir", envvar=DATA_DIR_VARIABLE, help="Data directory.", file_okay=False)],
) -> None:
    """Remove an image of your own. Instances that run go on; its copy goes when the server starts next."""
    from tarry.bootstrap.images import added_images  # noqa: PLC0415 - slow to import

    typer.echo(f"removed {added_images(data_dir).remove(reference)}")


@app.command()
def context(
    reference: Reference,
    directory: Annotated[Path, typer.Argument(help="Where to write it: a new directory.", file_okay=False)],
    data_dir: MaybeDataDir = None,
) -> None:
    """Write what docker build needs to make a container image of it, for servers that run instances in Docker."""
    from tarry.backends.image_context import write_context  # noqa: PLC0415 - slow to import
    from tarry.bootstrap.images import catalogue_of  # noqa: PLC0415

    write_context(catalogue_of(data_dir, None).context(reference), directory)
    typer.echo(str(directory / "Dockerfile"))
    hint(f"Build it: docker build -t {reference} {directory}")


def _say_if_of_no_effect(data_dir: Path | None) -> None:
    from tarry.bootstrap.images import engine_kind  # noqa: PLC0415 - slow to import

    if data_dir is not None and engine_kind(data_dir) == "docker":
        messages.print(
            f"The server of {data_dir} runs instances in Docker ([engine] kind): these images have no effect there; "
            "Docker has its own."
        )


async def _standings(catalogue: "ImageCatalogue", entries: "Sequence[Entry]") -> "list[Standing]":
    return await asyncio.gather(*(catalogue.standing(entry.image) for entry in entries))


def _row(entry: "Entry", standing: "Standing", hidden_by: "Source | None") -> tuple[str | Text, ...]:
    image = entry.image
    source = entry.source if hidden_by is None else f"{entry.source}, hidden by {hidden_by}"
    state = f"{standing.state}: {standing.problem}" if standing.problem else standing.state
    return ", ".join(image.repositories), _few(image.tags), source, Text(state, _STYLES.get(standing.state, "")), standing.python


def _few(tags: Sequence[str]) -> str:
    return ", ".join(tags[:_TAGS_SHOWN]) + (f" and {len(tags) - _TAGS_SHOWN} more" if len(tags) > _TAGS_SHOWN else "")


def _document(entry: "Entry", standing: "Standing") -> Mapping[str, Any]:
    image = entry.image
    return {
        "Repositories": list(image.repositories),
        "Tags": list(image.tags),
        "Source": entry.source.value,
        "Directory": str(image.directory),
        "Command": list(image.command),
        "Requirements": None if image.requirements is None else str(image.requirements),
        "Variables": dict(image.environment),
        "Environment": {
            "State": standing.state,
            "Python": standing.python or None,
            "Directory": None if standing.folder is None else str(standing.folder),
            "Problem": standing.problem or None,
        },
    }


def _flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The document as people read it."""
    flat: list[tuple[str, Any]] = []
    for name, value in document.items():
        if name == "Environment":
            flat += _flat(value, "environment ")
        else:
            flat.append((prefix + name.lower(), value))
    return flat


def _cell(value: Any) -> str | Text:
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, dict):
        return " ".join(f"{name}={text}" for name, text in value.items())
    return Text(value, _STYLES.get(value, ""))
