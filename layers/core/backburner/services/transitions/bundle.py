"""Shards' way into a bundle, and the slot that it holds for them all."""

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from backburner.domain.bundle import Bundle
from backburner.domain.request import Instant
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Absent, Below, Check, Condition, Is, Put, Update, Write
from backburner.services import records
from backburner.services.transitions.shard import RUNS, as_seen, changes, key_of

#: How long after the lease of its bundle a member is looked at by itself.
_LATE_SECONDS = 600.0

#: How long an ended bundle is kept after its lease: nobody brings a result of it any later.
_KEPT_SECONDS = 86400.0

#: Shards that join a bundle in one transaction: beside each stands its batch at most, and beside
#: them all the bundle, the pool and the share.
JOINING = 48


def bundle(
    made: Bundle, seen: Sequence[Shard], *, capacity: int, cap: int, running: Mapping[str, int]
) -> list[Write]:
    """A new bundle takes a slot, and its first members join it: waiting → in flight.

    - the members, and their batches: as for a claim;
    - the pool: a slot is free;
    - the tenant's share: below its cap.

    Args:
        made: the bundle.
        seen: waiting shards of its members, as they were seen.
        capacity: slots of the pool.
        cap: slots that the tenant may have.
        running: requests that were in flight of each batch that has a budget.
    """
    item = records.bundle_item(made)
    return [
        Put(key_of(made.shard), item, when=(Absent(),)),
        *_joined(made, seen, running),
        _pool(made, seen, slots=1, when=(Below("in_flight", capacity),)),
        _share(made, seen, slots=1, when=(Below("in_flight", cap),)),
    ]


def join(made: Bundle, seen: Sequence[Shard], *, running: Mapping[str, int]) -> list[Write]:
    """More members join the bundle, which holds its slot still."""
    return [
        Check(key_of(made.shard), when=as_seen(made.shard)),
        *_joined(made, seen, running),
        _pool(made, seen),
        _share(made, seen),
    ]


def unbundle(ended: Bundle, *, now: Instant, has_result: bool) -> list[Write]:
    """The bundle is in flight no more: its slot is free. A late result still finds its members.

    Only now it may vanish: with one in flight, its slot would be lost.
    """
    shard = ended.shard
    seconds = max(0.0, now - (shard.claimed_at or now))
    counts: dict[str, float] = {"in_flight": -1}
    if has_result:
        counts["busy_seconds"] = seconds
    if has_result and shard.job is not None:
        counts |= {"ended_jobs": 1, "job_seconds": seconds}
    over = replace(shard, status=ShardStatus.DONE, look_at=None, lease_ends_at=None)
    kept_until = int(max(now, shard.lease_ends_at or now) + _KEPT_SECONDS)
    return [
        Update(key_of(shard), set=changes(over) | {"ttl": kept_until}, when=as_seen(shard)),
        Update(records.pool_key(shard.pool), add=counts),
        Update(records.share_key(shard.tenant, shard.pool), add={"in_flight": -1}),
    ]


def joined(shard: Shard, made: Bundle) -> Shard:
    """The shard as it travels in the bundle: reap looks at it only if the bundle never ends."""
    late = (made.shard.lease_ends_at or 0.0) + _LATE_SECONDS
    return replace(
        shard,
        status=ShardStatus.IN_FLIGHT,
        attempt=shard.attempt + 1,
        claimed_at=made.shard.claimed_at,
        look_at=late,
        lease_ends_at=late,
        output_location=None,
        failure_location=None,
        job=None,
        bundle=made.shard.batch_id,
    )


def _joined(made: Bundle, seen: Sequence[Shard], running: Mapping[str, int]) -> list[Write]:
    """The shards as members, and their batches, which must run."""
    lines: Counter[str] = Counter()
    for shard in seen:
        lines[shard.batch_id] += shard.line_count
    budgeted = {shard.batch_id for shard in seen if shard.is_budgeted}
    return [
        *(
            Update(
                key_of(shard),
                set=changes(joined(shard, made)),
                when=(Is("status", ShardStatus.WAITING), Is("attempt", shard.attempt)),
            )
            for shard in seen
        ),
        *(
            Update(
                records.batch_key(made.shard.tenant, batch_id),
                add={"running_lines": count},
                when=(*RUNS, Is("running_lines", running[batch_id])),
            )
            if batch_id in budgeted
            else Check(records.batch_key(made.shard.tenant, batch_id), when=RUNS)
            for batch_id, count in lines.items()
        ),
    ]


def _pool(
    made: Bundle, seen: Sequence[Shard], *, slots: int = 0, when: tuple[Condition, ...] = ()
) -> Update:
    lines = sum(shard.line_count for shard in seen)
    counts = {"in_flight": slots, "waiting_lines": -lines, "running_lines": lines}
    return Update(records.pool_key(made.shard.pool), add=counts, when=when)


def _share(
    made: Bundle, seen: Sequence[Shard], *, slots: int = 0, when: tuple[Condition, ...] = ()
) -> Update:
    counts = {"in_flight": slots, "waiting_lines": -sum(shard.line_count for shard in seen)}
    key = records.share_key(made.shard.tenant, made.shard.pool)
    return Update(key, add=counts, when=when)
