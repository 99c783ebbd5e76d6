"""What people read of an invocation, an endpoint, a queue."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tarry.cli import rendering
from tarry.cli.times import read_time
from tarry.core.errors import InvalidRequest
from tarry.core.instance import explain_failure, ping_failure

NOW = datetime(2026, 11, 1, 10, 0, 0, tzinfo=UTC)
SUMMARY: dict[str, Any] = {
    "InvocationId": "id-1",
    "InferenceId": "mine",
    "EndpointName": "e",
    "State": "Failed",
    "ReceivedTime": NOW,
    "EndTime": NOW + timedelta(seconds=75),
    "Reason": "too bad",
    "AttemptCount": 2,
    "OutputLocation": "s3://b/o",
    "FailureLocation": "s3://b/f",
}


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def texts(cells: Any) -> list[str]:
    return [str(cell) for cell in cells]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 ms"),
        (0.0125, "12 ms"),
        (3.44, "3.4 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (3 * 86_400 + 59, "3 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert rendering.span(seconds) == words


def test_times_are_shown_in_utc() -> None:
    assert rendering.moment(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-11-01 10:00:00"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"State": "Queued", "QueuePosition": 3}, "Queued, number 3 in the queue"),
        (
            {"State": "Queued", "QueuePosition": 1001, "QueuePositionIsAtLeast": True, "ExpectedStartTime": after(90)},
            "Queued, number 1001 or later in the queue, expected to start in 1 min 30 s",
        ),
        (
            {"State": "Queued", "QueuePosition": 1, "ExpectedStartTime": after(-1)},
            "Queued, number 1 in the queue, expected to start at any moment",
        ),
        ({"State": "Delayed", "NextAttemptTime": after(2)}, "Delayed, next attempt in 2.0 s"),
        (
            {
                "State": "Running",
                "Attempts": [
                    {"Number": 1, "Result": "Lost", "StartTime": after(-90)},
                    {"Number": 2, "Result": "Running", "StartTime": after(-5)},
                ],
            },
            "Running, for 5.0 s, attempt 2",
        ),
        ({"State": "Publishing"}, "Publishing"),
    ],
)
def test_progress_is_one_line(members: dict[str, Any], words: str) -> None:
    assert rendering.progress(members, NOW) == words


def test_of_a_list_scripts_get_all_and_people_what_fits() -> None:
    entry = rendering.invocation_entry(SUMMARY, after(60))
    assert texts(entry.row) == ["id-1", "e", "Failed", "2026-11-01 10:00:00", "1 min 15 s", "2", "mine", "too bad"]
    assert texts(entry.shown) == ["id-1", "Failed", "10:00:00", "1 min 15 s", "e"]
    assert entry.note == "mine, 2 attempts, too bad"
    assert len(entry.shown) == len(rendering.INVOCATION_COLUMNS)
    assert texts(rendering.invocation_entry(SUMMARY, after(86_400)).shown)[2] == "11-01 10:00"


def test_an_inference_id_that_nobody_gave_is_left_out_and_what_runs_has_taken_no_time() -> None:
    running = {**SUMMARY, "InferenceId": "id-1", "State": "Running", "AttemptCount": 1}
    del running["EndTime"], running["Reason"]
    entry = rendering.invocation_entry(running, NOW)
    assert (texts(entry.row)[4:], entry.note) == (["", "1", "", ""], "")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("Completed", {"output": "s3://b/o"}),
        ("Failed", {"failure": "s3://b/f"}),
        ("Stopped", {"failure": "s3://b/f"}),
        ("Stopping", {"output will be": "s3://b/o", "failure would be": "s3://b/f"}),
        ("Running", {"output will be": "s3://b/o", "failure would be": "s3://b/f"}),
    ],
)
def test_only_the_object_that_there_is_is_told_of_as_such(state: str, told: dict[str, str]) -> None:
    known = dict(rendering.invocation_properties({**SUMMARY, "State": state}))
    assert {name: value for name, value in known.items() if name.startswith(("output", "failure"))} == told


def test_properties_are_those_that_are_known() -> None:
    waiting = {**SUMMARY, "State": "Queued", "QueuePosition": 2, "ExpiryTime": after(60), "TimeoutSeconds": 900, "Priority": 0}
    known = {name: str(value) for name, value in rendering.invocation_properties(waiting)}
    assert known["place in the queue"] == "2"
    assert known["expires (UTC)"] == "2026-11-01 10:01:00"
    assert (known["time limit"], known["priority"], known["input"]) == ("15 min", "0", "came with the request")
    assert "redriven as" not in known
    ended = dict(rendering.invocation_properties({**SUMMARY, "ExpiryTime": after(60), "InputLocation": "s3://b/i"}))
    assert "expires (UTC)" not in ended
    assert ended["input"] == "s3://b/i"


def test_the_timeline_and_the_attempts() -> None:
    document = {
        "Timeline": [
            {"Step": "Received", "Time": after(0.25)},
            {"Step": "Claimed", "Time": after(0.5), "MillisecondsSinceBefore": 250.0},
        ],
        "Attempts": [{"Number": 1, "Result": "Lost", "InstanceId": "i", "StartTime": NOW, "EndTime": after(2), "Reason": "gone"}],
    }
    assert list(rendering.timeline_rows(document)) == [
        ("Received", "2026-11-01 10:00:00.250", ""),
        ("Claimed", "2026-11-01 10:00:00.500", "250 ms"),
    ]
    (entry,) = rendering.attempt_entries(document, NOW)
    assert entry.row == ("1", "Lost", "", "2026-11-01 10:00:00", "2.0 s", "i", "gone")
    assert (entry.shown, entry.note) == (("1", "Lost", "", "10:00:00", "2.0 s", "i"), "gone")


def test_an_endpoint_tells_its_reason_or_what_it_waits_for() -> None:
    queue = {"QueuedCount": 5, "DelayedCount": 1, "RunningCount": 2, "OldestReceivedTime": after(-30)}
    variants = [{"CurrentInstanceCount": 1, "DesiredInstanceCount": 2}, {"CurrentInstanceCount": 1, "DesiredInstanceCount": 1}]
    endpoint: dict[str, Any] = {
        "EndpointName": "e",
        "EndpointStatus": "InService",
        "ProductionVariants": variants,
        "Queue": queue,
    }
    assert texts(rendering.endpoint_entry(endpoint, NOW).row) == ["e", "InService", "2/3", "5", "1", "2", "30.0 s", ""]
    waiting = {"PendingDeploymentSummary": {"ProductionVariants": [{"VariantStatus": [{"StatusMessage": "no room"}]}]}}
    assert rendering.endpoint_entry({**endpoint, **waiting}, NOW).note == "no room"
    assert rendering.endpoint_entry({**endpoint, **waiting, "FailureReason": "broken"}, NOW).note == "broken"
    new = {"EndpointName": "e", "EndpointStatus": "Creating", "Queue": {"QueuedCount": 0, "DelayedCount": 0, "RunningCount": 0}}
    assert texts(rendering.endpoint_entry(new, NOW).shown)[2] == "0/0"
    coming = {"PendingDeploymentSummary": {"ProductionVariants": [{"CurrentInstanceCount": 0, "DesiredInstanceCount": 2}]}}
    assert texts(rendering.endpoint_entry({**new, **coming}, NOW).shown)[2] == "0/2"


FAILED: dict[str, Any] = {
    "EndpointName": "e",
    "EndpointStatus": "Failed",
    "EndpointConfigName": "c",
    "CreationTime": NOW,
    "LastModifiedTime": NOW,
    "FailureReason": explain_failure(f"{ping_failure('e', 'v', 'i')} It ended with exit code 1.", ["Traceback", "no module x"]),
    "Queue": {"QueuedCount": 0, "DelayedCount": 0, "RunningCount": 0},
}


def test_of_a_failure_a_terminals_list_has_what_tells_it_from_others() -> None:
    entry = rendering.endpoint_entry(FAILED, NOW)
    assert entry.note == "It ended with exit code 1. Last line of its log: no module x"
    assert entry.row[-1] == FAILED["FailureReason"]


def test_the_troubles_of_an_endpoint_are_told_whole() -> None:
    variant = {"VariantName": "v", "CurrentInstanceCount": 0, "DesiredInstanceCount": 1, "DesiredWeight": 1.0}
    waits = {**variant, "VariantStatus": [{"StatusMessage": "no room"}], "DeployedImages": [{"SpecifiedImage": "i:1"}]}
    endpoint = {**FAILED, "ProductionVariants": [variant], "PendingDeploymentSummary": {"ProductionVariants": [waits]}}
    assert list(rendering.endpoint_troubles(endpoint)) == [
        ("failure reason", FAILED["FailureReason"]),
        ("new variant v", "no room"),
    ]
    told = {name: str(value) for name, value in rendering.endpoint_properties(endpoint)}
    assert told["new variant v"] == "0 of 1 instances, weight 0 of 1, i:1"
    assert (told["status"], told["configuration"]) == ("Failed", "c")


def test_a_retry_policy_is_a_sentence() -> None:
    policy = {
        "MaxAttempts": 3,
        "Statuses": ["503", "timeout"],
        "BackoffSeconds": 1.0,
        "BackoffRate": 2.0,
        "MaxBackoffSeconds": 300.0,
    }
    assert rendering.policy_words(policy) == (
        "3 attempts on 503, timeout; 1.0 s before the second, each wait 2 times the one before, at most 5 min"
    )
    assert rendering.policy_words(None) == "none: the first answer counts"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90s", after(-90)),
        ("15m", after(-900)),
        ("2h", after(-7200)),
        ("3d", after(-3 * 86_400)),
        ("2026-11-01T09:30:00", after(-1800)),
        ("2026-11-01 11:00:00+02:00", after(-3600)),
    ],
)
def test_times_as_people_type_them(text: str, time: datetime) -> None:
    assert read_time(text, NOW) == time


@pytest.mark.parametrize("text", ["yesterday", "15", "15M", "-2h", ""])
def test_a_time_that_is_none_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(InvalidRequest, match="15m, 2h, 3d"):
        read_time(text, NOW)


def test_a_log_is_told_with_its_instance_or_the_container_of_it() -> None:
    log = {
        "VariantName": "v",
        "InstanceId": "0a1b2c3d-rest",
        "ContainerHostname": "container-2",
        "InstanceState": "Failed",
        "LastWriteTime": NOW,
        "FirstOffset": 1000,
        "EndOffset": 1000 + 5 * 1024 * 1024,
    }
    entry = rendering.log_entry(log, NOW)
    assert [str(cell) for cell in entry.row] == [
        "0a1b2c3d-rest", "container-2", "v", "Failed", "2026-11-01 10:00:00", str(5 * 1024 * 1024)
    ]  # fmt: skip
    assert [str(cell) for cell in entry.shown] == ["0a1b2c3d-rest", "v", "Failed", "10:00:00", "5.0 MiB"]
    assert entry.note == "container-2"
    assert rendering.log_owner(log) == "v/0a1b2c3d/container-2"
    del log["InstanceState"], log["ContainerHostname"]
    assert str(rendering.log_entry(log, NOW).shown[2]) == "ended"
    assert rendering.log_owner(log) == "v/0a1b2c3d"


@pytest.mark.parametrize(("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (10**6, "977 KiB")])
def test_bytes_are_told_in_a_unit_that_suits_them(size: int, words: str) -> None:
    assert rendering.byte_count(size) == words
