"""How the failure of an instance is told."""

from tarry.core.instance import explain_failure, in_short, ping_failure


def test_in_short_a_failure_is_its_cause_and_the_last_line_of_the_log() -> None:
    cause = f"{ping_failure('Ep', 'A', 'i-1')} The model server ended with exit code 1."
    reason = explain_failure(cause, ["Traceback", '  File "serve"', "ModuleNotFoundError: No module named 'x'"])
    assert in_short(reason) == (
        "The model server ended with exit code 1. Last line of its log: ModuleNotFoundError: No module named 'x'"
    )
    assert in_short(cause) == "The model server ended with exit code 1."
    assert in_short("No image is known.") == "No image is known."
