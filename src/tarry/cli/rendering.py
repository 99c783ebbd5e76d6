"""Documents of the API in words: what people see of an invocation, an endpoint, a queue. Pure; times are UTC."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

Document = Mapping[str, Any]
Cell = str | Text

ENDED = frozenset({"Completed", "Failed", "Expired", "Stopped"})
_STYLES = {
    "Completed": "green",
    "InService": "green",
    "Failed": "red",
    "Expired": "red",
    "RollingBack": "red",
    "UpdateRollbackFailed": "red",
    "Stopped": "yellow",
    "Stopping": "yellow",
    "Delayed": "yellow",
    "Running": "cyan",
    "Publishing": "cyan",
}
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))

INVOCATION_COLUMNS = ("invocation", "endpoint", "state", "received (UTC)", "took", "attempts", "inference id", "reason")
TIMELINE_COLUMNS = ("step", "time (UTC)", "since the step before")
ATTEMPT_COLUMNS = ("number", "result", "status", "started (UTC)", "took", "instance", "reason")
ENDPOINT_COLUMNS = ("endpoint", "status", "instances", "queued", "delayed", "running", "oldest", "reason")


def moment(time: datetime | None) -> str:
    """A time to the second; nothing for none."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """A duration in its two largest units: ``850 ms``, ``3.4 s``, ``2 min 5 s``, ``3 d 4 h``."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    parts: list[tuple[int, str]] = []
    left = round(seconds)
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def between(start: datetime | None, end: datetime | None) -> str:
    """The duration between two times; nothing where one is not known."""
    return "" if start is None or end is None else span((end - start) / timedelta(seconds=1))


def coloured(state: str) -> Text:
    """A state or status in its colour."""
    return Text(state, style=_STYLES.get(state, ""))


def progress(invocation: Document, now: datetime) -> str:
    """How far an invocation is, in one line."""
    state: str = invocation["State"]
    parts = [state]
    if "QueuePosition" in invocation:
        parts.append(f"number {_place(invocation)} in the queue")
    if start := invocation.get("ExpectedStartTime"):
        parts.append(f"expected to start {f'in {between(now, start)}' if start > now else 'at any moment'}")
    if "NextAttemptTime" in invocation:
        parts.append(f"next attempt in {between(now, invocation['NextAttemptTime'])}")
    parts += [
        f"for {between(attempt['StartTime'], now)}, attempt {attempt['Number']}"
        for attempt in invocation.get("Attempts", ())
        if attempt["Result"] == "Running"
    ]
    return ", ".join(parts)


def invocation_row(summary: Document) -> tuple[Cell, ...]:
    """One of a list of invocations, as in INVOCATION_COLUMNS."""
    inference_id = summary["InferenceId"]
    return (
        summary["InvocationId"],
        summary["EndpointName"],
        coloured(summary["State"]),
        moment(summary["ReceivedTime"]),
        between(summary["ReceivedTime"], summary.get("EndTime")),
        str(summary.get("AttemptCount", 0)),
        "" if inference_id == summary["InvocationId"] else inference_id,
        summary.get("Reason", ""),
    )


def invocation_properties(invocation: Document) -> Iterator[tuple[str, Cell]]:
    """All that is known of an invocation but its timeline and attempts."""
    known = {
        "invocation": invocation["InvocationId"],
        "inference id": invocation["InferenceId"],
        "endpoint": invocation["EndpointName"],
        "state": coloured(invocation["State"]),
        "reason": invocation.get("Reason"),
        "received (UTC)": moment(invocation["ReceivedTime"]),
        "ended (UTC)": moment(invocation.get("EndTime")),
        "took": between(invocation["ReceivedTime"], invocation.get("EndTime")),
        "place in the queue": _place(invocation),
        "expected start (UTC)": moment(invocation.get("ExpectedStartTime")),
        "next attempt (UTC)": moment(invocation.get("NextAttemptTime")),
        "expires (UTC)": moment(invocation.get("ExpiryTime")) if invocation["State"] not in ENDED else None,
        "priority": invocation.get("Priority"),
        "time limit": span(invocation["TimeoutSeconds"]) if "TimeoutSeconds" in invocation else None,
        "container status": invocation.get("ContainerStatus"),
        "attempts": invocation.get("AttemptCount"),
        "lost attempts": invocation.get("LostAttemptCount"),
        "instance": invocation.get("InstanceId"),
        "content type": invocation.get("ContentType"),
        "input": invocation.get("InputLocation", "came with the request"),
        "output": invocation["OutputLocation"],
        "failure": invocation["FailureLocation"],
        "redrive of": invocation.get("RedriveOf"),
        "redriven as": invocation.get("RedrivenAs"),
        "notification": invocation.get("NotificationTopicArn"),
        "notification error": invocation.get("NotificationError"),
    }
    for name, value in known.items():
        if value not in (None, ""):
            yield name, value if isinstance(value, Text) else str(value)


def timeline_rows(invocation: Document) -> Iterator[tuple[Cell, ...]]:
    """The steps of an invocation, as in TIMELINE_COLUMNS."""
    for entry in invocation.get("Timeline", ()):
        time = entry["Time"].astimezone(UTC)
        since_ms = entry.get("MillisecondsSinceBefore")
        yield entry["Step"], f"{time:%Y-%m-%d %H:%M:%S.%f}"[:-3], "" if since_ms is None else span(since_ms / 1000)


def attempt_rows(invocation: Document) -> Iterator[tuple[Cell, ...]]:
    """The attempts of an invocation, as in ATTEMPT_COLUMNS."""
    for attempt in invocation.get("Attempts", ()):
        yield (
            str(attempt["Number"]),
            attempt["Result"],
            str(attempt.get("ContainerStatus", "")),
            moment(attempt["StartTime"]),
            between(attempt["StartTime"], attempt.get("EndTime")),
            attempt["InstanceId"],
            attempt.get("Reason", ""),
        )


def endpoint_row(endpoint: Document, now: datetime) -> tuple[Cell, ...]:
    """A description of an endpoint with that of its queue in ``Queue``, as in ENDPOINT_COLUMNS."""
    queue, variants = endpoint["Queue"], endpoint.get("ProductionVariants", ())
    current = sum(variant.get("CurrentInstanceCount", 0) for variant in variants)
    desired = sum(variant.get("DesiredInstanceCount", 0) for variant in variants)
    return (
        endpoint["EndpointName"],
        coloured(endpoint["EndpointStatus"]),
        f"{current}/{desired}",
        str(queue["QueuedCount"]),
        str(queue["DelayedCount"]),
        str(queue["RunningCount"]),
        between(queue.get("OldestReceivedTime"), now),
        endpoint.get("FailureReason") or _status_message(endpoint),
    )


def queue_properties(queue: Document, now: datetime) -> Iterator[tuple[str, Cell]]:
    """A description of a queue."""
    yield "endpoint", queue["EndpointName"]
    for name in ("Queued", "Delayed", "Running", "Publishing"):
        yield name.lower(), str(queue[f"{name}Count"])
    if "OldestReceivedTime" in queue:
        yield "oldest that waits", between(queue["OldestReceivedTime"], now)
    yield "retry policy", policy_words(queue.get("RetryPolicy"))


def policy_words(policy: Document | None) -> str:
    """A retry policy in a sentence."""
    if policy is None:
        return "none: the first answer counts"
    return (
        f"{policy['MaxAttempts']} attempts on {', '.join(policy['Statuses'])}; "
        f"{span(policy['BackoffSeconds'])} before the second, each wait {policy['BackoffRate']:g} times the one before, "
        f"at most {span(policy['MaxBackoffSeconds'])}"
    )


def _place(invocation: Document) -> str:
    if "QueuePosition" not in invocation:
        return ""
    return f"{invocation['QueuePosition']}{' or later' if invocation.get('QueuePositionIsAtLeast') else ''}"


def _status_message(endpoint: Document) -> str:
    """What a variant is waiting for, where one says so."""
    pending = endpoint.get("PendingDeploymentSummary", {}).get("ProductionVariants", ())
    for variant in (*pending, *endpoint.get("ProductionVariants", ())):
        for status in variant.get("VariantStatus", ()):
            if message := status.get("StatusMessage"):
                return str(message)
    return ""
