"""Which lines are tried again, and when, as tables."""

from typing import Any

import pytest

from backburner.domain.request import Outcome, Usage
from backburner.domain.retry import (
    Fate,
    RetryPolicy,
    fate,
    has_failed_as_a_whole,
    most_attempts,
    sort_outcomes,
)
from backburner.domain.shard import LAST_PIECE, WHOLE
from tests.domain.values import a_shard, pool


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
    ("is_last", "final", "retry"), [(False, [1, 3], [2]), (True, [1, 2, 3], [])]
)
def test_the_last_attempt_is_final(is_last, final, retry):
    outcomes = [outcome(1, 200), outcome(2, 500), outcome(3, 400)]
    parted = sort_outcomes(outcomes, is_last=is_last)
    assert [one.line for one in parted.final] == final
    assert [one.line for one in parted.retry] == retry


@pytest.mark.parametrize(
    ("piece", "lines", "code", "attempts"),
    [
        (WHOLE, 1, "backend_failed", 3),
        (WHOLE, 9, "backend_failed", 3),
        (4, 2, "backend_failed", 3),
        (4, 1, "backend_failed", 6),  # whoever it died with may be to blame
        (4, 1, "attempt_lost", 3),
        (4, 1, None, 3),
    ],
)
def test_a_line_that_is_alone_and_may_be_innocent_is_tried_more_often(piece, lines, code, attempts):
    one = a_shard(piece=piece, line_count=lines)
    assert (
        most_attempts(one, [outcome(1, 0 if code else 500, code)], policy=RetryPolicy()) == attempts
    )


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
    one, other = Usage(input_tokens=1, output_tokens=2), Usage(input_tokens=3, output_tokens=4)
    assert one + other == Usage(input_tokens=4, output_tokens=6)


@pytest.mark.parametrize(
    ("statuses", "is_rest", "is_whole"),
    [
        ([500, 500], False, True),
        ([500, 0], False, True),
        ([500, 200], False, False),
        ([429, 400], False, False),
        ([0, 0], True, True),
        ([500, 0], True, False),
    ],
)
def test_an_attempt_has_failed_as_a_whole_if_no_line_has_ended(statuses, is_rest, is_whole):
    outcomes = [outcome(n, s, None if s else "attempt_lost") for n, s in enumerate(statuses)]
    assert has_failed_as_a_whole(a_shard(is_rest=is_rest), outcomes) is is_whole


REPEAT, HALVE, FAIL = Fate.REPEAT, Fate.HALVE, Fate.FAIL
WELL, UNKNOWN, DOWN = {"succeeded_at": 9.0}, {"probes": 7}, {"probes": 8}


@pytest.mark.parametrize(
    ("lines", "piece", "attempt", "seen", "expected"),
    [
        # the first time it may have been the instance's fault
        (8, WHOLE, 1, WELL, REPEAT),
        (8, WHOLE, 1, DOWN, REPEAT),
        # where others succeed, or it is worth a try, the fault is looked for in the lines
        (8, WHOLE, 2, WELL, HALVE),
        (8, WHOLE, 2, UNKNOWN, HALVE),
        (8, WHOLE, 3, WELL, HALVE),
        (4, 2, 1, WELL, HALVE),
        (4, 2, 1, UNKNOWN, HALVE),
        (4, 2, 3, WELL, HALVE),
        # where nothing succeeds, it is not
        (8, WHOLE, 2, DOWN, REPEAT),
        (8, WHOLE, 3, DOWN, FAIL),
        (4, 2, 1, DOWN, REPEAT),
        (4, 2, 2, DOWN, REPEAT),
        (4, 2, 3, DOWN, FAIL),
        # a single line has no halves
        (1, WHOLE, 1, WELL, REPEAT),
        (1, WHOLE, 3, WELL, FAIL),
        (1, 17, 1, WELL, REPEAT),
        (1, 17, 2, UNKNOWN, REPEAT),
        (1, 17, 3, WELL, FAIL),
        # nor has a piece whose halves could not be named
        (2, LAST_PIECE // 2, 1, WELL, HALVE),
        (2, LAST_PIECE // 2 + 1, 1, WELL, REPEAT),
        (2, LAST_PIECE // 2 + 1, 3, WELL, FAIL),
    ],
)
def test_what_becomes_of_a_shard_that_failed_as_a_whole(lines, piece, attempt, seen, expected):
    failed = a_shard(line_count=lines, piece=piece, attempt=attempt, failed_at=8.0)
    assert fate(failed, pool(**seen), policy=RetryPolicy(max_probes=8)) is expected


@pytest.mark.parametrize(
    ("failed_at", "succeeded_at", "expected"),
    [(None, 9.0, REPEAT), (9.0, 9.0, REPEAT), (9.0, 8.0, REPEAT), (9.0, 9.1, HALVE)],
)
def test_only_what_succeeded_since_the_lines_failed_speaks_for_the_endpoint(
    failed_at, succeeded_at, expected
):
    failed = a_shard(line_count=8, attempt=2, failed_at=failed_at)
    assert fate(failed, pool(succeeded_at=succeeded_at, probes=8), policy=RetryPolicy()) is expected
