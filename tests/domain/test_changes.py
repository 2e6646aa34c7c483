"""What a watcher of a batch has to be told, by what it knows."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.domain.batch import BatchStatus, StopReason
from backburner.domain.change import Seen, changes
from tests.domain.values import batch

VALIDATING = batch(BatchStatus.VALIDATING, total=0)
STARTED = batch(in_progress_at=10.0)
HALF = batch(in_progress_at=10.0, completed=40, failed=10)
FINALIZING = batch(
    BatchStatus.FINALIZING, in_progress_at=10.0, finalizing_at=20.0, completed=90, failed=10
)
COMPLETED = batch(
    BatchStatus.COMPLETED,
    in_progress_at=10.0,
    finalizing_at=20.0,
    completed_at=21.0,
    completed=90,
    failed=10,
)
CANCELLING = batch(
    BatchStatus.CANCELLING, in_progress_at=10.0, cancelling_at=15.0, stopping=StopReason.CANCELLED
)
WRITING = batch(
    BatchStatus.FINALIZING,
    in_progress_at=10.0,
    cancelling_at=15.0,
    finalizing_at=20.0,
    stopping=StopReason.CANCELLED,
)
CANCELLED = batch(
    BatchStatus.CANCELLED,
    in_progress_at=10.0,
    cancelling_at=15.0,
    finalizing_at=20.0,
    cancelled_at=21.0,
    stopping=StopReason.CANCELLED,
)
#: Each stage of a life, and what comes after it.
LIVES = [
    [VALIDATING, STARTED, HALF, FINALIZING, COMPLETED],
    [VALIDATING, STARTED, CANCELLING, WRITING, CANCELLED],
    [VALIDATING, batch(BatchStatus.FAILED, failed_at=5.0, total=0)],
    [VALIDATING, STARTED, batch(in_progress_at=10.0, paused=True), HALF, FINALIZING, COMPLETED],
]


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [
        (VALIDATING, None, ["validating"]),
        (HALF, None, ["in_progress"]),
        (COMPLETED, None, ["completed"]),
        (VALIDATING, VALIDATING, []),
        (STARTED, VALIDATING, ["in_progress"]),
        (HALF, STARTED, ["progress"]),
        (COMPLETED, VALIDATING, ["in_progress", "finalizing", "completed"]),
        (COMPLETED, HALF, ["finalizing", "completed"]),
        (COMPLETED, COMPLETED, []),
        (CANCELLED, STARTED, ["cancelling", "cancelled"]),
        (WRITING, CANCELLING, []),
        (batch(), VALIDATING, ["in_progress"]),  # as of when is known of none but the first
        (batch(in_progress_at=10.0, paused=True), STARTED, ["paused"]),
        (HALF, batch(in_progress_at=10.0, paused=True), ["resumed", "progress"]),
    ],
)
def test_a_watcher_is_told_of_each_status_since_and_of_progress(now, before, told):
    seen = None if before is None else Seen.of(before)
    assert [change.name for change in changes(now, seen)] == told


@pytest.mark.parametrize("life", LIVES)
def test_however_rarely_one_looks_no_status_is_left_out(life):
    for start in range(len(life)):
        for skipped in range(1, len(life) - start):
            now = life[start + skipped]
            found = changes(now, Seen.of(life[start]))
            statuses = [one.name for one in found if one.name in list(BatchStatus)]
            between = [one.shown_status for one in life[start : start + skipped + 1]]
            passed = [new for old, new in pairwise(between) if new != old]
            assert statuses == passed
            assert changes(now, found[-1].seen if found else Seen.of(life[start])) == []


@pytest.mark.parametrize("life", LIVES)
def test_whoever_comes_back_with_the_mark_of_any_change_is_told_the_rest(life):
    everything = changes(life[-1], Seen.of(life[0]))
    for number, change in enumerate(everything):
        mark = Seen.parse(str(change.seen))
        rest = [one.name for one in everything[number + 1 :]]
        assert [one.name for one in changes(life[-1], mark)] == rest


def test_a_watcher_knows_how_many_requests_have_ended_well_or_badly():
    assert Seen.of(HALF).ended == 50


def test_a_status_tells_since_when():
    found = changes(COMPLETED, Seen.of(VALIDATING))
    assert [change.at for change in found] == [10.0, 20.0, 21.0]


@given(st.sampled_from(list(BatchStatus)), st.integers(0, 10**9 - 1), st.booleans())
def test_a_mark_is_read_as_it_was_written(status, ended, paused):
    seen = Seen(status=status, ended=ended, paused=paused)
    assert Seen.parse(str(seen)) == seen


@pytest.mark.parametrize(
    "text",
    ["", "1", "completed", "nothing-1", "completed-1-", "completed-1-paused\n", "complet\u00e9-1"],
)
def test_what_is_no_mark_of_ours_says_nothing(text):
    assert Seen.parse(text) is None


def test_what_is_told_of_a_status_on_the_way_knows_no_more_than_the_watcher_did():
    seen = Seen(status=BatchStatus.VALIDATING, ended=3, paused=True)
    found = changes(COMPLETED, seen)
    assert [(one.seen.ended, one.seen.paused) for one in found] == [
        (3, True),
        (3, True),
        (100, False),
    ]


def test_a_mark_of_another_batch_counts_for_nothing():
    """It names a status that this batch never had."""
    elsewhere = Seen(status=BatchStatus.CANCELLED, ended=3)
    assert [change.name for change in changes(HALF, elsewhere)] == ["in_progress"]
