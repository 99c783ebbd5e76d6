"""Documents of the API in words: what people see of an invocation, an endpoint, a queue. Pure; times are UTC."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from tarry.core.instance import in_short

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

INVOCATION_COLUMNS = ("invocation", "state", "received", "took", "endpoint")
TIMELINE_COLUMNS = ("step", "time (UTC)", "since the step before")
ATTEMPT_COLUMNS = ("number", "result", "status", "started", "took", "instance")
LOG_COLUMNS = ("instance", "variant", "state", "written", "size")
ENDPOINT_COLUMNS = ("endpoint", "status", "instances", "queued", "delayed", "running", "oldest")


@dataclass(frozen=True, slots=True)
class Entry:
    """One of a list: for scripts the whole row; for people what fits into a line, and a note below it."""

    row: tuple[Cell, ...]
    shown: tuple[Cell, ...]
    note: str = ""


def moment(time: datetime | None) -> str:
    """A time to the second; nothing for none."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def short_moment(time: datetime, now: datetime) -> str:
    """A time of today to the second, any other to the minute."""
    time, now = time.astimezone(UTC), now.astimezone(UTC)
    return f"{time:%H:%M:%S}" if time.date() == now.date() else f"{time:%m-%d %H:%M}"


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


def invocation_entry(summary: Document, now: datetime) -> Entry:
    """One of a list of invocations, shown as in INVOCATION_COLUMNS."""
    inference_id = "" if summary["InferenceId"] == summary["InvocationId"] else summary["InferenceId"]
    invocation, endpoint, state = summary["InvocationId"], summary["EndpointName"], coloured(summary["State"])
    received, attempts, reason = summary["ReceivedTime"], summary.get("AttemptCount", 0), summary.get("Reason", "")
    took = between(received, summary.get("EndTime"))
    notes = (inference_id, f"{attempts} attempts" if attempts > 1 else "", reason)
    return Entry(
        row=(invocation, endpoint, state, moment(received), took, str(attempts), inference_id, reason),
        shown=(invocation, state, short_moment(received, now), took, endpoint),
        note=", ".join(note for note in notes if note),
    )


def invocation_properties(invocation: Document) -> Iterator[tuple[str, Cell]]:
    """All that is known of an invocation but its timeline and attempts."""
    known = {
        "invocation": invocation["InvocationId"],
        "inference id": invocation["InferenceId"],
        "endpoint": invocation["EndpointName"],
        "state": coloured(invocation["State"]),
        "reason": invocation.get("Reason"),
        "stopped by": invocation.get("StopCause"),
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
        **_objects(invocation),
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


def attempt_entries(invocation: Document, now: datetime) -> Iterator[Entry]:
    """The attempts of an invocation, shown as in ATTEMPT_COLUMNS."""
    for attempt in invocation.get("Attempts", ()):
        started, instance, reason = attempt["StartTime"], attempt["InstanceId"], attempt.get("Reason", "")
        told = (str(attempt["Number"]), attempt["Result"], str(attempt.get("ContainerStatus", "")))
        took = between(started, attempt.get("EndTime"))
        yield Entry(
            row=(*told, moment(started), took, instance, reason),
            shown=(*told, short_moment(started, now), took, instance),
            note=reason,
        )


def current_instances(endpoint: Document) -> int:
    """How many instances of an endpoint are in service."""
    return sum(variant.get("CurrentInstanceCount", 0) for variant in endpoint.get("ProductionVariants", ()))


def endpoint_entry(endpoint: Document, now: datetime) -> Entry:
    """A description of an endpoint with that of its queue in ``Queue``, shown as in ENDPOINT_COLUMNS."""
    queue, pending = endpoint["Queue"], endpoint.get("PendingDeploymentSummary", {})
    variants = endpoint.get("ProductionVariants") or pending.get("ProductionVariants", ())  # a new one has the latter alone
    desired = sum(variant.get("DesiredInstanceCount", 0) for variant in variants)
    shown = (
        endpoint["EndpointName"],
        coloured(endpoint["EndpointStatus"]),
        f"{current_instances(endpoint)}/{desired}",
        str(queue["QueuedCount"]),
        str(queue["DelayedCount"]),
        str(queue["RunningCount"]),
        between(queue.get("OldestReceivedTime"), now),
    )
    reason = endpoint.get("FailureReason") or next((message for _, message in _status_messages(endpoint)), "")
    return Entry(row=(*shown, reason), shown=shown, note=in_short(reason))


def endpoint_properties(endpoint: Document) -> Iterator[tuple[str, Cell]]:
    """A description of an endpoint but for its troubles: itself, then a line for each variant."""
    yield "status", coloured(endpoint["EndpointStatus"])
    yield "configuration", endpoint["EndpointConfigName"]
    yield "created (UTC)", moment(endpoint["CreationTime"])
    yield "changed (UTC)", moment(endpoint["LastModifiedTime"])
    for which, variant in _variants(endpoint):
        images = ", ".join(image["SpecifiedImage"] for image in variant.get("DeployedImages", ()))
        yield (
            which,
            f"{variant.get('CurrentInstanceCount', 0)} of {variant.get('DesiredInstanceCount', 0)} instances, "
            f"weight {variant.get('CurrentWeight', 0):g} of {variant.get('DesiredWeight', 0):g}, {images}",
        )


def endpoint_troubles(endpoint: Document) -> Iterator[tuple[str, str]]:
    """What is wrong with an endpoint, whole: whose trouble it is, and the text with its lines."""
    if reason := endpoint.get("FailureReason"):
        yield "failure reason", reason
    yield from _status_messages(endpoint)


def log_owner(log: Document) -> str:
    """Whose log it is, as short as it can be told: variant, the beginning of the instance's id, container of a pipeline."""
    parts = (log["VariantName"], log["InstanceId"].partition("-")[0], log.get("ContainerHostname", ""))
    return "/".join(part for part in parts if part)


def log_entry(log: Document, now: datetime) -> Entry:
    """A log, shown as in LOG_COLUMNS."""
    instance, container = log["InstanceId"], log.get("ContainerHostname", "")
    state = log.get("InstanceState", "ended")
    size = log["EndOffset"] - log["FirstOffset"]
    written = log["LastWriteTime"]
    return Entry(
        row=(instance, container, log["VariantName"], coloured(state), moment(written), str(size)),
        shown=(instance, log["VariantName"], coloured(state), short_moment(written, now), byte_count(size)),
        note=container,
    )


def byte_count(size: int) -> str:
    """A number of bytes in a unit that suits it."""
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.0f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"


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


def _objects(invocation: Document) -> dict[str, str]:
    """The object that there is; before the end, both that there may be."""
    output, failure = invocation["OutputLocation"], invocation["FailureLocation"]
    if invocation["State"] == "Completed":
        return {"output": output}
    if invocation["State"] in ENDED:
        return {"failure": failure}
    return {"output will be": output, "failure would be": failure}


def _variants(endpoint: Document) -> Iterator[tuple[str, Document]]:
    """The variants, those of an update that is under way first."""
    for variant in endpoint.get("PendingDeploymentSummary", {}).get("ProductionVariants", ()):
        yield f"new variant {variant.get('VariantName')}", variant
    for variant in endpoint.get("ProductionVariants", ()):
        yield f"variant {variant.get('VariantName')}", variant


def _status_messages(endpoint: Document) -> Iterator[tuple[str, str]]:
    """What variants are waiting for, where they say so."""
    for which, variant in _variants(endpoint):
        for status in variant.get("VariantStatus", ()):
            if message := status.get("StatusMessage"):
                yield which, str(message)
