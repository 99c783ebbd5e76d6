"""Waiting for an invocation at the command line: progress while it lasts, then the answer, or why there is none.

The exit code says how it ended. Ctrl-C ends the waiting only: the invocation goes on, and the command says how to look again.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.status import Status
from rich.text import Text

from tarry.aws.client import Refusal, Target, call, read_object
from tarry.cli.rendering import ENDED, between, progress
from tarry.cli.shared import Server, hint, messages, print_json, printable, working
from tarry.core.errors import DependencyError, InvalidRequest
from tarry.core.failure_reasons import SEE_LOGS


def _check_output(output: Path | None) -> Path | None:
    """Before anything is asked for: where the answer cannot be saved."""
    if output is not None and not output.parent.is_dir():
        raise typer.BadParameter(f"There is no directory {output.parent}.")
    return output


Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="Wait, and save the answer in this file, whole or not at all.",
        dir_okay=False,
        metavar="FILE",
        callback=_check_output,
    ),
]

EXIT_CODES = {"Completed": 0, "Failed": 3, "Expired": 4, "Stopped": 5}
"""By how the invocation ended; 1 and 2 are the command's own errors."""
INTERRUPTED = 130
FAILURE_BYTES_MAX = 64 * 1024
"""So much of a failure object is shown."""
_LOOK_S = 1
"""How often the progress is looked at on a terminal."""
_WAIT_S = 20


def follow(server: Server, invocation_id: str) -> dict[str, Any]:
    """The invocation when it has ended. Leaves with INTERRUPTED on Ctrl-C. Errors: those of ``call``."""
    again = server.command(f"invocations watch {invocation_id}")
    try:
        with working(f"waiting for {invocation_id}") as status:
            return _wait(server.target, invocation_id, status)
    except KeyboardInterrupt:
        messages.print(f"The invocation goes on. Look again: {again}")
        raise typer.Exit(INTERRUPTED) from None
    except DependencyError as error:  # the server has died, or it stops and takes no more questions
        raise DependencyError(f"{error} The invocation is kept. Look again: {again}") from None


def _wait(target: Target, invocation_id: str, status: Status) -> dict[str, Any]:
    wait_s = 0
    while True:
        answer = call(target, "WaitInvocation", InvocationId=invocation_id, WaitSeconds=wait_s)
        invocation: dict[str, Any] = answer["Invocation"]
        if invocation["State"] in ENDED:
            return invocation
        status.update(Text(progress(invocation, datetime.now(UTC))))
        wait_s = _LOOK_S if messages.is_terminal else _WAIT_S


def finish(server: Server, invocation: dict[str, Any], output: Path | None, *, as_json: bool) -> typer.Exit:
    """Print or save the answer of an ended invocation, or say why there is none; what to leave with."""
    target, completed = server.target, invocation["State"] == "Completed"
    if as_json:
        print_json(invocation)
    if completed and output is not None:
        size = _save(target, invocation["OutputLocation"], output)
        hint(f"{size} bytes in {output}, after {_took(invocation)}")
    elif completed and not as_json:
        _print_answer(target, invocation["OutputLocation"])
    elif not completed and not as_json:
        _tell_failure(target, invocation)
        hint_at_logs(server, [invocation])
    return typer.Exit(EXIT_CODES[invocation["State"]])


def hint_at_logs(server: Server, invocations: Iterable[dict[str, Any]]) -> None:
    """Where the logs are that the reasons of some of these speak of."""
    told = {each["EndpointName"] for each in invocations if SEE_LOGS in each.get("Reason", "")}
    if told:
        which = told.pop() if len(told) == 1 else "ENDPOINT"
        hint(f"What the model server printed: {server.command(f'logs {which}')}")


def _took(invocation: dict[str, Any]) -> str:
    return between(invocation["ReceivedTime"], invocation["EndTime"])


def _save(target: Target, location: str, output: Path) -> int:
    size, pieces = read_object(target, location)
    with whole_file(output) as file, working(f"saving {location}") as status:
        done = 0
        for piece in pieces:
            file.write(piece)
            done += len(piece)
            status.update(Text(f"saving {location}: {done * 100 // size} %"))
    return size


@contextlib.contextmanager
def whole_file(output: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name when it is whole; a device or pipe as it is. Errors: InvalidRequest."""
    special = output.exists() and not output.is_file()
    place = output if special else output.resolve()
    temporary = place if special else place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        if not special:
            temporary.replace(place)
    except OSError as error:
        raise InvalidRequest(f"{output} cannot be written: {error.strerror}.") from None
    finally:
        if not special:
            temporary.unlink(missing_ok=True)


def _print_answer(target: Target, location: str) -> None:
    _, pieces = read_object(target, location)
    on_terminal, last = sys.stdout.isatty(), b"\n"
    for piece in pieces:
        if on_terminal and b"\0" in piece:
            messages.print(f"The answer is no text. Save it with --output FILE, or send it through a pipe. It is in {location}")
            return
        sys.stdout.buffer.write(piece)
        last = piece[-1:]
    if on_terminal and last != b"\n":
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _tell_failure(target: Target, invocation: dict[str, Any]) -> None:
    state, location = invocation["State"], invocation["FailureLocation"]
    reason = f" after {_took(invocation)}: {printable(invocation.get('Reason', ''))}"
    messages.print(Text.assemble((state, "bold red"), reason))
    try:
        size, pieces = read_object(target, location)
    except Refusal as error:
        messages.print(f"The failure object {location} cannot be read: {error}")
        return
    text = next(pieces, b"")[:FAILURE_BYTES_MAX].decode(errors="replace")
    messages.print(printable(text))
    rest = f" ({size} bytes, the first {FAILURE_BYTES_MAX} are shown)" if size > FAILURE_BYTES_MAX else ""
    messages.print(f"The failure object is {location}{rest}")
