import pytest

from tarry.aws.services.sns import RETRY_POLICY
from tarry.core.retry import SNS_HTTP, RetrySchedule, phased


def test_sns_http_is_fifty_tries_the_first_retries_twenty_seconds_apart() -> None:
    assert SNS_HTTP.tries_max == 50
    assert [SNS_HTTP.delay_s_after(tries) for tries in (1, 2, 3)] == [20, 20, 20]
    assert SNS_HTTP.delay_s_after(49) == 600
    assert SNS_HTTP.delay_s_after(50) is None
    assert 6 * 3600 < sum(SNS_HTTP.delays_s) < 8 * 3600


def test_delays_never_shrink() -> None:
    assert list(SNS_HTTP.delays_s) == sorted(SNS_HTTP.delays_s)


def test_the_policy_told_to_callers_is_the_schedule() -> None:
    told = phased(
        steady=(RETRY_POLICY["numMinDelayRetries"], RETRY_POLICY["minDelayTarget"]),
        growing=(
            RETRY_POLICY["numRetries"] - RETRY_POLICY["numMinDelayRetries"] - RETRY_POLICY["numMaxDelayRetries"],
            RETRY_POLICY["maxDelayTarget"],
        ),
        lasting=(RETRY_POLICY["numMaxDelayRetries"], RETRY_POLICY["maxDelayTarget"]),
    )
    assert told == SNS_HTTP


@pytest.mark.parametrize(("tries", "expected"), [(0, 1.0), (1, 1.0), (2, 5.0), (3, None), (99, None)])
def test_a_schedule_ends(tries: int, expected: float | None) -> None:
    assert RetrySchedule((1.0, 5.0)).delay_s_after(tries) == expected
