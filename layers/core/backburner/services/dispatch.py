"""Hand waiting shards to backends, as slots allow."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from backburner.domain import budget
from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.catalog import Model
from backburner.domain.errors import Conflict
from backburner.domain.request import Instant
from backburner.domain.shard import Shard, ShardStatus, queue_class
from backburner.domain.slots import Pool, tenant_cap
from backburner.ports import Environment, Index, Item
from backburner.services import batches, capacity, pausing, records, transitions
from backburner.services.sending import Sender

#: Most waiting shards that are read at once.
_PAGE = 50
#: Waiting shards of a pool of jobs among which tenants take turns.
_FAIR_SHARDS = 500
_TRIES = 5


class Verdict(StrEnum):
    """Whether a shard may be claimed, and if not, what that says of others."""

    CLAIM = "claim"
    #: This shard can't be claimed (now).
    SKIP = "skip"
    #: No slot is free: nothing of the pool can be claimed.
    POOL_FULL = "pool_full"
    #: The tenant holds its share: nothing of the tenant can be claimed.
    TENANT_FULL = "tenant_full"
    #: What is in flight may use up the batch's budget: none of its shards can be claimed now.
    BATCH_FULL = "batch_full"
    #: The batch is paused: none of its shards can be claimed, nor should it be in the queue.
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a claim depends on, as it was loaded."""

    shard: Shard | None
    batch: Batch | None
    pool: Pool
    share: int


def may_claim(seen: Seen, *, slots: int, cap: int, now: Instant) -> Verdict:
    """Decide a claim; the transaction insists on the same conditions."""
    shard = seen.shard
    if seen.pool.in_flight >= slots:
        return Verdict.POOL_FULL
    if seen.share >= cap:
        return Verdict.TENANT_FULL
    if shard is None or shard.status is not ShardStatus.WAITING or shard.not_before > now:
        return Verdict.SKIP
    return _may_run(seen.batch, shard, now)


def _may_run(batch: Batch | None, shard: Shard, now: Instant) -> Verdict:
    """What the batch says to a claim of its shards."""
    if batch is None or batch.status is not BatchStatus.IN_PROGRESS:
        return Verdict.SKIP
    if batch.stopping is not None or batch.expires_at <= now:
        return Verdict.SKIP
    if batch.paused:
        return Verdict.PAUSED
    has_room = budget.has_room(batch.spending, shard.line_count)
    return Verdict.CLAIM if has_room else Verdict.BATCH_FULL


def dispatch(env: Environment, pool: str) -> int:
    """Claim and send waiting shards of the pool until it is full or none is left.

    Who has worked for `Limits.dispatch_seconds` leaves the rest to another message.

    Returns:
        How many were sent.
    """
    model = env.catalog.of_pool(pool)
    if model is None:
        return 0
    full: set[str] = set()
    aside: set[tuple[str, str]] = set()
    ends_at = env.clock.now() + env.limits.dispatch_seconds
    seen = capacity.load(env, pool)
    free = capacity.free_slots(env, model, seen)
    # A job's requests are all read and written first: several beside each other take as long.
    with Sender(env, at_once=1 if model.has_jobs else env.limits.sends_at_once) as sender:
        for shard in _queue(env, model, free) if free > 0 else ():
            if sender.count and env.clock.now() >= ends_at:
                capacity.kick(env, pool)
                break
            if shard.tenant in full or (shard.tenant, shard.batch_id) in aside:
                continue
            verdict, claimed_shard = _claim(env, model, shard)
            if verdict is Verdict.POOL_FULL:
                break
            if verdict is Verdict.TENANT_FULL:
                full.add(shard.tenant)
            if verdict in (Verdict.PAUSED, Verdict.BATCH_FULL):
                aside.add((shard.tenant, shard.batch_id))
                _hold_back(env, shard, verdict)
            if claimed_shard is not None:
                sender.send(claimed_shard)
            if sender.is_refused or sender.count == free:
                break
    capacity.wake_if_asleep(env, model, seen)
    return sender.count


def _hold_back(env: Environment, shard: Shard, verdict: Verdict) -> None:
    """A shard of a paused batch came into the queue, or was left there: so may others have."""
    if verdict is not Verdict.PAUSED:
        return
    batch = batches.load(env, shard.tenant, shard.batch_id)
    if batch is not None and pausing.set_aside(env, batch):
        capacity.kick(env, shard.pool)


def claimed(env: Environment, shard: Shard) -> Shard:
    """The shard as it is once claimed now."""
    now = env.clock.now()
    model = env.catalog.running(shard.model, shard.pool)
    jobs = model.jobs if model is not None else None
    lease = env.limits.lease_seconds if jobs is None else jobs.lease_seconds
    return replace(
        shard,
        status=ShardStatus.IN_FLIGHT,
        attempt=shard.attempt + 1,
        claimed_at=now,
        look_at=now + env.limits.look_seconds,
        lease_ends_at=now + lease,
        output_location=None,
        failure_location=None,
        job=None,
    )


def _queue(env: Environment, model: Model, free: int) -> Iterator[Shard]:
    """Waiting shards of the model's pool in the order in which they get slots.

    That is the queue's. Jobs hold their few slots for hours: among those of about one deadline and
    of one priority it is the turn of the tenant who has least in flight.
    """
    if not model.has_jobs:
        yield from _waiting(env, model.pool, limit=min(_PAGE, free))
        return
    seen = list(islice(_waiting(env, model.pool, limit=_PAGE), _FAIR_SHARDS))
    tenants = sorted({shard.tenant for shard in seen})
    shares = env.store.get(*(records.share_key(tenant, model.pool) for tenant in tenants))
    held = {
        tenant: int(share.get("in_flight", 0)) if share is not None else 0
        for tenant, share in zip(tenants, shares, strict=True)
    }
    yield from in_fair_order(seen, held)


def in_fair_order(shards: Sequence[Shard], held: Mapping[str, int]) -> list[Shard]:
    """The queue's shards, tenants taking turns within a class of deadline and priority.

    Args:
        shards: in the queue's order.
        held: slots that each tenant holds already.
    """
    turns = Counter(held)
    ranked: list[tuple[str, int, int, Shard]] = []
    for place, shard in enumerate(shards):
        deadline_class = queue_class(shard)
        ranked.append((deadline_class, turns[shard.tenant], place, shard))
        turns[shard.tenant] += 1
    return [shard for *_, shard in sorted(ranked, key=lambda one: one[:3])]


def _waiting(env: Environment, pool: str, *, limit: int) -> Iterator[Shard]:
    """The pool's queue, in its order: so many first, then, as these were not enough, pages."""
    after: str | None = None
    now = env.clock.now()
    while True:
        items = env.store.query(pool, index=Index.QUEUE, after=after, limit=limit)
        for item in items:
            after = str(item["queue_sort"])
            shard = records.to_shard(item)
            if shard.not_before <= now:
                yield shard
        if len(items) < limit:
            return
        limit = _PAGE


def _claim(env: Environment, model: Model, waiting: Shard) -> tuple[Verdict, Shard | None]:
    now = env.clock.now()
    for _ in range(_TRIES):
        seen = _see(env, waiting)
        slots = model.slots_now(seen.pool, now)
        cap = tenant_cap(capacity=slots, share=env.limits.tenant_share)
        verdict = may_claim(seen, slots=slots, cap=cap, now=now)
        if verdict is not Verdict.CLAIM or seen.shard is None:
            return verdict, None
        taken = claimed(env, seen.shard)
        running = seen.batch.running_lines if seen.batch is not None else 0
        writes = transitions.claim(
            seen.shard, taken, capacity=slots, cap=cap, running_lines=running
        )
        with suppress(Conflict):
            env.store.transact(*writes)
            return verdict, taken
    return Verdict.SKIP, None


def _see(env: Environment, shard: Shard) -> Seen:
    items: list[Item | None] = env.store.get(
        records.shard_key(shard.tenant, shard.batch_id, shard.id),
        records.batch_key(shard.tenant, shard.batch_id),
        records.pool_key(shard.pool),
        records.share_key(shard.tenant, shard.pool),
    )
    return Seen(
        shard=records.to_shard(items[0]) if items[0] is not None else None,
        batch=records.to_batch(items[1]) if items[1] is not None else None,
        pool=records.to_pool(items[2], shard.pool),
        share=int(items[3].get("in_flight", 0)) if items[3] is not None else 0,
    )
