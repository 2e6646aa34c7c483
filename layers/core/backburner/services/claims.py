"""Claim waiting shards: each its slot, or several small ones a slot together, as a bundle."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from backburner.domain import budget
from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.bundle import PREFIX, Bundle, Load, Member
from backburner.domain.catalog import Model
from backburner.domain.errors import Conflict
from backburner.domain.request import Instant
from backburner.domain.shard import Shard, ShardStatus, shard_id
from backburner.domain.slots import Pool, tenant_cap
from backburner.ports import Environment, Item, Write
from backburner.services import bundles, records, transitions

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What came of a claim."""

    verdict: Verdict
    #: What is to be sent: the shard, or the bundle; None: nothing was claimed.
    shard: Shard | None = None
    #: What can't be claimed because its batch is paused.
    paused: tuple[Shard, ...] = ()


def claim(env: Environment, model: Model, load: Load) -> Claim:
    """Claim what is sent as one, as far as it may run."""
    return _claim_together(env, model, load) if len(load) > 1 else _claim(env, model, load[0])


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


def _claim(env: Environment, model: Model, waiting: Shard) -> Claim:
    now = env.clock.now()
    for _ in range(_TRIES):
        seen = _see(env, waiting)
        slots = model.slots_now(seen.pool, now)
        cap = tenant_cap(capacity=slots, share=env.limits.tenant_share)
        verdict = may_claim(seen, slots=slots, cap=cap, now=now)
        if verdict is not Verdict.CLAIM or seen.shard is None:
            paused = (waiting,) if verdict is Verdict.PAUSED else ()
            return Claim(verdict=verdict, paused=paused)
        taken = claimed(env, seen.shard)
        running = seen.batch.running_lines if seen.batch is not None else 0
        writes = transitions.claim(
            seen.shard, taken, capacity=slots, cap=cap, running_lines=running
        )
        with suppress(Conflict):
            env.store.transact(*writes)
            return Claim(verdict=verdict, shard=taken)
    return Claim(verdict=Verdict.SKIP)


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


# ------------------------------------------------------------ together


def _claim_together(env: Environment, model: Model, load: Load) -> Claim:
    """Make a bundle of the shards, with one slot; those that may not run are left out."""
    made = _bundle(env, load)
    first, *others = _chunks(load)
    claim = _begin(env, model, made, first)
    if claim.verdict is not Verdict.CLAIM:
        return claim
    paused = [*claim.paused]
    for some in others:
        paused += _join(env, made, some)
    whole = bundles.compose(env, made)
    verdict = Verdict.CLAIM if whole is not None else Verdict.SKIP
    return Claim(verdict=verdict, shard=whole, paused=tuple(paused))


def _chunks(load: Load) -> list[Load]:
    size = transitions.JOINING
    return [load[start : start + size] for start in range(0, len(load), size)]


def _bundle(env: Environment, load: Load) -> Bundle:
    """The bundle of all that are to travel: in flight from the start, as there is no other way."""
    first, lines = load[0], sum(shard.line_count for shard in load)
    whole = Shard(
        tenant=first.tenant,
        batch_id=env.ids.new(PREFIX),
        id=shard_id(1),
        model=first.model,
        pool=first.pool,
        first_line=1,
        last_line=lines,
        line_count=lines,
        attempt=max(shard.attempt for shard in load),  # a backend may take more care of later ones
        created_at=min(shard.created_at for shard in load),
        deadline=min(shard.deadline for shard in load),
        priority=max(shard.priority for shard in load),
    )
    members = tuple(
        Member(
            batch_id=shard.batch_id,
            shard_id=shard.id,
            attempt=shard.attempt + 1,
            line_count=shard.line_count,
        )
        for shard in load
    )
    return Bundle(shard=claimed(env, whole), members=members)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Able:
    """Of shards that were loaded, those that may join a bundle."""

    shards: Sequence[Shard]
    #: Requests that were in flight of each of their batches.
    running: Mapping[str, int]
    paused: tuple[Shard, ...]


def _begin(env: Environment, model: Model, made: Bundle, some: Load) -> Claim:
    """Take the slot, with the first members."""
    now = env.clock.now()
    for _ in range(_TRIES):
        seen = _see(env, some[0])
        slots = model.slots_now(seen.pool, now)
        cap = tenant_cap(capacity=slots, share=env.limits.tenant_share)
        if seen.pool.in_flight >= slots:
            return Claim(verdict=Verdict.POOL_FULL)
        if seen.share >= cap:
            return Claim(verdict=Verdict.TENANT_FULL)
        able = _able(env, some, now)
        if not able.shards:
            return Claim(verdict=Verdict.SKIP, paused=able.paused)
        writes = transitions.bundle(
            made, able.shards, capacity=slots, cap=cap, running=able.running
        )
        with suppress(Conflict):
            env.store.transact(*writes)
            return Claim(verdict=Verdict.CLAIM, paused=able.paused)
    return Claim(verdict=Verdict.SKIP)


def _join(env: Environment, made: Bundle, some: Load) -> tuple[Shard, ...]:
    """Let more shards join; returns those whose batch is paused."""
    for _ in range(_TRIES):
        able = _able(env, some, env.clock.now())
        writes: list[Write] = []
        if able.shards:
            writes = transitions.join(made, able.shards, running=able.running)
        with suppress(Conflict):
            env.store.transact(*writes)
            return able.paused
    return ()


def _able(env: Environment, some: Load, now: Instant) -> _Able:
    """See which of the shards, which are as the queue had them, may run now."""
    tenant = some[0].tenant
    batch_ids = sorted({shard.batch_id for shard in some})
    items = env.store.get(
        *(records.shard_key(tenant, shard.batch_id, shard.id) for shard in some),
        *(records.batch_key(tenant, batch_id) for batch_id in batch_ids),
    )
    found = [records.to_batch(item) for item in items[len(some) :] if item is not None]
    loaded = {batch.id: batch for batch in found}
    running = {batch.id: batch.running_lines for batch in found}
    able, paused = [], []
    for waiting, item in zip(some, items, strict=False):
        shard, batch = _as_waiting(waiting, item, now), loaded.get(waiting.batch_id)
        verdict = _may_run(batch, waiting, now) if shard is not None else Verdict.SKIP
        if verdict is Verdict.PAUSED:
            paused.append(waiting)
        elif verdict is Verdict.CLAIM and shard is not None and batch is not None:
            able.append(shard)
            counted = batch.running_lines + shard.line_count
            loaded[batch.id] = msgspec.structs.replace(batch, running_lines=counted)
    return _Able(shards=able, running=running, paused=tuple(paused))


def _as_waiting(seen: Shard, item: Item | None, now: Instant) -> Shard | None:
    """The shard as it is stored; None: it is not as the queue had it, or may not run yet."""
    shard = records.to_shard(item) if item is not None else None
    if shard is None or shard.status is not ShardStatus.WAITING or shard.attempt != seen.attempt:
        return None
    return shard if shard.not_before <= now else None
