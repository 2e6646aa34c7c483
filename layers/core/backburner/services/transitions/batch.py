"""A batch's way from its acceptance to its terminal state."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from backburner.domain.batch import STOPPED, TERMINAL, Batch, BatchStatus, StopReason
from backburner.domain.delivery import Delivery
from backburner.domain.file import StoredFile
from backburner.domain.request import Instant
from backburner.domain.shard import Shard
from backburner.ports import (
    Absent,
    Below,
    Check,
    Condition,
    Delete,
    Is,
    IsIn,
    Key,
    Missing,
    Put,
    Update,
    Write,
)
from backburner.services import records
from backburner.services.transitions.shard import enqueue

#: Index attributes of a batch that reap need not look at any more.
NOT_DUE = {"due_key": None, "due_sort": None}

_STATUS_INSTANT = {
    BatchStatus.COMPLETED: "completed_at",
    BatchStatus.FAILED: "failed_at",
    BatchStatus.EXPIRED: "expired_at",
    BatchStatus.CANCELLED: "cancelled_at",
}


def accept(
    batch: Batch,
    *,
    check_at: Instant,
    shard: Shard | None = None,
    waiting_below: int | None = None,
) -> list[Write]:
    """Take a batch in; a single request brings its only shard.

    The batch must not exist: ids are new, so a clash means that the same acceptance came twice.
    The shard waits only if fewer than so many requests of the tenant wait for its model.
    """
    writes: list[Write] = [
        Put(
            records.batch_key(batch.tenant, batch.id),
            records.batch_item(batch, due_at=check_at),
            when=(Absent(),),
        )
    ]
    if shard is not None:
        writes += enqueue([shard], waiting_below=waiting_below)
    return writes


def accept_claimed(
    batch: Batch, claimed: Shard, *, capacity: int, cap: int, check_at: Instant
) -> list[Write]:
    """Take a single request in and claim its shard at once, if a slot is free."""
    return [
        *accept(batch, check_at=check_at),
        Put(
            records.shard_key(claimed.tenant, claimed.batch_id, claimed.id),
            records.shard_item(claimed),
            when=(Absent(),),
        ),
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
    pool: str | None
    is_priced: bool
    tells_progress: bool = False


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
        "pool": planned.pool,
        "is_priced": planned.is_priced,
        "tells_progress": planned.tells_progress,
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
    """Queue more of a batch's planned shards, unless it is paused or stopping.

    The check makes the number of queued shards fixed from the moment `stopping` is set.
    """
    return [
        Check(
            records.batch_key(batch.tenant, batch.id),
            when=(
                Is("status", BatchStatus.IN_PROGRESS),
                Missing("stopping"),
                Is("paused", value=False),
            ),
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


def drop_unreleased(batch: Batch, *, shards: int, lines: int) -> list[Write]:
    """Planned shards that never came into the queue end with the batch.

    Only once, and only when stopping: no shard is released any more. What has ended stays as it is.
    """
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set={"is_released": True},
            add={"open_shards": -shards, "failed": lines, "dropped": lines},
            when=(
                Is("is_released", value=False),
                IsIn("stopping", tuple(StopReason)),
                IsIn("status", (BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING)),
            ),
        )
    ]


def stop(
    batch: Batch,
    reason: StopReason,
    *,
    now: Instant,
    grace_ends_at: Instant,
    check_at: Instant,
    failure: str | None,
) -> list[Write]:
    """Take no more slots. Only a batch that still runs, and for one reason.

    One that stops for its budget may be cancelled still: what is in flight need not be waited for.
    """
    is_other = reason is StopReason.CANCELLED and batch.stopping is StopReason.BUDGET
    changes: dict[str, Any] = {
        "stopping": reason,
        "paused": False,
        "grace_ends_at": grace_ends_at,
        "failure": failure,
        **records.batch_due(batch, check_at),
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
                Is("stopping", StopReason.BUDGET) if is_other else Missing("stopping"),
            ),
        )
    ]


def pause(batch: Batch, *, paused: bool) -> list[Write]:
    """Have shards be claimed no more, or again. Only of a batch that runs and is not stopping."""
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set={"paused": paused},
            when=(
                IsIn("status", (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)),
                Missing("stopping"),
            ),
        )
    ]


def retry(first: Batch, batch: Batch, *, check_at: Instant) -> list[Write]:
    """Take in a retry of a batch that has ended, unless another one was first.

    What the first batch came to does not change; it only learns of its retry.
    """
    seen = first.retried_by
    return [
        *accept(batch, check_at=check_at),
        Update(
            records.batch_key(first.tenant, first.id),
            set={"retried_by": batch.id, "retries": [*first.retries, batch.id]},
            when=(
                IsIn("status", tuple(TERMINAL)),
                Missing("retried_by") if seen is None else Is("retried_by", seen),
            ),
        ),
    ]


def begin_finalizing(batch: Batch, *, now: Instant) -> list[Write]:
    """Into `finalizing`: every shard has ended, and exactly one caller gets here."""
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set={
                "status": BatchStatus.FINALIZING.value,
                "finalizing_at": now,
                "paused": False,  # nothing is left that could be kept from being claimed
            },
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
    before, after = msgspec.structs.asdict(batch), msgspec.structs.asdict(ended)
    files = tuple(files)
    stored = sum(file.size for file in files)
    changes = {name: value for name, value in after.items() if before[name] != value}
    changes["paused"] = False  # whoever pauses does so under the conditions of some ways here
    return [
        Update(
            records.batch_key(batch.tenant, batch.id),
            set=records.attributes(changes) | NOT_DUE,
            when=when,
        ),
        *(Put(records.file_key(f.tenant, f.id), records.file_item(f)) for f in files),
        *(
            [Update(records.usage_key(batch.tenant), add={"stored_bytes": stored})]
            if stored
            else []
        ),
        *(
            Put(records.key_of(delivery), records.delivery_item(delivery), when=(Absent(),))
            for delivery in deliveries
        ),
    ]


def forget(batch: Batch, keys: Iterable[Key]) -> list[Write]:
    """Out of the store, with what stands under the keys.

    Only as it was seen, and with no shard open: none of them may hold a slot.
    """
    return [
        Delete(
            records.batch_key(batch.tenant, batch.id),
            when=(Is("status", batch.status), Is("open_shards", 0)),
        ),
        *map(Delete, keys),
    ]


def ended_as(batch: Batch, status: BatchStatus, *, now: Instant, **changes: Any) -> Batch:
    """The batch in a terminal state, with the instant of it."""
    changes[_STATUS_INSTANT[status]] = now
    return msgspec.structs.replace(batch, status=status, paused=False, **changes)


def terminal_status(batch: Batch) -> BatchStatus:
    """Where a batch that is finalizing ends."""
    return STOPPED[batch.stopping][0] if batch.stopping else BatchStatus.COMPLETED
