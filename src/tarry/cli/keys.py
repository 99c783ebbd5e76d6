"""``tarry keys``: who may use the server, and what for."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tarry.aws.client import Target, call
from tarry.bootstrap.directory import DataDirectory
from tarry.core.errors import InvalidRequest

app = typer.Typer(help="Key pairs: who may use the server, and what for.", no_args_is_help=True)

DataDir = Annotated[Path, typer.Option("--data-dir", help="Data directory of the running server.", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="IAM policy (JSON) of what the key may do.", exists=True, dir_okay=False)
]
Name = Annotated[str, typer.Argument(help="Name of the key.")]
NameOrId = Annotated[str, typer.Argument(help="Id of one key pair, or a name for all pairs of it.")]

ALL_ALLOWED = "everything"


def target_of(directory: DataDirectory) -> Target:
    """The running server of a data directory, with its first key. Errors: NoCredentials and those of ``read_server``."""
    server = directory.read_server()
    key_id, secret = directory.read_credentials()
    return Target(
        url=server.url, region=directory.read_region(), access_key_id=key_id, secret=secret, ca_bundle=server.tls_cert or None
    )


@app.command()
def create(name: Name, data_dir: DataDir, policy: PolicyFile = None, as_json: AsJson = False) -> None:
    """Make a key pair. Without --policy it may do everything."""
    given = {} if policy is None else {"PolicyDocument": policy.read_text("utf-8")}
    made = call(target_of(DataDirectory(data_dir)), "CreateAccessKey", Name=name, **given)
    _show_new(made, as_json=as_json, may=ALL_ALLOWED if policy is None else f"what {policy} allows")


@app.command("list")
def list_keys(data_dir: DataDir, as_json: AsJson = False) -> None:
    """All key pairs, without their secrets."""
    keys = call(target_of(DataDirectory(data_dir)), "ListAccessKeys")["AccessKeys"]
    if as_json:
        typer.echo(json.dumps(keys, indent=2, default=lambda value: value.isoformat()))
        return
    rows = [
        (
            key["Name"],
            key["AccessKeyId"],
            key["Status"],
            f"{key['CreateDate']:%Y-%m-%d %H:%M}",
            _summary(key.get("PolicyDocument")),
        )
        for key in keys
    ]
    if not sys.stdout.isatty():
        for row in rows:
            typer.echo("\t".join(row))
        return
    table = Table("name", "id", "status", "created (UTC)", "may do")
    for name, key_id, status, created, may in rows:
        style = "green" if status == "Active" else "dim"
        table.add_row(name, key_id, f"[{style}]{status}[/]", created, may)
    Console().print(table)


@app.command()
def disable(key: NameOrId, data_dir: DataDir) -> None:
    """Let a key pair sign nothing any more, at once. It can be enabled again."""
    _set_status(DataDirectory(data_dir), key, "Inactive")


@app.command()
def enable(key: NameOrId, data_dir: DataDir) -> None:
    """Let a disabled key pair sign again."""
    _set_status(DataDirectory(data_dir), key, "Active")


@app.command()
def rotate(
    name: Name,
    data_dir: DataDir,
    disable_old: Annotated[bool, typer.Option("--disable-old", help="Disable the pairs before it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make another key pair of a name. The one before goes on working until it is disabled."""
    directory = DataDirectory(data_dir)
    target = target_of(directory)
    before = [key for key in call(target, "ListAccessKeys")["AccessKeys"] if key["Name"].lower() == name.lower()]
    made = call(target, "RotateAccessKey", Name=name)
    if any(key["AccessKeyId"] == target.access_key_id for key in before):
        # The key that tarry itself signs with: after a crash before this line the old one still works.
        directory.write_credentials(made["AccessKeyId"], made["SecretAccessKey"])
        target = target_of(directory)
    for key in before if disable_old else []:
        if key["Status"] == "Active":
            call(target, "UpdateAccessKey", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    old = "disabled" if disable_old else "still active: tarry keys disable it when nobody uses it any more"
    _show_new(made, as_json=as_json, may=f"what it may before; the old pair is {old}")


@app.command("set-policy")
def set_policy(name: Name, data_dir: DataDir, policy: PolicyFile = None) -> None:
    """Bound what a key may do; without --policy it may do everything again."""
    target = target_of(DataDirectory(data_dir))
    if policy is None:
        call(target, "DeleteAccessKeyPolicy", Name=name)
    else:
        call(target, "PutAccessKeyPolicy", Name=name, PolicyDocument=policy.read_text("utf-8"))
    typer.echo(f"{name} may do {ALL_ALLOWED if policy is None else f'what {policy} allows'}")


def _set_status(directory: DataDirectory, key: str, status: str) -> None:
    target = target_of(directory)
    keys = call(target, "ListAccessKeys")["AccessKeys"]
    meant = [one for one in keys if key == one["AccessKeyId"] or key.lower() == one["Name"].lower()]
    if not meant:
        raise InvalidRequest(f"There is no key {key!r}. `tarry keys list` shows all.")
    for one in meant:
        call(target, "UpdateAccessKey", AccessKeyId=one["AccessKeyId"], Status=status)
        typer.echo(f"{one['Name']} {one['AccessKeyId']} {status}")


def _show_new(made: Any, *, as_json: bool, may: str) -> None:
    if as_json:
        typer.echo(json.dumps(made, indent=2))
        return
    typer.echo(f"name = {made['Name']}")
    typer.echo(f"aws_access_key_id = {made['AccessKeyId']}")
    typer.echo(f"aws_secret_access_key = {made['SecretAccessKey']}")
    Console(stderr=True).print(f"It may do {may}. The secret is shown this once.", highlight=False, markup=False)


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def _summary(document: str | None) -> str:
    if document is None:
        return ALL_ALLOWED
    statements = json.loads(document)["Statement"]
    parts = statements if isinstance(statements, list) else [statements]
    return "; ".join(f"{part['Effect']} {_short(part.get('Action', part.get('NotAction')))}" for part in parts)


def _short(actions: Any) -> str:
    names = [actions] if isinstance(actions, str) else list(actions)
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
