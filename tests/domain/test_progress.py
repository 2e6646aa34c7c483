"""Progress that tells the truth: what is known of a batch, and null for the rest."""

from typing import Any

import pytest

from backburner.domain.batch import BatchStatus, StopReason
from backburner.domain.progress import Standing, lines_per_second, next_mark, progress
from backburner.domain.progress import start_seconds as until_started
from tests.domain.values import batch, pool
from tests.world import a_model

#: 10 requests a second of a slot, two slots an instance.
MEASURED: dict[str, Any] = {"ended_lines": 1000, "busy_seconds": 100.0, "succeeded_at": 990.0}


def running(**changes: Any) -> Any:
    settings: dict[str, Any] = {"in_progress_at": 0.0, "expires_at": 10**9, "is_released": True}
    return batch(**settings | changes)


def standing(*, before: int | None = 0, lines: int | None = 0, **changes: Any) -> Standing:
    return Standing(
        model=a_model(slots=4, slots_per_instance=2),
        pool=pool(**MEASURED | changes),
        shards_before=before,
        lines_before=lines,
    )


@pytest.mark.parametrize(
    ("found", "percent"),
    [
        (batch(BatchStatus.VALIDATING, total=0), 0.0),
        (running(), 0.0),
        (running(completed=1, failed=1, total=3), 66.6),
        (running(completed=99_999, total=100_000), 99.9),
        (running(completed=100), 99.9),
        (batch(BatchStatus.FINALIZING, completed=100), 99.9),
        (batch(BatchStatus.COMPLETED, completed=100), 100.0),
        (batch(BatchStatus.EXPIRED, completed=1, failed=99), 100.0),
    ],
)
def test_all_is_done_only_when_the_files_are_there(found, percent):
    assert progress(found, 1.0).percent == percent


def test_the_rate_is_that_of_the_last_minutes_and_not_since_the_beginning():
    found = running(completed=80, marked_at=960.0, marked_lines=70, rate_since=900.0, rate_from=20)
    assert lines_per_second(found, 1000.0) == 0.6


def test_before_the_first_mark_it_counts_from_the_start():
    assert lines_per_second(running(completed=20), 40.0) == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"failed": 20, "skipped": 20},
        {"completed": 20, "paused": True},
        {"completed": 20, "stopping": StopReason.CANCELLED},
        {"completed": 20, "status": BatchStatus.FINALIZING},
        {"completed": 20, "status": BatchStatus.COMPLETED},
        {"completed": 20, "in_progress_at": 999.5},
    ],
)
def test_there_is_no_rate_where_nothing_goes_on(changes):
    assert lines_per_second(running(**changes), 1000.0) is None


def test_a_stall_shows_as_a_falling_rate():
    found = running(completed=60, rate_since=900.0, rate_from=0, marked_at=960.0)
    assert lines_per_second(found, 1500.0) == 0.1


@pytest.mark.parametrize(
    ("changes", "now", "mark"),
    [
        ({}, 59.0, None),
        ({"completed": 9}, 60.0, (60.0, 9, 60.0, 9)),  # the cold start does not count
        ({"completed": 9, "marked_at": 60.0}, 119.0, None),
        ({"completed": 30, "marked_at": 60.0, "marked_lines": 9}, 120.0, (120.0, 30, 60.0, 9)),
        ({"completed": 9, "failed": 3, "marked_at": 60.0}, 120.0, (120.0, 12, 60.0, 0)),
        ({"completed": 30, "marked_at": 60.0, "marked_lines": 9}, 660.0, (660.0, 30, 60.0, 9)),
        ({"completed": 30, "marked_at": 60.0, "marked_lines": 9}, 700.0, (700.0, 30, 700.0, 30)),
    ],
)
def test_a_mark_is_made_once_a_minute(changes, now, mark):
    names = ("marked_at", "marked_lines", "rate_since", "rate_from")
    assert next_mark(running(**changes), now) == (
        dict(zip(names, mark, strict=True)) if mark else None
    )


@pytest.mark.parametrize(("seconds", "rate"), [(0.9, None), (1.0, 1.0), (1.5, 1 / 1.5)])
def test_a_rate_needs_a_second_and_one_request(seconds, rate):
    assert lines_per_second(running(completed=1), seconds) == rate
    assert progress(running(completed=1), seconds).lines_per_second == rate


def test_the_place_in_the_queue_is_that_of_the_pool_s_queue():
    assert progress(running(), 1.0).queue_position is None
    assert progress(running(), 1.0, standing(before=3)).queue_position == 3


def eta(found: Any, at: float, stands: Standing | None = None) -> float | None:
    return progress(found, at, stands).eta


def test_the_end_is_estimated_by_the_batchs_own_rate():
    found = running(completed=50, rate_since=900.0, rate_from=0)
    assert eta(found, 1000.0) == 1100.0
    assert eta(found, 1000.0, standing(before=9, lines=9000)) == 1100.0


@pytest.mark.parametrize(
    ("stands", "seconds"),
    [
        (standing(in_flight=1), 100 / 20),
        (standing(in_flight=4), 100 / 40),
        (standing(in_flight=1, running_lines=100, lines=200), 400 / 20),
        (standing(), 100 / 20),  # warm: something has succeeded lately
        (standing(succeeded_at=0.0, cold_start_seconds=240.0), 240 + 5),
        (standing(succeeded_at=0.0, in_flight=1), 0 + 5),  # an instance runs it
        (standing(succeeded_at=0.0), None),  # nobody knows how long a start takes
        (standing(in_flight=1, cold_since=900.0, cold_start_seconds=240.0), 140 + 5),
        (standing(in_flight=1, cold_since=500.0, cold_start_seconds=240.0), 0 + 5),
        (standing(in_flight=1, cold_since=900.0), None),
        (standing(in_flight=1, ended_lines=0), None),
        (standing(in_flight=1, before=None, lines=None), None),
        (None, None),
    ],
)
def test_before_it_has_a_rate_the_pool_tells_with_queue_and_cold_start(stands, seconds):
    expected = None if seconds is None else pytest.approx(1000.0 + seconds)
    assert eta(running(in_progress_at=1000.0), 1000.0, stands) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"paused": True},
        {"stopping": StopReason.EXPIRED},
        {"status": BatchStatus.VALIDATING},
        {"status": BatchStatus.FINALIZING},
        {"status": BatchStatus.COMPLETED},
    ],
)
def test_nobody_knows_when_a_batch_ends_that_does_not_go_on(changes):
    assert eta(running(completed=50, **changes), 1000.0, standing(in_flight=1)) is None


def test_a_start_that_was_never_measured_is_unknown():
    assert until_started(pool(), 1000.0) is None
