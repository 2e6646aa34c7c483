"""Hand waiting shards to backends, as slots allow."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from backburner.domain.bundle import Load, PlaceOf, is_small, loads
from backburner.domain.catalog import Model
from backburner.domain.shard import Shard, queue_class
from backburner.ports import Environment, Index
from backburner.services import batches, capacity, claims, pausing, records
from backburner.services.claims import Verdict
from backburner.services.sending import Sender

#: Most waiting shards that are read at once.
_PAGE = 50
#: Waiting shards of a pool of jobs among which tenants take turns, and small ones find others.
_FAIR_SHARDS = 500
#: Waiting shards behind an endpoint among which small ones find others to share a slot with.
_SHARED_SHARDS = 200


def dispatch(env: Environment, pool: str) -> int:
    """Claim and send waiting shards of the pool until it is full or none is left.

    Who has worked for `Limits.dispatch_seconds` leaves the rest to another message.

    Returns:
        How many were sent.
    """
    model = env.catalog.of_pool(pool)
    if model is None:
        return 0
    full = _Full()
    ends_at = env.clock.now() + env.limits.dispatch_seconds
    seen = capacity.load(env, pool)
    free = capacity.free_slots(env, model, seen)
    # A job's requests are all read and written first: several beside each other take as long.
    with Sender(env, at_once=1 if model.has_jobs else env.limits.sends_at_once) as sender:
        for load in _queue(env, model, free) if free > 0 else ():
            if sender.count and env.clock.now() >= ends_at:
                capacity.kick(env, pool)
                break
            if full.has(load):
                continue
            claim = claims.claim(env, model, load)
            if claim.verdict is Verdict.POOL_FULL:
                break
            full.note(load, claim.verdict)
            for paused in claim.paused:
                _hold_back(env, paused)
            if claim.shard is not None:
                sender.send(claim.shard)
            if sender.is_refused or sender.count == free:
                break
    capacity.wake_if_asleep(env, model, seen)
    return sender.count


@dataclass(slots=True)
class _Full:
    """Whose shards can't be claimed now, as was seen on the way through the queue."""

    tenants: set[str] = field(default_factory=set)
    batches: set[tuple[str, str]] = field(default_factory=set)

    def has(self, load: Load) -> bool:
        if load[0].tenant in self.tenants:
            return True
        return all((shard.tenant, shard.batch_id) in self.batches for shard in load)

    def note(self, load: Load, verdict: Verdict) -> None:
        if verdict is Verdict.TENANT_FULL:
            self.tenants.add(load[0].tenant)
        if verdict in (Verdict.PAUSED, Verdict.BATCH_FULL):
            self.batches |= {(shard.tenant, shard.batch_id) for shard in load}


def _hold_back(env: Environment, shard: Shard) -> None:
    """A shard of a paused batch came into the queue, or was left there: so may others have."""
    batch = batches.load(env, shard.tenant, shard.batch_id)
    if batch is not None and pausing.set_aside(env, batch):
        capacity.kick(env, shard.pool)


def _queue(env: Environment, model: Model, free: int) -> Iterator[Load]:
    """What waits in the model's pool, in the order in which it gets slots.

    That is the queue's. Jobs hold their few slots for hours: among those of about one deadline and
    of one priority it is the turn of the tenant who has least in flight.
    """
    if not model.has_jobs:
        yield from _behind_endpoint(env, model, free)
        return
    waiting = _waiting(env, model.pool, limit=_PAGE)
    # Those that wait for others must not hide what is behind them.
    while seen := list(islice(waiting, _FAIR_SHARDS)):
        some = loads(seen, _place_of(env, model), free=free, now=env.clock.now())
        yield from in_fair_order(some, _held(env, model, some))


def _held(env: Environment, model: Model, some: Sequence[Load]) -> dict[str, int]:
    """Slots of the model's pool that each tenant holds."""
    tenants = sorted({load[0].tenant for load in some})
    shares = env.store.get(*(records.share_key(tenant, model.pool) for tenant in tenants))
    return {
        tenant: int(share.get("in_flight", 0)) if share is not None else 0
        for tenant, share in zip(tenants, shares, strict=True)
    }


def _behind_endpoint(env: Environment, model: Model, free: int) -> Iterator[Load]:
    """As much as there are slots for; where more waits, small shards share them."""
    waiting = _waiting(env, model.pool, limit=min(_PAGE, free))
    seen = list(islice(waiting, free))
    if len(seen) == free and any(is_small(shard, model) for shard in seen):
        seen += islice(waiting, max(0, _SHARED_SHARDS - free))
    yield from loads(seen, _place_of(env, model), free=free, now=env.clock.now())
    yield from ((shard,) for shard in waiting)


def _place_of(env: Environment, model: Model) -> PlaceOf:
    """Where shards of the model's pool run; those of a name that is gone, as its do."""
    return lambda shard: env.catalog.running(shard.model, shard.pool) or model


def in_fair_order(some: Sequence[Load], held: Mapping[str, int]) -> list[Load]:
    """What waits, tenants taking turns within a class of deadline and priority.

    Args:
        some: in the queue's order.
        held: slots that each tenant holds already.
    """
    turns = Counter(held)
    ranked: list[tuple[str, int, int, Load]] = []
    for place, load in enumerate(some):
        tenant, deadline_class = load[0].tenant, queue_class(load[0])
        ranked.append((deadline_class, turns[tenant], place, load))
        turns[tenant] += 1
    return [load for *_, load in sorted(ranked, key=lambda one: one[:3])]


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
