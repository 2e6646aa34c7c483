"""A shard's way through the queue, the backend and out of it, with the slot that it holds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from backburner.domain.batch import BatchStatus
from backburner.domain.request import Instant, Usage
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Absent, Below, Check, Condition, Is, Key, Missing, Put, Update, Write
from backburner.services import records

#: What holds of a batch whose shards may run.
RUNS: tuple[Condition, ...] = (
    Is("status", BatchStatus.IN_PROGRESS),
    Missing("stopping"),
    Is("paused", value=False),
)


def enqueue(shards: Sequence[Shard], *, waiting_below: int | None = None) -> list[Write]:
    """Put waiting shards into their pools' queues, and count their lines there.

    None of them may exist: releasing twice must not run a shard twice.

    Args:
        shards: of one tenant.
        waiting_below: only if fewer lines of the tenant wait in each of the pools; None: always.
    """
    lines: dict[str, int] = {}
    shares: dict[tuple[str, str], int] = {}
    for shard in shards:
        share = shard.tenant, shard.pool
        lines[shard.pool] = lines.get(shard.pool, 0) + shard.line_count
        shares[share] = shares.get(share, 0) + shard.line_count
    limits = () if waiting_below is None else (Below("waiting_lines", waiting_below),)
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
        *(
            Update(records.share_key(*share), add={"waiting_lines": count}, when=limits)
            for share, count in shares.items()
        ),
    ]


def claim(
    shard: Shard, claimed: Shard, *, capacity: int, cap: int, running_lines: int = 0
) -> list[Write]:
    """Waiting → in flight, with a slot.

    - the shard: still waiting, and at the attempt that was seen (a rival claim counts it up);
    - the pool: a slot is free;
    - the tenant's share: below its cap;
    - the batch: runs, is not paused and not stopping; if it has a budget, so much of it is in
      flight as was seen.
    """
    batch = records.batch_key(shard.tenant, shard.batch_id)
    counted = Update(
        batch,
        add={"running_lines": shard.line_count},
        when=(*RUNS, Is("running_lines", running_lines)),
    )
    return [
        Update(
            key_of(shard),
            set=changes(claimed),
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
            add={"in_flight": 1, "waiting_lines": -shard.line_count},
            when=(Below("in_flight", cap),),
        ),
        counted if shard.is_budgeted else Check(batch, when=RUNS),
    ]


def wait_again(shard: Shard, waiting: Shard) -> list[Write]:
    """In flight → waiting: the backend did not take it, or its lease ended without a word."""
    return [
        Update(key_of(shard), set=changes(waiting), when=as_seen(shard)),
        Update(
            records.pool_key(shard.pool),
            add=_release_counts(shard) | {"waiting_lines": shard.line_count},
        ),
        *_release_share(shard, queued=shard.line_count),
        *(
            [
                Update(
                    records.batch_key(shard.tenant, shard.batch_id),
                    add=counts,
                    when=(Is("id", shard.batch_id),),
                )
            ]
            if (counts := _nonzero(_batch_counts(shard)))
            else []
        ),
    ]


def set_aside(shards: Sequence[Shard]) -> list[Write]:
    """Waiting → paused, out of the queue and of its counts: instances must not be kept for them.

    Each of these shards of one batch must be as it was seen, and the batch be paused.
    """
    return _move(shards, ShardStatus.PAUSED)


def requeue(shards: Sequence[Shard]) -> list[Write]:
    """Paused → waiting: their batch, which must be neither paused nor stopping, goes on."""
    return _move(shards, ShardStatus.WAITING)


def _move(shards: Sequence[Shard], status: ShardStatus) -> list[Write]:
    step = 1 if status is ShardStatus.PAUSED else -1
    tenant = shards[0].tenant
    lines: Counter[str] = Counter()
    for shard in shards:
        lines[shard.pool] -= step * shard.line_count
    return [
        *(
            Update(key_of(one), set=changes(replace(one, status=status)), when=as_seen(one))
            for one in shards
        ),
        *(
            Update(key, add={"waiting_lines": count})
            for pool, count in lines.items()
            for key in (records.pool_key(pool), records.share_key(tenant, pool))
        ),
        Update(
            records.batch_key(tenant, shards[0].batch_id),
            add={"paused_shards": step * len(shards)},
            when=(Is("paused", value=step > 0), Missing("stopping")),
        ),
    ]


def rehome(shard: Shard, moved: Shard) -> list[Write]:
    """Waiting → waiting in another pool, as no model has slots of its own any more."""
    lines = shard.line_count
    return [
        Update(key_of(shard), set=changes(moved) | {"pool": moved.pool}, when=as_seen(shard)),
        Update(records.pool_key(shard.pool), add={"waiting_lines": -lines}),
        Update(records.share_key(shard.tenant, shard.pool), add={"waiting_lines": -lines}),
        Update(records.pool_key(moved.pool), set={"id": moved.pool}, add={"waiting_lines": lines}),
        Update(records.share_key(moved.tenant, moved.pool), add={"waiting_lines": lines}),
    ]


def watch(shard: Shard, watched: Shard) -> list[Write]:
    """Remember where the result will be, or look again later; the attempt goes on."""
    return [Update(key_of(shard), set=changes(watched), when=as_seen(shard))]


def finish(
    shard: Shard,
    done: Shard,
    *,
    completed: int,
    failed: int,
    usage: Usage,
    retries: Sequence[Shard],
    now: Instant,
    cost_nanos: int = 0,
    probe_below: int | None = None,
    ending: Sequence[Write] = (),
) -> list[Write]:
    """The result of any attempt is in: shard → done, slot released, counts updated.

    The shard must be as it was seen, open: the first result wins, and a later one finds it done.
    Its batch must be there still, as counting must not make one.
    The shards of its retries are queued in its place, so that the batch can't look finished in
    between.

    Args:
        shard: as it was seen.
        done: as it becomes.
        completed: lines that succeeded for good.
        failed: lines that failed for good.
        usage: tokens of the final outcomes.
        retries: shards of the lines that are tried again: one, or two halves.
        now: the instant of the change.
        cost_nanos: of these tokens, in billionths of a dollar.
        probe_below: it is halved although nothing of the pool succeeds: only if fewer than so many
            were.
        ending: writes that end the batch with it; they replace the update of its counts.
    """
    seconds = now - shard.claimed_at if shard.claimed_at and shard.bundle is None else 0.0
    seconds = max(0.0, seconds)
    ended = completed + failed
    pool_counts: dict[str, float] = dict(_release_counts(shard))
    pool_counts["ended_lines"] = ended
    pool_counts["busy_seconds"] = seconds
    if shard.job is not None and completed:  # one that brought nothing tells of no other
        pool_counts |= {"ended_jobs": 1, "job_seconds": seconds}
    again = [retry for retry in retries if retry.pool == shard.pool]
    queued = sum(retry.line_count for retry in again)
    if queued:
        pool_counts["waiting_lines"] = pool_counts.get("waiting_lines", 0) + queued
    conditions: tuple[Condition, ...] = ()
    if probe_below is not None:
        pool_counts["probes"] = 1
        conditions = (Below("probes", probe_below),)
    writes: list[Write] = [
        Update(key_of(shard), set=changes(done), when=as_seen(shard)),
        Update(
            records.pool_key(shard.pool),
            set={"succeeded_at": now, "probes": None} if completed else {},
            add=pool_counts,
            when=conditions,
        ),
        *_release_share(shard, queued=queued),
        *(Put(key_of(retry), records.shard_item(retry), when=(Absent(),)) for retry in again),
        *enqueue([retry for retry in retries if retry not in again]),
    ]
    if ending:
        return [*writes, *ending]
    counts = {
        "completed": completed,
        "failed": failed,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_nanos": cost_nanos,
        "open_shards": len(retries) - 1,
        **_batch_counts(shard),
    }
    counts = _nonzero(counts)
    if counts:
        key = records.batch_key(shard.tenant, shard.batch_id)
        writes.append(Update(key, add=counts, when=(Is("id", shard.batch_id),)))
    return writes


def drop(shards: Sequence[Shard]) -> list[Write]:
    """Waiting, paused or in flight → dropped: their lines come out as not executed.

    Each of these shards of one batch must be as it was seen. Beside them stand the batch, and a
    pool and a share each at most.
    """
    writes: list[Write] = []
    added: dict[Key, Counter[str]] = {}
    for shard in shards:
        dropped = replace(
            shard, status=ShardStatus.DROPPED, look_at=None, lease_ends_at=None, claimed_at=None
        )
        writes.append(Update(key_of(shard), set=changes(dropped), when=as_seen(shard)))
        for key, counts in (
            (records.pool_key(shard.pool), _release_counts(shard)),
            *((write.key, write.add) for write in _release_share(shard)),
            (
                records.batch_key(shard.tenant, shard.batch_id),
                {
                    "open_shards": -1,
                    "failed": shard.line_count,
                    "dropped": shard.line_count,
                    **_batch_counts(shard),
                },
            ),
        ):
            added.setdefault(key, Counter()).update(counts)
    return [
        *writes,
        *(Update(key, add=some) for key, counts in added.items() if (some := _nonzero(counts))),
    ]


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def key_of(shard: Shard) -> Key:
    return records.shard_key(shard.tenant, shard.batch_id, shard.id)


def as_seen(shard: Shard) -> tuple[Condition, ...]:
    return (Is("status", shard.status), Is("attempt", shard.attempt))


_CHANGING = (
    "status",
    "attempt",
    "not_before",
    "failed_at",
    "is_alone",
    "look_at",
    "lease_ends_at",
    "claimed_at",
    "output_location",
    "failure_location",
    "job",
    "bundle",
    "result_key",
    "result_inline",
    "succeeded",
    "failed",
    "answer_key",
    "answer_type",
)


def changes(shard: Shard) -> dict[str, Any]:
    values = {name: getattr(shard, name) for name in _CHANGING}
    if shard.status is ShardStatus.DONE:
        values["input_inline"] = None  # its outcomes stand; nobody reads the requests again
    return records.attributes(values) | records.shard_index(shard)


def _batch_counts(shard: Shard) -> dict[str, int]:
    """What changes in the batch's counts when the shard leaves the state that it is in."""
    is_running = shard.is_budgeted and shard.status is ShardStatus.IN_FLIGHT
    return {
        "paused_shards": -(shard.status is ShardStatus.PAUSED),
        "running_lines": -shard.line_count if is_running else 0,
    }


def _release_counts(shard: Shard) -> dict[str, int]:
    if shard.status is ShardStatus.IN_FLIGHT:
        return _nonzero({"in_flight": -shard.has_slot, "running_lines": -shard.line_count})
    if shard.status is ShardStatus.PAUSED:
        return {}
    return {"waiting_lines": -shard.line_count}


def _release_share(shard: Shard, *, queued: int = 0) -> list[Update]:
    """What the tenant has less, and of its retries more, in the pool."""
    if shard.status is ShardStatus.IN_FLIGHT:
        counts = {"in_flight": -shard.has_slot, "waiting_lines": queued}
    else:
        waited = shard.line_count if shard.status is ShardStatus.WAITING else 0
        counts = {"waiting_lines": queued - waited}
    changes = _nonzero(counts)
    return [Update(records.share_key(shard.tenant, shard.pool), add=changes)] if changes else []
