"""``tarry invoke``: a file goes in, an invocation comes out; with ``--wait`` its answer."""

import contextlib
import io
import mimetypes
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from tarry.aws.client import Refusal, call, invoke
from tarry.bootstrap.sdk_config import default_bucket
from tarry.cli.following import Output, finish, follow
from tarry.cli.shared import AsJson, DataDir, Server, hint, messages, print_json, print_properties, working
from tarry.core.errors import InvalidRequest
from tarry.core.names import S3Location

INLINE_BYTES_MAX = 128_000  # AWS: botocore's description of InvokeEndpointAsync, Body
KEY_PREFIX = "tarry-invoke"
_NO_BUCKET = {"404", "NoSuchBucket"}


def invoke_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="File with the input; - reads standard input.")],
    data_dir: DataDir,
    wait: Annotated[bool, typer.Option("--wait", help="Wait, and print the answer.")] = False,
    output: Output = None,
    content_type: Annotated[str | None, typer.Option(help="Of the input. [default: what the file's name tells]")] = None,
    accept: Annotated[str | None, typer.Option(help="Content type that the answer should have.")] = None,
    priority: Annotated[int | None, typer.Option(help="-9 to 9; each step is a head start of ten minutes.")] = None,
    inference_id: Annotated[str | None, typer.Option(help="Your name for the request; it may repeat.")] = None,
    idempotency_seconds: Annotated[
        int | None, typer.Option(help="With --inference-id: the same input again within so many seconds is the same request.")
    ] = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds that the model may take. [default: 900]")] = None,
    ttl: Annotated[int | None, typer.Option(help="Seconds that it may wait in the queue. [default: 21600]")] = None,
    bucket: Annotated[str | None, typer.Option(help="Where the input is put. [default: sagemaker-REGION-ACCOUNT]")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a file to an endpoint. A small one goes with the request unless --bucket is given, others over S3.

    With --wait: the answer on standard output (or in --output FILE); exit code 0 Completed, 3 Failed, 4 Expired, 5 Stopped.
    """
    server = Server.of(data_dir)
    with server.knows_endpoint():
        call(server.target, "DescribeQueue", EndpointName=endpoint)
    named = {
        "ContentType": content_type or mimetypes.MimeTypes().guess_type(Path(file.name).name)[0],
        "Accept": accept,
        "InferenceId": inference_id,
        "InvocationTimeoutSeconds": timeout,
        "RequestTTLSeconds": ttl,
    }
    params = {name: value for name, value in named.items() if value is not None}
    with _seekable(file) as body:
        params |= _input_of(server, body, Path(file.name).name, bucket)
    ours = {"X-Tarry-Priority": priority, "X-Tarry-Idempotency-Seconds": idempotency_seconds}
    headers = {name: str(value) for name, value in ours.items() if value is not None}
    accepted = _invoke(server, headers, {"EndpointName": endpoint, **params})
    if wait or output is not None:
        messages.print(f"invocation {accepted['InvocationId']}{', as before' if 'Repeated' in accepted else ''}")
        raise finish(server, follow(server, accepted["InvocationId"]), output, as_json=as_json)
    _show(accepted, server, as_json=as_json)


def _invoke(server: Server, headers: dict[str, str], params: dict[str, Any]) -> dict[str, Any]:
    try:
        return invoke(server.target, headers, **params)
    except Refusal as error:
        if "not found" not in str(error):
            raise
        status = server.command("endpoints")
        raise InvalidRequest(f"{params['EndpointName']} takes no invocations now: `{status}` shows its status.") from None


@contextlib.contextmanager
def _seekable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file, or what a pipe holds in a temporary one: S3 has to know the length before the first byte."""
    if file.seekable():
        yield file
        return
    if file.isatty():
        messages.print("Reading standard input; Ctrl-D ends it.")
        yield io.BytesIO(file.read())  # in pieces it would take a second Ctrl-D
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(file, spool)
        yield spool


def _input_of(server: Server, body: IO[bytes], name: str, bucket: str | None) -> dict[str, Any]:
    """The members that carry the input: itself where it is small, else where it has been put."""
    size = body.seek(0, 2)
    body.seek(0)
    if bucket is None and 0 < size <= INLINE_BYTES_MAX:
        return {"Body": body.read()}
    place = S3Location(bucket or _made_bucket(server), f"{KEY_PREFIX}/{uuid.uuid4()}/{name.strip('<>')}")
    with working(f"uploading {size} bytes to {place}"):
        call(server.target, "PutObject", service="s3", Bucket=place.bucket, Key=place.key, Body=body)
    return {"InputLocation": str(place)}


def _made_bucket(server: Server) -> str:
    """The bucket that the SageMaker SDK would take; made where it is missing."""
    scope = server.directory.read_scope()
    name = default_bucket(scope)
    try:
        call(server.target, "HeadBucket", service="s3", Bucket=name)
    except Refusal as error:
        if error.code not in _NO_BUCKET:
            raise
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": scope.region}} if scope.region != "us-east-1" else {}
        call(server.target, "CreateBucket", service="s3", Bucket=name, **elsewhere)
    return name


def _show(accepted: dict[str, Any], server: Server, *, as_json: bool) -> None:
    if as_json:
        print_json(accepted)
        return
    names = {"invocation": "InvocationId", "output": "OutputLocation", "failure": "FailureLocation"}
    rows = [(name, accepted[member]) for name, member in names.items()]
    print_properties([*rows, ("repeated", "yes")] if "Repeated" in accepted else rows)
    watch = server.command(f"invocations watch {accepted['InvocationId']}")
    hint(f"What becomes of it: {watch}")
