"""Have waiting work looked at, and capacity started for it."""

import logging
from contextlib import suppress

from backburner.domain.backlog import measured_rate, wanted_instances
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, Conflict
from backburner.domain.request import Instant
from backburner.domain.slots import Pool
from backburner.ports import Below, Environment, Index, Is, Missing, QueueName, Update
from backburner.services import records

_logger = logging.getLogger(__name__)

#: Pause before capacity is asked for again, after the backend could not say or do it.
ASK_AGAIN_SECONDS = 5.0

#: More than any catalog ever had.
_MOST_POOLS = 1000

#: Pause before an account that may have no jobs of a model is asked again whether it may.
BARRED_SECONDS = 1800.0

#: How long the slots count that a refusal taught: the other jobs of the account end some time.
LEARNT_SECONDS = 600.0


def kick(env: Environment, pool: str, *, delay_seconds: float = 0) -> None:
    """Have the pool's queue looked at."""
    env.queue.send(QueueName.DISPATCH, {"pool": pool}, delay_seconds=delay_seconds)


def kick_for_new(env: Environment, pool: str) -> None:
    """Have the pool's queue looked at once it surely shows what was just put there."""
    kick(env, pool, delay_seconds=env.limits.index_lag_seconds)


def load(env: Environment, pool: str) -> Pool:
    (item,) = env.store.get(records.pool_key(pool))
    return records.to_pool(item, pool)


def pools(env: Environment) -> list[Pool]:
    """Every pool that something ever waited in, whatever the catalog says by now."""
    items = env.store.query(records.POOLS, limit=_MOST_POOLS)
    return [records.to_pool(item, item["id"]) for item in items if "id" in item]


def free_slots(env: Environment, model: Model, pool: Pool) -> int:
    """Slots of the model's pool that may be taken now: none while its backend throttles."""
    if pool.throttled_until > env.clock.now():
        return 0
    return max(0, model.slots_now(pool, env.clock.now()) - pool.in_flight)


def learn(env: Environment, model: Model) -> None:
    """The account refused a job: it has as many slots as are taken without it, for a while."""
    now = env.clock.now()
    pool = load(env, model.pool)
    seen = Missing("learnt") if pool.learnt is None else Is("learnt", pool.learnt)
    found = {"learnt": max(0, pool.in_flight - 1), "learnt_until": now + LEARNT_SECONDS}
    with suppress(Conflict):  # another one learns the same
        env.store.transact(Update(records.pool_key(model.pool), set=found, when=(seen,)))


def ask_limit(env: Environment, model: Model, *, is_needed: bool) -> None:
    """Ask how many jobs the account may have at once, and how many others run in it.

    Where nobody can say, what was known stands. Where the account may have none, nothing is sent
    there that would need to know: it is asked now and then all the same.
    """
    now = env.clock.now()
    if not is_needed:
        pool = load(env, model.pool)
        if not pool.is_barred or pool.asked_at + BARRED_SECONDS > now:
            return
    try:
        room = env.backends[model.backend].room(model)
    except BackendError:
        return
    if room is not None:
        if room.limit == 0:
            _logger.warning("pool.barred pool=%s hint=raise the account's quota", model.pool)
        found = {"limit": room.limit, "others": room.others, "asked_at": now}
        env.store.transact(Update(records.pool_key(model.pool), set=found | {"id": model.pool}))


def hold(env: Environment, pool: str, *, seconds: float) -> None:
    """Ask the pool's backend for nothing for a while; then have its queue looked at.

    Of all that the backend throttles meanwhile, the first sends the one message that goes on.
    """
    now = env.clock.now()
    until = Update(
        records.pool_key(pool),
        set={"throttled_until": now + seconds},
        when=(Below("throttled_until", now),),
    )
    try:
        env.store.transact(until)
    except Conflict:
        return
    kick(env, pool, delay_seconds=seconds)


def kick_if_waiting(env: Environment, pool: str) -> None:
    """Have the pool's queue looked at, if anything is in it: a slot has become free."""
    if load(env, pool).waiting_lines > 0:
        kick(env, pool)


def wake_if_asleep(env: Environment, model: Model, pool: Pool) -> None:
    """Ask for the instances that the work is worth, at most once per cool-down. Jobs bring theirs.

    The update's condition lets one caller through; whoever comes second finds `woken_at` new.

    Args:
        env: the world.
        model: whose instances.
        pool: its pool, as it was a moment ago.
    """
    now = env.clock.now()
    since = now - env.limits.wake_cooldown_seconds
    if model.has_jobs or pool.backlog == 0 or pool.woken_at > since:
        return
    guard = Update(
        records.pool_key(model.pool), set={"woken_at": now}, when=(Below("woken_at", since),)
    )
    try:
        env.store.transact(guard)
    except Conflict:
        return
    backend = env.backends[model.backend]
    try:
        instances = backend.instances(model)
        worth = wanted(env, model, pool, instances=instances or 0)
        if instances is not None and instances < worth:
            backend.wake(model, worth)
    except BackendError:  # the alarm on the backlog metric is the second way
        _ask_again(env, model, asked_at=now)


def _ask_again(env: Environment, model: Model, *, asked_at: Instant) -> None:
    """The asking failed: it does not count, and is repeated soon."""
    forget = Update(
        records.pool_key(model.pool), set={"woken_at": None}, when=(Is("woken_at", asked_at),)
    )
    with suppress(Conflict):
        env.store.transact(forget)
    kick(env, model.pool, delay_seconds=ASK_AGAIN_SECONDS)


def wanted(env: Environment, model: Model, pool: Pool, *, instances: int) -> int:
    """Instances that the pool's work is worth now."""
    next_up = env.store.query(model.pool, index=Index.QUEUE, limit=1)
    return wanted_instances(
        pool=pool,
        rate=measured_rate(pool, slots_per_instance=model.slots_per_instance),
        earliest_deadline=records.to_shard(next_up[0]).deadline if next_up else None,
        now=env.clock.now(),
        limit=model.max_instances,
        instances=instances,
    )
