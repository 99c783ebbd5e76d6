"""``tarry invocations``: what became of requests, and what can be done about them."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from tarry.aws.client import Refusal, call, pages
from tarry.cli import rendering
from tarry.cli.following import Output, finish, follow, hint_at_logs
from tarry.cli.shared import (
    AsJson,
    DataDir,
    Server,
    hint,
    messages,
    print_entries,
    print_json,
    print_properties,
    print_table,
    printable,
    working,
)
from tarry.cli.times import read_time
from tarry.core.errors import InvalidRequest

app = typer.Typer(help="What became of requests, and what can be done about them.", no_args_is_help=True)

PAGE_MAX = 1000
_TRY_BY_NAME = {"ResourceNotFoundException", "ValidationException"}


class Redrivable(StrEnum):
    """States of what can be asked again."""

    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"


class State(StrEnum):
    """States that one can ask for."""

    QUEUED = "Queued"
    DELAYED = "Delayed"
    RUNNING = "Running"
    PUBLISHING = "Publishing"
    COMPLETED = "Completed"
    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"


Name = Annotated[str, typer.Argument(metavar="ID", help="Id of the invocation, or its InferenceId (the newest).")]
Names = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of invocations, or their InferenceIds.")]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="Only those of this endpoint.")]
States = Annotated[
    list[State] | None, typer.Option("--state", help="Only those in this state; may be repeated.", case_sensitive=False)
]
RedrivableStates = Annotated[
    list[Redrivable] | None, typer.Option("--state", help="Only those in this state; may be repeated.", case_sensitive=False)
]
Since = Annotated[str | None, typer.Option("--since", help="Received since: 15m, 2h, 3d ago, or a time (UTC).", metavar="TIME")]
Until = Annotated[str | None, typer.Option("--until", help="Received before: as --since.", metavar="TIME")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="Only those with this in their reason, without case.", metavar="TEXT")
]


@app.command("list")
def list_invocations(  # noqa: PLR0913, PLR0917 - one parameter a flag
    data_dir: DataDir,
    endpoint: Endpoint = None,
    state: States = None,
    since: Since = None,
    until: Until = None,
    reason: Reason = None,
    inference_id: Annotated[str | None, typer.Option(help="Only those of this InferenceId.", metavar="NAME")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Invocations, newest first."""
    server = Server.of(data_dir)
    filters = _filters(endpoint, state, since, until, reason)
    if inference_id is not None:
        filters["InferenceId"] = inference_id
    with working("listing"), server.knows_endpoint():
        every = pages(server.target, "ListInvocations", MaxResults=min(limit + 1, PAGE_MAX), **filters)
        found = list(itertools.islice((each for page in every for each in page["Invocations"]), limit + 1))
    if as_json:
        print_json(found[:limit])
    else:
        _print_invocations(found[:limit])
        hint_at_logs(server, found[:limit])
    if not found:
        hint("There is none.")
    if len(found) > limit:
        messages.print(f"There are more than {limit}: --limit shows more, --state, --since, --reason and --endpoint choose.")


@app.command()
def show(id: Name, data_dir: DataDir, as_json: AsJson = False) -> None:
    """All that is known of an invocation: state, reason, place in the queue, timeline, attempts."""
    server = Server.of(data_dir)
    answer = _find(server, id)
    if as_json:
        print_json({**answer.pop("Invocation"), **answer})
        return
    invocation = answer["Invocation"]
    print_properties(rendering.invocation_properties(invocation))
    print_table(rendering.TIMELINE_COLUMNS, rendering.timeline_rows(invocation), "timeline")
    attempts = rendering.attempt_entries(invocation, datetime.now(UTC))
    print_entries(rendering.ATTEMPT_COLUMNS, attempts, flexible=-1, title="attempts")
    if others := answer.get("SameInferenceId", ())[1:]:
        _print_invocations(others, "same inference id")
    hint_at_logs(server, [invocation])
    if invocation["State"] == "Queued" and not _is_served(server, invocation["EndpointName"]):
        why = server.command(f"endpoints show {invocation['EndpointName']}")
        hint(f"The endpoint has no instance in service. Why: {why}")


@app.command()
def watch(id: Name, data_dir: DataDir, output: Output = None, as_json: AsJson = False) -> None:
    """Wait for an invocation and print its answer, as `tarry invoke --wait` does."""
    server = Server.of(data_dir)
    found = _find(server, id)["Invocation"]
    raise finish(server, follow(server, found["InvocationId"]), output, as_json=as_json)


@app.command()
def stop(ids: Names, data_dir: DataDir, as_json: AsJson = False) -> None:
    """End invocations as Stopped: those that wait at once, those that run by closing their connection.

    Of an InferenceId that several have, all that have not ended.
    """
    server = Server.of(data_dir)
    stopped = [one for each in ids for one in _changed(call(server.target, "StopInvocation", **_member(server, each)))]
    if as_json:
        print_json(stopped)
    else:
        print_table(("invocation", "state"), ((each["InvocationId"], rendering.coloured(each["State"])) for each in stopped))


@app.command()
def prioritize(
    ids: Names,
    data_dir: DataDir,
    priority: Annotated[int, typer.Option(help="-9 to 9; each step is a head start of ten minutes.")],
    as_json: AsJson = False,
) -> None:
    """Give invocations that wait another priority; of an InferenceId that several have, all that wait."""
    server = Server.of(data_dir)
    asked = (call(server.target, "SetPriority", **_member(server, each), Priority=priority) for each in ids)
    answers = [one for answer in asked for one in _changed(answer)]
    if as_json:
        print_json(answers)
    else:
        rows = ((each["InvocationId"], rendering.coloured(each["State"]), str(each["Priority"])) for each in answers)
        print_table(("invocation", "state", "priority"), rows)


@app.command()
def redrive(  # noqa: PLR0913, PLR0917 - one parameter a flag
    data_dir: DataDir,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="These; or all that match --endpoint.")] = None,
    endpoint: Endpoint = None,
    state: RedrivableStates = None,
    since: Since = None,
    until: Until = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell which.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask again what Failed, Expired or Stopped invocations asked; the answers go where the first ones were expected."""
    server = Server.of(data_dir)
    filters = _filters(endpoint, state, since, until, reason)
    if ids:
        params = {**_members(server, ids), **filters}
    elif endpoint is None:
        raise InvalidRequest("Give ids, or --endpoint with filters for all that match. --dry-run tells which.")
    else:
        params = {"MaxInvocations": limit, **filters}
    with working("redriving"), server.knows_endpoint():
        answer = call(server.target, "RedriveInvocations", DryRun=dry_run, **params)
    if as_json:
        print_json(answer)
    else:
        if dry_run:
            _print_invocations(each["Ended"] for each in answer["Redrives"])
        else:
            print_table(
                ("ended", "asked again as"), ((each["InvocationId"], each["NewInvocationId"]) for each in answer["Redrives"])
            )
        hint(f"{answer['Count']} {'would be' if dry_run else 'are'} asked again.")
    if answer.get("MoreMayMatch"):
        messages.print("There may be more: --limit.")
    if answer["Remaining"]:
        messages.print(f"{answer['Remaining']} are left: {printable(answer.get('Reason', ''))}")
        raise typer.Exit(1)


def _is_served(server: Server, endpoint: str) -> bool:
    """Whether an instance of the endpoint is in service, or the endpoint is no more."""
    try:
        described = call(server.target, "DescribeEndpoint", service="sagemaker", EndpointName=endpoint)
    except Refusal:
        return True
    return rendering.current_instances(described) > 0


def _print_invocations(summaries: Iterable[rendering.Document], title: str | None = None) -> None:
    now = datetime.now(UTC)
    entries = (rendering.invocation_entry(each, now) for each in summaries)
    print_entries(rendering.INVOCATION_COLUMNS, entries, flexible=-1, title=title)


def _filters(  # the options that list and redrive share
    endpoint: str | None, state: Iterable[StrEnum] | None, since: str | None, until: str | None, reason: str | None
) -> dict[str, Any]:
    now = datetime.now(UTC)
    members = {
        "EndpointName": endpoint,
        "States": [str(each) for each in state] if state else None,
        "ReceivedAfter": None if since is None else read_time(since, now),
        "ReceivedBefore": None if until is None else read_time(until, now),
        "ReasonContains": reason,
    }
    return {name: value for name, value in members.items() if value is not None}


def _find(server: Server, name: str) -> dict[str, Any]:
    """DescribeInvocation by our id, else by InferenceId. Errors: InvalidRequest with where to look."""
    try:
        return call(server.target, "DescribeInvocation", InvocationId=name)
    except Refusal as error:
        if error.code not in _TRY_BY_NAME:
            raise
    try:
        return call(server.target, "DescribeInvocation", InferenceId=name)
    except Refusal as error:
        if error.code not in _TRY_BY_NAME:
            raise
        listed = server.command("invocations list")
        raise InvalidRequest(f"No invocation has the id or InferenceId {name!r}. `{listed}` shows the newest.") from None


def _member(server: Server, name: str) -> dict[str, str]:
    """The member of a request that this name is for: our id, else the InferenceId."""
    return {"InferenceId" if "SameInferenceId" in _find(server, name) else "InvocationId": name}


def _members(server: Server, names: Iterable[str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in names:
        for member, value in _member(server, name).items():
            members.setdefault(f"{member}s", []).append(value)
    return members


def _changed(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """All that an InferenceId meant, or the one; the newest as it is, where nothing of that name could be changed."""
    if answer.pop("MoreMayMatch", False):
        messages.print("There are more, and the time was over: run it again for the rest.")
    return answer.pop("Invocations", None) or [answer]
