"""Every change of state, as the writes of one transaction with the conditions that guard it.

Nothing here reads or writes: a service loads values, asks for the writes, and commits them. If a
condition fails someone else was first: the service loads again and decides anew. No key appears
twice in one list, and no list is longer than a transaction may be.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backburner.domain.batch import STOPPED, Batch, BatchStatus, StopReason
from backburner.domain.delivery import Delivery
from backburner.domain.file import StoredFile
from backburner.domain.request import Instant, Usage
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import (
    Absent,
    Below,
    Check,
    Condition,
    Is,
    IsIn,
    Missing,
    Put,
    Update,
    Write,
)
from backburner.services import records

#: Index attributes of a batch that reap need not look at any more.
NOT_DUE = {"due_key": None, "due_sort": None}

_STATUS_INSTANT = {
    BatchStatus.COMPLETED: "completed_at",
    BatchStatus.FAILED: "failed_at",
    BatchStatus.EXPIRED: "expired_at",
    BatchStatus.CANCELLED: "cancelled_at",
}


def accept(batch: Batch, *, check_at: Instant, shard: Shard | None = None) -> list[Write]:
    """Take a batch in; a single request brings its only shard.

    The batch must not exist: ids are new, so a clash means that the same acceptance came twice.
    """
    writes: list[Write] = [
        Put(
            records.batch_key(batch.tenant, batch.id),
            records.batch_item(batch, due_at=check_at),
            when=(Absent(),),
        )
    ]
    return writes + (enqueue([shard]) if shard is not None else [])


def enqueue(shards: Sequence[Shard]) -> list[Write]:
    """Put waiting shards into their pools' queues, and count their lines there.

    None of them may exist: releasing twice must not run a shard twice.
    """
    lines: Counter[str] = Counter()
    for shard in shards:
        lines[shard.pool] += shard.line_count
    return [
        *(
            Put(
                records.shard_key(shard.tenant, shard.batch_id, shard.id),
                records.shard_item(shard),
                when=(Absent(),),
            )
            for shard in shards
        ),
        *(
            Update(records.pool_key(pool), set={"id": pool}, add={"waiting_lines": count})
            for pool, count in lines.items()
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What planning a batch found."""

    total: int
    #: Lines that were skipped as invalid; they have their outcome already.
    skipped: int
    shards: int
    #: Of the objects that this run of planning wrote.
    prefix: str
    output_file_id: str
    error_file_id: str
    model: str | None


def start(batch: Batch, planned: Planned, first: Sequence[Shard], *, now: Instant) -> list[Write]:
    """Validating → in_progress, with the first shards (the canary, or all).

    Only out of `validating`: a second planner, or one that lost against a cancel, changes nothing.
    """
    changes = {
        "status": BatchStatus.IN_PROGRESS,
        "in_progress_at": now,
        "total": planned.total,
        "failed": planned.skipped,
        "skipped": planned.skipped,
        "planned_shards": planned.shards,
        "plan_prefix": planned.prefix,
        "open_shards": planned.shards,
        "is_released": len(first) == planned.shards,
        "output_file_id": planned.output_file_id,
        "error_file_id": planned.error_file_id,
        "model": planned.model,
    }
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set=records.attributes(changes),
            when=(Is("status", BatchStatus.VALIDATING), Missing("stopping")),
        ),
        *enqueue(first),
    ]


def release(batch: Batch, shards: Sequence[Shard]) -> list[Write]:
    """Queue more of a batch's planned shards, unless it is stopping.

    The check makes the number of queued shards fixed from the moment `stopping` is set.
    """
    return [
        Check(
            records.batch_key(batch.tenant, batch.id),
            when=(Is("status", BatchStatus.IN_PROGRESS), Missing("stopping")),
        ),
        *enqueue(shards),
    ]


def released(batch: Batch) -> list[Write]:
    """All planned shards are in the queue."""
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set={"is_released": True},
            when=(Is("is_released", value=False), Missing("stopping")),
        )
    ]


def claim(shard: Shard, claimed: Shard, *, capacity: int, cap: int) -> list[Write]:
    """Waiting → in flight, with a slot.

    - the shard: still waiting, and at the attempt that was seen (a rival claim counts it up);
    - the pool: a slot is free;
    - the tenant's share: below its cap;
    - the batch: runs, is not paused and not stopping.
    """
    return [
        Update(
            _key(shard),
            set=_changes(claimed),
            when=(Is("status", ShardStatus.WAITING), Is("attempt", shard.attempt)),
        ),
        Update(
            records.pool_key(shard.pool),
            add={
                "in_flight": 1,
                "waiting_lines": -shard.line_count,
                "running_lines": shard.line_count,
            },
            when=(Below("in_flight", capacity),),
        ),
        Update(
            records.share_key(shard.tenant, shard.pool),
            add={"in_flight": 1},
            when=(Below("in_flight", cap),),
        ),
        Check(
            records.batch_key(shard.tenant, shard.batch_id),
            when=(
                Is("status", BatchStatus.IN_PROGRESS),
                Missing("stopping"),
                Is("paused", value=False),
            ),
        ),
    ]


def accept_claimed(
    batch: Batch, claimed: Shard, *, capacity: int, cap: int, check_at: Instant
) -> list[Write]:
    """Take a single request in and claim its shard at once, if a slot is free."""
    return [
        *accept(batch, check_at=check_at),
        Put(_key(claimed), records.shard_item(claimed), when=(Absent(),)),
        Update(
            records.pool_key(claimed.pool),
            set={"id": claimed.pool},
            add={"in_flight": 1, "running_lines": claimed.line_count},
            when=(Below("in_flight", capacity),),
        ),
        Update(
            records.share_key(claimed.tenant, claimed.pool),
            add={"in_flight": 1},
            when=(Below("in_flight", cap),),
        ),
    ]


def wait_again(shard: Shard, waiting: Shard) -> list[Write]:
    """In flight → waiting: the backend did not take it, or its lease ended without a word."""
    return [
        Update(_key(shard), set=_changes(waiting), when=_as_seen(shard)),
        Update(
            records.pool_key(shard.pool),
            add={
                "in_flight": -1,
                "running_lines": -shard.line_count,
                "waiting_lines": shard.line_count,
            },
        ),
        Update(records.share_key(shard.tenant, shard.pool), add={"in_flight": -1}),
    ]


def watch(shard: Shard, watched: Shard) -> list[Write]:
    """Remember where the result will be, or look again later; the attempt goes on."""
    return [Update(_key(shard), set=_changes(watched), when=_as_seen(shard))]


def finish(
    shard: Shard,
    done: Shard,
    *,
    completed: int,
    failed: int,
    usage: Usage,
    retry: Shard | None,
    now: Instant,
    ending: Sequence[Write] = (),
) -> list[Write]:
    """The result of any attempt is in: shard → done, slot released, counts updated.

    The shard must be as it was seen, open: the first result wins, and a later one finds it done.
    A retry's shard is queued in its place, so that the batch can't look finished in between.

    Args:
        shard: as it was seen.
        done: as it becomes.
        completed: lines that succeeded for good.
        failed: lines that failed for good.
        usage: tokens of the final outcomes.
        retry: shard of the lines that are tried again.
        now: the instant of the change.
        ending: writes that end the batch with it; they replace the update of its counts.
    """
    seconds = max(0.0, now - shard.claimed_at) if shard.claimed_at else 0.0
    ended = completed + failed
    pool_counts = _release_counts(shard)
    pool_counts["ended_lines"] = ended
    pool_counts["busy_seconds"] = seconds
    if retry is not None:
        pool_counts["waiting_lines"] = pool_counts.get("waiting_lines", 0) + retry.line_count
    writes: list[Write] = [
        Update(_key(shard), set=_changes(done), when=_as_seen(shard)),
        Update(records.pool_key(shard.pool), add=pool_counts),
        *_release_share(shard),
    ]
    if retry is not None:
        writes.append(Put(_key(retry), records.shard_item(retry), when=(Absent(),)))
    if ending:
        return [*writes, *ending]
    counts = {
        "completed": completed,
        "failed": failed,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "open_shards": 0 if retry is not None else -1,
    }
    counts = {name: value for name, value in counts.items() if value}
    if counts:
        writes.append(Update(records.batch_key(shard.tenant, shard.batch_id), add=counts))
    return writes


def drop(shard: Shard) -> list[Write]:
    """Waiting or in flight → dropped: its lines come out as not executed."""
    dropped = replace(
        shard, status=ShardStatus.DROPPED, look_at=None, lease_ends_at=None, claimed_at=None
    )
    return [
        Update(_key(shard), set=_changes(dropped), when=_as_seen(shard)),
        Update(records.pool_key(shard.pool), add=_release_counts(shard)),
        *_release_share(shard),
        Update(
            records.batch_key(shard.tenant, shard.batch_id),
            add={"open_shards": -1, "failed": shard.line_count},
        ),
    ]


def drop_unreleased(batch: Batch, *, shards: int, lines: int) -> list[Write]:
    """Planned shards that never came into the queue end with the batch.

    Only once, and only when stopping: no shard is released any more.
    """
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set={"is_released": True},
            add={"open_shards": -shards, "failed": lines},
            when=(Is("is_released", value=False), IsIn("stopping", tuple(StopReason))),
        )
    ]


def stop(
    batch: Batch, reason: StopReason, *, now: Instant, grace_ends_at: Instant, failure: str | None
) -> list[Write]:
    """Take no more slots. Only a batch that still runs, and for one reason."""
    changes: dict[str, Any] = {
        "stopping": reason,
        "grace_ends_at": grace_ends_at,
        "failure": failure,
        **records.batch_due(batch, now),
    }
    if reason is StopReason.CANCELLED:
        changes |= {"status": BatchStatus.CANCELLING, "cancelling_at": now}
    elif batch.status is BatchStatus.VALIDATING:
        changes |= {"status": BatchStatus.IN_PROGRESS, "in_progress_at": now}
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set=records.attributes(changes),
            when=(
                IsIn("status", (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)),
                Missing("stopping"),
            ),
        )
    ]


def begin_finalizing(batch: Batch, *, now: Instant) -> list[Write]:
    """Into `finalizing`: every shard has ended, and exactly one caller gets here."""
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set={"status": BatchStatus.FINALIZING.value, "finalizing_at": now},
            when=(
                IsIn("status", (BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING)),
                Is("open_shards", 0),
            ),
        )
    ]


def end(
    batch: Batch,
    ended: Batch,
    *,
    files: Iterable[StoredFile] = (),
    deliveries: Iterable[Delivery] = (),
    when: tuple[Condition, ...],
) -> list[Write]:
    """Into a terminal state, with its files and what is to be told, all at once.

    Args:
        batch: as it was seen.
        ended: as it becomes.
        files: that it wrote.
        deliveries: that tell of it.
        when: what must hold of the batch; the caller's way into the terminal state.
    """
    before, after = records.attributes(_fields(batch)), records.attributes(_fields(ended))
    changes = {name: value for name, value in after.items() if before[name] != value}
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set=changes | NOT_DUE,
            when=when,
        ),
        *(Put(records.file_key(f.tenant, f.id), records.file_item(f)) for f in files),
        *(
            Put(
                records.delivery_key(d.tenant, d.batch_id, d.channel),
                records.delivery_item(d),
                when=(Absent(),),
            )
            for d in deliveries
        ),
    ]


def ended_as(batch: Batch, status: BatchStatus, *, now: Instant, **changes: Any) -> Batch:
    """The batch in a terminal state, with the instant of it."""
    changes[_STATUS_INSTANT[status]] = now
    return replace(batch, status=status, **changes)


def terminal_status(batch: Batch) -> BatchStatus:
    """Where a batch that is finalizing ends."""
    return STOPPED[batch.stopping][0] if batch.stopping else BatchStatus.COMPLETED


def _key(shard: Shard) -> Any:
    return records.shard_key(shard.tenant, shard.batch_id, shard.id)


def _as_seen(shard: Shard) -> tuple[Condition, ...]:
    return (Is("status", shard.status), Is("attempt", shard.attempt))


_CHANGING = (
    "status",
    "attempt",
    "not_before",
    "look_at",
    "lease_ends_at",
    "claimed_at",
    "output_location",
    "failure_location",
    "result_key",
    "result_inline",
)


def _changes(shard: Shard) -> dict[str, Any]:
    values = {name: getattr(shard, name) for name in _CHANGING}
    if shard.status is ShardStatus.DONE:
        values["input_inline"] = None  # its outcomes stand; nobody reads the requests again
    return records.attributes(values) | records.shard_index(shard)


def _release_counts(shard: Shard) -> dict[str, float]:
    if shard.status is ShardStatus.IN_FLIGHT:
        return {"in_flight": -1, "running_lines": -shard.line_count}
    return {"waiting_lines": -shard.line_count}


def _release_share(shard: Shard) -> list[Write]:
    if shard.status is not ShardStatus.IN_FLIGHT:
        return []
    return [Update(records.share_key(shard.tenant, shard.pool), add={"in_flight": -1})]


def _fields(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__}
