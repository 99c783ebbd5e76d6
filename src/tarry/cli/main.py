"""The command line: ``tarry serve`` runs a server, ``tarry env`` points AWS programs at it."""

import os
import shlex
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

import tarry
from tarry.bootstrap.directory import DataDirectory, ServerInfo
from tarry.bootstrap.sdk_config import FILE as SDK_CONFIG
from tarry.cli import endpoints, images, invocations, keys, models, queues
from tarry.cli.invoke import invoke_command
from tarry.cli.logs import logs_command
from tarry.cli.shared import DataDir, messages, printable
from tarry.core.errors import TarryError
from tarry.settings import DATA_DIR_VARIABLE, load

app = typer.Typer(
    name="tarry",
    help="Amazon SageMaker Asynchronous Inference on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # square brackets are text here
)
START_S_MAX = 60.0
NO_PROXY = "127.0.0.1,localhost"

ServedDir = Annotated[
    Path,
    typer.Option(
        "--data-dir", envvar=DATA_DIR_VARIABLE, help="Directory that holds everything this server keeps.", file_okay=False
    ),
]


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - one parameter a flag
    data_dir: ServedDir,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one. [default: 8780]")] = None,
    region: Annotated[
        str | None, typer.Option(help="AWS region to stand for; fixed at the first start. [default: us-east-1]")
    ] = None,
    account_id: Annotated[
        str | None, typer.Option(help="AWS account to stand for; fixed at the first start. [default: 123456789012]")
    ] = None,
    environments: Annotated[
        Path | None, typer.Option(help="Where the images' environments are kept. [default: DIR/environments]")
    ] = None,
    public_url: Annotated[str | None, typer.Option(help="What URLs in messages begin with. [default: where it listens]")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate (PEM); with --tls-key: https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key (PEM).")] = None,
    drain_timeout: Annotated[
        float | None, typer.Option(help="Seconds that running invocations get after SIGTERM. [default: 30]")
    ] = None,
) -> None:
    """Run the server: every AWS service that Tarry offers, on one port, in one process."""
    from tarry.bootstrap.serve import run_server  # noqa: PLC0415 - slow to import, and no other command needs a server

    flags: dict[str, Any] = {
        "environments_dir": environments,
        "server": {
            "host": host,
            "port": port,
            "public_url": public_url,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "drain_timeout_s": drain_timeout,
        },
        "scope": {"region": region, "account_id": account_id},
    }
    run_server(load(data_dir, flags))


@app.command()
def env(data_dir: DataDir) -> None:
    """Print shell lines that point boto3, the AWS CLI and the SageMaker SDK at the server: eval "$(tarry env --data-dir DIR)"."""
    try:
        exports = _exports(data_dir)
    except TarryError:
        typer.echo("false")  # eval fails, too: a script must not go on, and talk to AWS itself
        raise
    for name, value in exports.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo("unset AWS_SESSION_TOKEN AWS_PROFILE")


def _exports(data_dir: Path) -> dict[str, str]:
    directory = DataDirectory(data_dir)
    server = _running_server(directory)
    access_key_id, secret = directory.read_credentials()
    region = directory.read_region()
    exports = {
        DATA_DIR_VARIABLE: str(directory.root),
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_DATA_PATH": _joined(os.pathsep, str(Path(tarry.__file__).parent / "aws" / "extensions"), "AWS_DATA_PATH"),
        "NO_PROXY": _joined(",", NO_PROXY, "NO_PROXY"),
    }
    if "SAGEMAKER_USER_CONFIG_OVERRIDE" not in os.environ and (data_dir / SDK_CONFIG).exists():
        exports["SAGEMAKER_USER_CONFIG_OVERRIDE"] = str((data_dir / SDK_CONFIG).resolve())
    if "no_proxy" in os.environ:  # it goes before the other, where both are set
        exports["no_proxy"] = _joined(",", NO_PROXY, "no_proxy")
    if server.tls_cert:
        exports["AWS_CA_BUNDLE"] = server.tls_cert
    return exports


def _running_server(directory: DataDirectory) -> ServerInfo:
    """Where the server listens; one that is just starting is waited for."""
    deadline = time.monotonic() + START_S_MAX
    while directory.is_starting() and time.monotonic() < deadline:
        time.sleep(0.1)
    return directory.read_server()


def _joined(separator: str, ours: str, name: str) -> str:
    """Our value before what the variable has, each part once."""
    parts = [ours, *(part for part in os.environ.get(name, "").split(separator) if part and part not in ours)]
    return separator.join(parts)


app.command("invoke")(invoke_command)
app.add_typer(invocations.app, name="invocations")
app.add_typer(endpoints.app, name="endpoints")
app.command("logs")(logs_command)
app.add_typer(queues.app, name="queue")
app.add_typer(keys.app, name="keys")

app.command("package")(models.package)
app.command("serve-local")(models.serve_local)

app.add_typer(images.app, name="images")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"tarry {tarry.__version__}")


def main() -> None:
    """Entry point: errors that people can mend are one line, without a stack trace."""
    try:
        app()
    except TarryError as error:
        messages.print(Text.assemble(("tarry:", "bold red"), f" {printable(str(error))}"))
        raise SystemExit(1) from None
