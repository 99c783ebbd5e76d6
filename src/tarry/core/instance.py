"""One running copy of a variant's container: its states, what may follow what, and how its failure is told."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from urllib.parse import quote

FAILURE_REASON_CHARS_MAX = 1024  # AWS: DescribeEndpoint API reference, FailureReason
_LOG_HEADING = "\nLast lines of the model server's log:\n"
_VARIES = re.compile(r"^[\d\s:.,+/\[\]TZ-]+|(?<=\d):\d{4,5}\b")
"""What differs in lines that say the same: the time at their beginning, and the port of whoever asks."""
_PING_FAILURE_END = "in the data directory.)"


class InstanceState(StrEnum):
    """Where an instance is in its life."""

    PENDING = "Pending"  # the row is written; the engine has not been asked yet
    STARTING = "Starting"  # environment, model data, process, waiting for /ping
    IN_SERVICE = "InService"  # answers /ping; delivery may give it work
    DRAINING = "Draining"  # gets no new work; stopped when its last invocation has ended
    STOPPED = "Stopped"
    FAILED = "Failed"  # died, never answered, or could not be started


TRANSITIONS: dict[InstanceState, frozenset[InstanceState]] = {
    InstanceState.PENDING: frozenset({InstanceState.STARTING, InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.STARTING: frozenset({InstanceState.IN_SERVICE, InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.IN_SERVICE: frozenset({InstanceState.DRAINING, InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.DRAINING: frozenset({InstanceState.STOPPED, InstanceState.FAILED}),
    InstanceState.STOPPED: frozenset(),
    InstanceState.FAILED: frozenset(),
}

NOT_YET = frozenset({InstanceState.PENDING, InstanceState.STARTING})
"""States in which it has never had work."""
ENDED = frozenset({InstanceState.STOPPED, InstanceState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance row. It is written (Pending) before the engine acts, so nothing runs that no row knows of."""

    id: str
    endpoint_id: str
    deployment_id: str
    variant_name: str
    state: InstanceState
    instance_type: str = ""
    """Empty for one that was started before there were pools."""
    out_of_capacity: bool = False
    """Failed: there was no room for it. Nothing is wrong with what it would have run."""
    concurrency: int
    """How many invocations it may have in flight."""
    created_at_us: int
    ready_at_us: int | None = None
    """When it first answered /ping; None: never."""
    draining_at_us: int | None = None
    ended_at_us: int | None = None
    addresses: tuple[str, ...] = ()
    """Base URLs of its model servers, such as ``http://127.0.0.1:20001``, one a container and in their order; set from InService
    on."""
    unanswered_since_us: int | None = None
    """InService and silent: since when it has not answered /ping. It gets no new work until it does; in the end it is Failed."""
    ping_answer: str | None = None
    """What it last answered to GET /ping, or why it did not, while that is not 200; before InService only now and then."""
    failure_reason: str | None = None
    revision: int = 0


def log_name(endpoint_name: str, variant_name: str, instance_id: str, container: str | None = None) -> str:
    """The file below the data directory that has what an instance, or one container of its pipeline, has written.

    ``logs/<endpoint>/<variant>/<instance>.log``, as CloudWatch names its group and stream (``<instance>%2F<container>.log``).
    """
    name = instance_id if container is None else f"{instance_id}/{container}"
    return f"logs/{_part(endpoint_name)}/{_part(variant_name)}/{_part(name)}.log"


def _part(name: str) -> str:
    """One path component, whatever the name: names have been validated long before, a path is no place to rely on it."""
    quoted = quote(name, safe="")
    return quoted if quoted.strip(".") else quoted.replace(".", "%2E") or "%00"


def ping_failure(endpoint_name: str, variant_name: str, instance_id: str, container: str | None = None) -> str:
    """The sentences for a container that never answered GET /ping; a name for one of a pipeline.

    AWS: "The primary container for production variant AllTraffic did not pass the ping health check. Please check CloudWatch logs
    for this endpoint." (SageMaker Python SDK, troubleshooting); of a pipeline "The container-2 for production variant AllTraffic
    did not …" (awslabs/amazon-sagemaker-examples#1072). OURS: what follows, where those logs are here.
    """
    which = "primary container" if container is None else container
    file = log_name(endpoint_name, variant_name, instance_id, container)
    return (
        f"The {which} for production variant {variant_name} did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint. "
        f"(Here: tarry logs {endpoint_name}, or {file} {_PING_FAILURE_END}"
    )


def cause_of(failure_reason: str) -> str:
    """What ``explain_failure`` was given: a FailureReason without the log."""
    return failure_reason.partition(_LOG_HEADING)[0]


def explain_failure(cause: str, log_lines: Sequence[str]) -> str:
    """A FailureReason: the cause, then as many of the last lines of the log as fit into 1024 characters.

    What a model server says at each GET /ping must not take the place of why: lines that repeat are one, with a count.
    """
    cause = cause[:FAILURE_REASON_CHARS_MAX]
    room = FAILURE_REASON_CHARS_MAX - len(cause) - len(_LOG_HEADING)
    log = "\n".join(_without_repetitions(log_lines)).strip()
    if room <= 0 or not log:
        return cause
    return cause + _LOG_HEADING + log[-room:]


def _without_repetitions(lines: Sequence[str]) -> Iterator[str]:
    for _, alike in groupby(lines, key=lambda line: _VARIES.sub("", line).strip() or line.strip()):
        *before, last = alike
        yield f"{last} ({len(before) + 1} times)" if before and last.strip() else last


def in_short(reason: str) -> str:
    """Of a FailureReason what tells it from others, in a line: the cause, and the last line of the log."""
    cause, _, log = reason.partition(_LOG_HEADING)
    before, _, particular = cause.partition(_PING_FAILURE_END)
    last = log.strip().rpartition("\n")[2].strip()
    said = (particular or before).strip()
    return f"{said} Last line of its log: {last}" if last else said
