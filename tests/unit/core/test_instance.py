"""How the failure of an instance is told."""

import pytest

from tarry.core.instance import explain_failure, in_short, ping_failure


def test_in_short_a_failure_is_its_cause_and_the_last_line_of_the_log() -> None:
    cause = f"{ping_failure('Ep', 'A', 'i-1')} The model server ended with exit code 1."
    reason = explain_failure(cause, ["Traceback", '  File "serve"', "ModuleNotFoundError: No module named 'x'"])
    assert in_short(reason) == (
        "The model server ended with exit code 1. Last line of its log: ModuleNotFoundError: No module named 'x'"
    )
    assert in_short(cause) == "The model server ended with exit code 1."
    assert in_short("No image is known.") == "No image is known."


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["/ping: 503 loading"] * 11, ["/ping: 503 loading (11 times)"]),
        (
            [f"2026-11-01 10:00:0{n},123 INFO - waiting" for n in range(3)] + ["10:00:04 done"],
            ["2026-11-01 10:00:02,123 INFO - waiting (3 times)", "10:00:04 done"],
        ),
        ([f"[2026-11-01T10:00:0{n}.5Z] ready" for n in range(2)], ["[2026-11-01T10:00:01.5Z] ready (2 times)"]),
        (
            [
                'INFO: 127.0.0.1:40001 - "GET /ping HTTP/1.1" 200',
                'INFO: 127.0.0.1:5002 - "GET /ping HTTP/1.1" 503',
                'INFO: 127.0.0.1:5003 - "GET /ping HTTP/1.1" 503',
            ],
            ['INFO: 127.0.0.1:40001 - "GET /ping HTTP/1.1" 200', 'INFO: 127.0.0.1:5003 - "GET /ping HTTP/1.1" 503 (2 times)'],
        ),
        (["a", "b", "a"], ["a", "b", "a"]),
        (["epoch 1", "epoch 2"], ["epoch 1", "epoch 2"]),
        (["a", "", " ", "1", "2", "2", "b"], ["a", " ", "1", "2 (2 times)", "b"]),
    ],
)
def test_lines_that_repeat_are_one_with_a_count(lines: list[str], told: list[str]) -> None:
    _, *log = explain_failure("It ended.", lines).splitlines()
    assert log == ["Last lines of the model server's log:", *told]


def test_what_is_said_at_each_ping_does_not_hide_why() -> None:
    lines = ["ValueError: no such model", *["/ping: 503 Unable to load model: it has failed, look above for the reason"] * 39]
    assert "ValueError: no such model\n" in explain_failure(ping_failure("Ep", "A", "i-1"), lines)
