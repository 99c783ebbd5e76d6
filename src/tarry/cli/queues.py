"""``tarry queue``: what waits for an endpoint, and the rules of the waiting."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tarry.aws.client import call
from tarry.cli import rendering
from tarry.cli.shared import AsJson, DataDir, Server, print_json, print_properties, working
from tarry.core.errors import InvalidRequest

app = typer.Typer(help="What waits for an endpoint.", no_args_is_help=True)

Endpoint = Annotated[str, typer.Argument(help="Name of the endpoint.")]


@app.command()
def show(endpoint: Endpoint, data_dir: DataDir, as_json: AsJson = False) -> None:
    """What waits for an endpoint, what runs, and its retry policy."""
    server = Server.of(data_dir)
    queue = _queue(server, endpoint)
    if as_json:
        print_json(queue)
    else:
        print_properties(rendering.queue_properties(queue, datetime.now(UTC)))


@app.command()
def purge(
    endpoint: Endpoint,
    data_dir: DataDir,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """End all that waits for an endpoint as Stopped. What runs goes on."""
    server = Server.of(data_dir)
    queue = _queue(server, endpoint)
    waiting = queue["QueuedCount"] + queue["DelayedCount"]
    if not yes and waiting:
        if not sys.stdin.isatty():
            raise InvalidRequest(
                f"This stops {waiting} invocations that wait for {endpoint}; say --yes where nobody can be asked."
            )
        typer.confirm(f"Stop {waiting} invocations that wait for {endpoint}?", abort=True, err=True)
    with working(f"purging the queue of {endpoint}"):
        answer = call(server.target, "PurgeQueue", EndpointName=endpoint)
    if as_json:
        print_json(answer)
    else:
        print_properties([("stopped", str(answer["Count"]))])


@app.command("retry-policy")
def retry_policy(  # noqa: PLR0913, PLR0917 - one parameter a flag
    endpoint: Endpoint,
    data_dir: DataDir,
    attempts: Annotated[int | None, typer.Option(help="Attempts in all, 2 to 10.")] = None,
    status: Annotated[list[str] | None, typer.Option(help="503, 5xx or timeout; may be repeated. [default: 5xx]")] = None,
    backoff: Annotated[float | None, typer.Option(help="Seconds before the second attempt. [default: 1]")] = None,
    backoff_rate: Annotated[float | None, typer.Option(help="Each wait is so many times the one before. [default: 2]")] = None,
    backoff_max: Annotated[float | None, typer.Option(help="Seconds that a wait lasts at most. [default: 300]")] = None,
    none: Annotated[bool, typer.Option("--none", help="No retries, as on AWS.")] = False,
    as_json: AsJson = False,
) -> None:
    """When an endpoint's container errors are tried again; --attempts or --none change it for what is accepted from now on."""
    server = Server.of(data_dir)
    queue = _queue(server, endpoint)
    settings: dict[str, Any] = {
        "MaxAttempts": attempts,
        "Statuses": status or None,
        "BackoffSeconds": backoff,
        "BackoffRate": backoff_rate,
        "MaxBackoffSeconds": backoff_max,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    if none and given:
        raise InvalidRequest("Give --none or a policy, not both.")
    if given and attempts is None:
        raise InvalidRequest("A policy needs --attempts: how often a request is tried in all.")
    if none:
        call(server.target, "DeleteRetryPolicy", EndpointName=endpoint)
    elif given:
        call(server.target, "PutRetryPolicy", EndpointName=endpoint, **given)
    if none or given:
        queue = _queue(server, endpoint)
    policy = queue.get("RetryPolicy")
    if as_json:
        print_json(policy)
    else:
        typer.echo(rendering.policy_words(policy))


def _queue(server: Server, endpoint: str) -> dict[str, Any]:
    with server.knows_endpoint():
        return call(server.target, "DescribeQueue", EndpointName=endpoint)
