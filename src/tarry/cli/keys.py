"""``tarry keys``: who may use the server, and what for."""

from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from tarry.aws.client import KeyRefused, call
from tarry.aws.policy_review import unmatched
from tarry.bootstrap.directory import DataDirectory
from tarry.cli.shared import AsJson, DataDir, messages, print_json, print_table, target_of
from tarry.core.errors import InvalidRequest
from tarry.core.policy import read_policy

app = typer.Typer(help="Key pairs: who may use the server, and what for.", no_args_is_help=True)

PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="IAM policy (JSON) of what the key may do.", exists=True, dir_okay=False)
]
Name = Annotated[str, typer.Argument(help="Name of the key.")]
NameOrId = Annotated[str, typer.Argument(help="Id of one key pair, or a name for all pairs of it.")]

ALL_ALLOWED = "everything"
PATTERNS_SHOWN = 3


@app.command()
def create(name: Name, data_dir: DataDir, policy: PolicyFile = None, as_json: AsJson = False) -> None:
    """Make a key pair. Without --policy it may do everything."""
    directory = DataDirectory(data_dir)
    given = {} if policy is None else {"PolicyDocument": _read(policy)}
    made = _ask(directory, "CreateAccessKey", Name=name, **given)
    _warn(directory, given.get("PolicyDocument"))
    _show_new(made, as_json=as_json, may=ALL_ALLOWED if policy is None else f"what {policy} allows")


@app.command("list")
def list_keys(data_dir: DataDir, as_json: AsJson = False) -> None:
    """All key pairs, without their secrets."""
    keys = _all_keys(DataDirectory(data_dir))
    if as_json:
        print_json(keys)
        return
    rows = [
        (
            key["Name"],
            key["AccessKeyId"],
            Text(key["Status"], style="green" if key["Status"] == "Active" else "dim"),
            f"{key['CreateDate'].astimezone(UTC):%Y-%m-%d %H:%M}",
            summary(key.get("PolicyDocument")),
        )
        for key in keys
    ]
    print_table(("name", "id", "status", "created (UTC)", "may do"), rows)


@app.command()
def disable(key: NameOrId, data_dir: DataDir) -> None:
    """Let a key pair sign nothing any more, at once. It can be enabled again."""
    directory = DataDirectory(data_dir)
    meant = _meant(directory, key)
    _refuse_own(directory, meant)
    for one in meant:
        _set_status(directory, one, "Inactive")


@app.command()
def enable(key: NameOrId, data_dir: DataDir) -> None:
    """Let a disabled key pair sign again; of a name, its newest pair alone."""
    directory = DataDirectory(data_dir)
    # Older pairs of a name are those that were rotated away: they come back only where they are meant.
    *older, newest = _meant(directory, key)
    _set_status(directory, newest, "Active")
    for one in older:
        if one["Status"] != "Active":
            typer.echo(
                f"{one['Name']} {one['AccessKeyId']} stays Inactive: it is an older pair. Give its id to enable it.", err=True
            )


@app.command()
def rotate(
    name: Name,
    data_dir: DataDir,
    disable_old: Annotated[bool, typer.Option("--disable-old", help="Disable the pairs before it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make another key pair of a name. The one before goes on working until it is disabled."""
    directory = DataDirectory(data_dir)
    own, _ = directory.read_credentials()
    before = [key for key in _all_keys(directory) if key["Name"].lower() == name.lower()]
    made = _ask(directory, "RotateAccessKey", Name=name)
    if any(key["AccessKeyId"] == own for key in before):
        # The key that tarry itself signs with: after a crash before this line the old one still works.
        directory.write_credentials(made["AccessKeyId"], made["SecretAccessKey"])
    for key in before if disable_old else []:
        if key["Status"] == "Active":
            _ask(directory, "UpdateAccessKey", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    old = "disabled" if disable_old else "still active: tarry keys disable it when nobody uses it any more"
    _show_new(made, as_json=as_json, may=f"what it may before; the old pair is {old}")


@app.command("set-policy")
def set_policy(name: Name, data_dir: DataDir, policy: PolicyFile = None) -> None:
    """Bound what a key may do; without --policy it may do everything again."""
    directory = DataDirectory(data_dir)
    if policy is None:
        _ask(directory, "DeleteAccessKeyPolicy", Name=name)
    else:
        document = _read(policy)
        _refuse_own(directory, [key for key in _all_keys(directory) if key["Name"].lower() == name.lower()])
        _ask(directory, "PutAccessKeyPolicy", Name=name, PolicyDocument=document)
        _warn(directory, document)
    typer.echo(f"{name} may do {ALL_ALLOWED if policy is None else f'what {policy} allows'}")


def summary(document: str | None) -> str:
    """What a policy says, in a line; all of it is in the JSON that ``list --json`` prints."""
    if document is None:
        return ALL_ALLOWED
    try:
        statements = read_policy(document).statements
    except InvalidRequest as error:
        return f"nothing, since its policy would be refused today: {error}"
    return "; ".join(
        f"{'Allow' if one.allows else 'Deny'} {_short(one.actions, turned=one.except_actions)} "
        f"on {_short(one.resources, turned=one.except_resources)}"
        for one in statements
    )


def _short(patterns: Sequence[str], *, turned: bool) -> str:
    shown = ", ".join(patterns[:PATTERNS_SHOWN]) + (" …" if len(patterns) > PATTERNS_SHOWN else "")
    return f"all but {shown}" if turned else shown


def _ask(directory: DataDirectory, operation: str, **params: Any) -> Mapping[str, Any]:
    """One operation, signed with DIR/credentials. Errors: those of ``call``; where the key is refused, with the way out."""
    try:
        return call(target_of(directory), operation, **params)
    except KeyRefused as error:
        raise InvalidRequest(
            f"{error} tarry keys signs with {directory.root / 'credentials'}. Write an active pair that may do this into it; or "
            "move the file away and start the server anew, which makes a pair that may do everything."
        ) from None


def _all_keys(directory: DataDirectory) -> Sequence[Mapping[str, Any]]:
    """Oldest first."""
    keys: Sequence[Mapping[str, Any]] = _ask(directory, "ListAccessKeys")["AccessKeys"]
    return keys


def _meant(directory: DataDirectory, key: str) -> Sequence[Mapping[str, Any]]:
    """The pair of an id, or the pairs of a name, oldest first; one at least. Errors: InvalidRequest where there is none."""
    meant = [one for one in _all_keys(directory) if key == one["AccessKeyId"] or key.lower() == one["Name"].lower()]
    if not meant:
        raise InvalidRequest(f"There is no key {key!r}. `tarry keys list` shows all.")
    return meant


def _refuse_own(directory: DataDirectory, keys: Sequence[Mapping[str, Any]]) -> None:
    """Errors: InvalidRequest where tarry's own pair is among the keys: no `tarry keys` could put it right afterwards."""
    own, _ = directory.read_credentials()
    name = next((key["Name"] for key in keys if key["AccessKeyId"] == own), None)
    if name is None:
        return
    raise InvalidRequest(
        f"{name} {own} is the pair that tarry keys itself signs with. To replace it: tarry keys rotate {name} --disable-old. To "
        f"do without it: write another pair that may do everything (tarry keys create NAME prints one) into "
        f"{directory.root / 'credentials'}, then try again."
    )


def _set_status(directory: DataDirectory, key: Mapping[str, Any], status: str) -> None:
    _ask(directory, "UpdateAccessKey", AccessKeyId=key["AccessKeyId"], Status=status)
    typer.echo(f"{key['Name']} {key['AccessKeyId']} {status}")


def _read(policy: Path) -> str:
    try:
        return policy.read_text("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{policy} is no text in UTF-8.") from None


def _warn(directory: DataDirectory, document: str | None) -> None:
    """Say which patterns of a policy that the server has taken match nothing."""
    if document is None:
        return
    for warning in unmatched(read_policy(document), directory.read_scope()):
        typer.echo(f"warning: {warning}", err=True)


def _show_new(made: Any, *, as_json: bool, may: str) -> None:
    if as_json:
        print_json(made)
        return
    typer.echo(f"name = {made['Name']}")
    typer.echo(f"aws_access_key_id = {made['AccessKeyId']}")
    typer.echo(f"aws_secret_access_key = {made['SecretAccessKey']}")
    messages.print(f"It may do {may}. The secret is shown this once.")
