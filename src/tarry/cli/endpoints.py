"""``tarry endpoints``: how all endpoints do, and one of them with everything that is known of its troubles."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tarry.aws.client import Refusal, call, pages
from tarry.cli import rendering
from tarry.cli.shared import (
    AsJson,
    DataDir,
    Server,
    hint,
    no_directory,
    print_entries,
    print_json,
    print_properties,
    printable,
    working,
)
from tarry.settings import DATA_DIR_VARIABLE

app = typer.Typer(help="All endpoints, or one.")

_GONE = {"ValidationException", "ResourceNotFoundException"}


@app.callback(invoke_without_command=True)
def endpoints(
    context: typer.Context,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar=DATA_DIR_VARIABLE, help="Data directory of the running server.", file_okay=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """All endpoints: status, instances (running/wanted), what waits and runs, and the reason of what is wrong."""
    if context.invoked_subcommand is not None:
        return
    server = Server.of(data_dir or no_directory())
    with working("looking at the endpoints"):
        listed = [
            each
            for page in pages(server.target, "ListEndpoints", service="sagemaker", MaxResults=100)
            for each in page["Endpoints"]
        ]
        described = [one for each in listed if (one := _describe(server, each["EndpointName"]))]
    if as_json:
        print_json(described)
        return
    now = datetime.now(UTC)
    entries = [rendering.endpoint_entry(each, now) for each in described]
    print_entries(rendering.ENDPOINT_COLUMNS, entries, flexible=0)
    if not described:
        hint("There is none.")
    elif any(entry.note for entry in entries):
        hint(f"The whole reason: {server.command('endpoints show NAME')}")


@app.command()
def show(
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")], data_dir: DataDir, as_json: AsJson = False
) -> None:
    """An endpoint: its variants, what waits and runs, and the whole of what is wrong, as it was written."""
    server = Server.of(data_dir)
    with server.knows_endpoint():
        queue = call(server.target, "DescribeQueue", EndpointName=endpoint)
    described = call(server.target, "DescribeEndpoint", service="sagemaker", EndpointName=endpoint)
    if as_json:
        print_json({**described, "Queue": queue})
        return
    print_properties(rendering.endpoint_properties(described))
    print_properties(list(rendering.queue_properties(queue, datetime.now(UTC)))[1:])
    for name, text in rendering.endpoint_troubles(described):
        typer.echo(f"\n{name}:\n{printable(text)}")


def _describe(server: Server, name: str) -> dict[str, Any] | None:
    """An endpoint with its queue; None if it has been deleted since it was listed."""
    try:
        described = call(server.target, "DescribeEndpoint", service="sagemaker", EndpointName=name)
        return {**described, "Queue": call(server.target, "DescribeQueue", EndpointName=name)}
    except Refusal as error:
        if error.code not in _GONE:
            raise
        return None
