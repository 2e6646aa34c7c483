"""Which lines are tried again, and when, as tables."""

from typing import Any

import pytest

from backburner.domain.request import Outcome, Usage
from backburner.domain.retry import RetryPolicy, sort_outcomes


def outcome(line: Any = 1, status: Any = 0, code: Any = None) -> Any:
    return Outcome(line=line, custom_id=f"r{line}", status_code=status, code=code)


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [
        (200, None, False),
        (201, None, False),
        (299, None, False),
        (400, None, False),
        (401, None, False),
        (403, None, False),
        (404, None, False),
        (408, None, True),
        (409, None, True),
        (413, None, False),
        (422, None, False),
        (424, None, False),
        (425, None, True),
        (429, None, True),
        (499, None, False),
        (500, None, True),
        (502, None, True),
        (503, None, True),
        (504, None, True),
        (529, None, True),
        (0, "missing_result", True),
        (0, "invalid_result", True),
        (0, "backend_failed", True),
        (0, "attempt_lost", True),
        (0, "backend_refused", False),
        (0, "batch_expired", False),
        (0, "batch_cancelled", False),
        (0, None, False),
        (200, "missing_result", False),
    ],
)
def test_what_may_fare_better_is_retryable(status, code, is_retryable):
    assert outcome(status=status, code=code).is_retryable is is_retryable


@pytest.mark.parametrize(
    ("status", "is_success"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_only_2xx_is_a_success(status, is_success):
    assert outcome(status=status).is_success is is_success


@pytest.mark.parametrize(
    ("attempt", "final", "retry"),
    [(1, [1, 3], [2]), (2, [1, 3], [2]), (3, [1, 2, 3], []), (9, [1, 2, 3], [])],
)
def test_the_last_attempt_is_final(attempt, final, retry):
    outcomes = [outcome(1, 200), outcome(2, 500), outcome(3, 400)]
    parted = sort_outcomes(outcomes, attempt=attempt, policy=RetryPolicy(max_attempts=3))
    assert [one.line for one in parted.final] == final
    assert [one.line for one in parted.retry] == retry


@pytest.mark.parametrize(
    ("attempt", "jitter", "seconds"),
    [
        (1, 1.0, 5),
        (1, 0.0, 2.5),
        (2, 1.0, 10),
        (3, 1.0, 20),
        (3, 0.5, 15),
        (7, 1.0, 300),
        (60, 0.0, 150),
    ],
)
def test_pauses_double_up_to_the_limit_and_are_spread(attempt, jitter, seconds):
    assert RetryPolicy().pause_seconds(attempt, jitter) == seconds


def test_usages_add_up():
    assert Usage(input_tokens=1, output_tokens=2) + Usage(input_tokens=3) == Usage(
        input_tokens=4, output_tokens=2
    )
