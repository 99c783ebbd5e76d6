"""``tarry package`` and ``tarry serve-local``: making a model archive, and trying it before there is an endpoint."""

import asyncio
import mimetypes
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tarry.cli.shared import hint, messages, print_properties, printable, progress
from tarry.core.errors import InvalidRequest

if TYPE_CHECKING:
    from tarry.bootstrap.serve_local import Report

SHOWN_BYTES = 2000
GOOD_LOG_LINES = 20
FAILED = 3
"""Exit code when the model cannot be served or answers with an error; 1 is for a command that cannot be carried out."""


def package(
    directory: Annotated[Path, typer.Argument(help="What becomes /opt/ml/model: the model's files, and code/inference.py.")],
    output: Annotated[Path, typer.Option(help="The archive.", dir_okay=False)] = Path("model.tar.gz"),
    program: Annotated[str, typer.Option(help="Name of the program in code/.")] = "inference.py",
) -> None:
    """Make a model archive of a directory, and look for what would keep it from being served."""
    from tarry.backends.model_package import make  # noqa: PLC0415 - slow to import

    made = make(directory, output, program)
    for doubt in made.doubts:
        messages.print(Text.assemble(("doubtful:", "bold yellow"), f" {doubt}"))
    if made.left_out:
        messages.print(f"left out: {', '.join(sorted(made.left_out)[:20])}")
    typer.echo(f"{output}: {made.files} {'file' if made.files == 1 else 'files'}, {made.size} bytes")
    hint(f"Try it: tarry serve-local {output} --image IMAGE --input FILE")


def serve_local(  # noqa: PLR0913, PLR0917 - one parameter a flag
    archive: Annotated[Path, typer.Argument(help="model.tar.gz", exists=True, dir_okay=False)],
    image: Annotated[str, typer.Option(help="Image reference, as in CreateModel.")],
    input: Annotated[Path | None, typer.Option(help="File with a request.", exists=True, dir_okay=False)] = None,
    content_type: Annotated[str | None, typer.Option(help="Of the request. [default: what the file's name tells]")] = None,
    accept: Annotated[str | None, typer.Option(help="Content type that the answer should have.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, as in the model's Environment; may repeat.")] = None,
    environments: Annotated[
        Path | None,
        typer.Option(
            help="Where the images' environments are kept. [default: those of --data-dir, without it ~/.cache/tarry/environments]"
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Directory whose images and engine settings count.")] = None,
) -> None:
    """Start one instance of an image with a model archive, ping it, send a request, tell how it went, stop it.

    Exit code 0: it is healthy and has answered with 2xx; 3: it is not, or has not. The end of its log is shown.
    """
    from tarry.bootstrap import serve_local as local  # noqa: PLC0415 - slow to import
    from tarry.bootstrap.log import configure_log  # noqa: PLC0415

    configure_log("warning")  # to standard error: standard output is for the report

    request = None
    if input is not None:
        _check_header("--content-type", content_type)
        _check_header("--accept", accept)
        kind = content_type or mimetypes.MimeTypes().guess_type(input.name)[0]
        headers = {name: value for name, value in {"Content-Type": kind, "Accept": accept}.items() if value}
        request = local.Request(body=input.read_bytes(), headers=headers)
    wanted = local.Wanted(
        archive=archive,
        image=image,
        environment=dict(_pair(text) for text in env or ()),
        environments_dir=environments,
        data_dir=data_dir,
        request=request,
    )
    with progress(f"serving {archive} with {image}") as say:
        try:
            report = asyncio.run(local.serve_local(wanted, say))
        except asyncio.CancelledError:
            raise typer.Exit(128 + signal.SIGTERM) from None
    raise typer.Exit(_tell(report))


def _check_header(option: str, value: str | None) -> None:
    if value is not None and not value.isprintable():
        raise InvalidRequest(f"{option} expects one line of printable characters, got {value!r}.")


def _tell(report: "Report") -> int:
    healthy, answer = report.healthy_s is not None, report.answer
    pairs = [("listens", f"after {report.listened_s:.1f} s")]
    pairs.append(("/ping", f"200 after {report.healthy_s:.1f} s" if report.healthy_s is not None else "never 200"))
    if answer is not None:
        pairs.append(("/invocations", f"{answer.status} {answer.content_type} after {answer.elapsed_s:.2f} s"))
        pairs.append(("answer", f"{len(answer.body)} bytes"))
    good = healthy and (answer is None or 200 <= answer.status < 300)
    shown = report.log[-GOOD_LOG_LINES:] if good else report.log
    if shown:
        messages.print(printable("\n".join(["the last lines of its log:", *shown, ""])))
    print_properties(pairs)
    if answer is not None:
        typer.echo(printable(answer.body[:SHOWN_BYTES].decode("utf-8", "replace")))
    return 0 if good else FAILED


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidRequest(f"--env expects NAME=VALUE, got {text!r}.")
    return name, value
