"""How far a batch is, and when it will have ended: what is known of it, and nothing else."""

from dataclasses import dataclass

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.catalog import Model
from backburner.domain.request import Instant
from backburner.domain.slots import Pool

#: Time between two marks; the rate is that since the mark before the last.
MARK_SECONDS = 60.0
#: A mark so old says nothing of what goes on now: the batch was paused, or waited.
STALE_SECONDS = 600.0
#: Since a success so recent, some instance is surely still there.
WARM_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a batch stands behind, as far as it was looked at."""

    model: Model
    pool: Pool
    #: Shards of others before its next one; None: none of its own waits, or too many are before it.
    shards_before: int | None
    #: Their requests; None: so many that they were not counted.
    lines_before: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a batch is; None wherever that is not known."""

    #: Reaches 100 only when the batch has ended, with its files.
    percent: float
    lines_done: int
    #: Of the last one or two minutes of work.
    lines_per_second: float | None
    eta: Instant | None
    queue_position: int | None


def progress(batch: Batch, now: Instant, standing: Standing | None = None) -> Progress:
    done = batch.completed + batch.failed
    rate = lines_per_second(batch, now)
    remaining = batch.total - done
    eta = None
    if _goes_on(batch):
        seconds = remaining / rate if rate else None
        if rate is None and standing is not None:
            seconds = _seconds_by_pool(standing, remaining, now)
        eta = now + seconds if seconds is not None else None
    return Progress(
        percent=_percent(batch, done),
        lines_done=done,
        lines_per_second=rate,
        eta=eta,
        queue_position=standing.shards_before if standing is not None else None,
    )


def _goes_on(batch: Batch) -> bool:
    is_running = batch.status is BatchStatus.IN_PROGRESS
    return is_running and batch.stopping is None and not batch.paused


def _percent(batch: Batch, done: int) -> float:
    if batch.is_terminal:
        return 100.0
    return min(99.9, int(1000 * done / batch.total) / 10) if batch.total else 0.0


def lines_per_second(batch: Batch, now: Instant) -> float | None:
    """Requests that ended lately; None before any has, and once nothing goes on."""
    since, lines = batch.rate_since, batch.rate_from
    if since is None:
        since, lines = batch.in_progress_at, batch.skipped
    ended = batch.completed + batch.failed - lines
    if since is None or now - since < 1.0 or not _goes_on(batch):
        return None
    return ended / (now - since) if ended > 0 or batch.rate_since is not None else None


def next_mark(batch: Batch, now: Instant) -> dict[str, float] | None:
    """What to note of a batch some of whose requests have just ended; None: not yet."""
    since = batch.in_progress_at if batch.marked_at is None else batch.marked_at
    if since is None or now - since < MARK_SECONDS:
        return None
    done = batch.completed + batch.failed
    is_stale = batch.marked_at is None or now - batch.marked_at > STALE_SECONDS
    return {
        "marked_at": now,
        "marked_lines": done,
        "rate_since": now if is_stale else since,
        "rate_from": done if is_stale else batch.marked_lines,
    }


def _seconds_by_pool(standing: Standing, remaining: int, now: Instant) -> float | None:
    """What the pool has measured, for all that is before the batch and in it; errs late."""
    pool, model = standing.pool, standing.model
    start = start_seconds(pool, now)
    if pool.ended_lines <= 0 or pool.busy_seconds <= 0 or start is None:
        return None
    if standing.lines_before is None:
        return None
    slots = min(model.slots, max(model.slots_per_instance, pool.in_flight))
    rate = pool.ended_lines / pool.busy_seconds * slots
    return start + (pool.running_lines + standing.lines_before + remaining) / rate


def start_seconds(pool: Pool, now: Instant) -> float | None:
    """Until an instance is there: 0 if one is, None if nobody has measured a start."""
    if pool.cold_since is not None:
        if pool.cold_start_seconds is None:
            return None
        return max(0.0, pool.cold_start_seconds - (now - pool.cold_since))
    is_warm = pool.in_flight > 0 or now - pool.succeeded_at < WARM_SECONDS
    return 0.0 if is_warm else pool.cold_start_seconds
