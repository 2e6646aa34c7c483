"""Report each pool's backlog: the metric that starts instances, sizes them and lets them go."""

from contextlib import suppress
from typing import Any

from backburner.domain.backlog import Backlog, OwnBacklog
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, Conflict
from backburner.domain.slots import Pool
from backburner.ports import Environment, Index, Is, Missing, Update
from backburner.services import capacity, records

#: Waiting shards that are looked at for the oldest; they come by deadline, not by age.
_LOOKED_AT = 100

#: What is known of every pool.
_COUNTS = ("OutstandingRequests", "WaitingRequests", "InFlightRequests", "OldestWaitingSeconds")


def report_backlog(env: Environment) -> list[Backlog]:
    """Publish every pool's backlog, zeros too, and have waiting work looked at.

    What depends on the number of instances is left out where nobody knows it: a wrong number
    could stop an instance that works.
    """
    reported = []
    for model in env.catalog.each():
        backlog = measure(env, model)
        counts = (backlog.outstanding, backlog.waiting, backlog.in_flight, backlog.oldest_seconds)
        values: dict[str, float] = dict(zip(_COUNTS, counts, strict=True))
        if backlog.instances is not None:
            values |= {
                "OutstandingRequestsPerInstance": backlog.per_instance,
                "WantedInstances": backlog.wanted,
                "Instances": backlog.instances,
            }
        env.metrics.publish(values, {"EndpointName": model.endpoint or model.pool})
        if backlog.waiting:
            capacity.kick(env, model.pool)
        if model.has_jobs:
            capacity.ask_limit(env, model, is_needed=backlog.waiting > 0)
        reported.append(backlog)
    if env.catalog.has_idle_endpoint:  # silence would be an alarm
        env.metrics.publish(dict.fromkeys(_COUNTS, 0.0), {"EndpointName": env.catalog.own_endpoint})
    return reported


def measure(env: Environment, model: Model) -> Backlog:
    """The backlog of the model's pool, as of now."""
    now = env.clock.now()
    (item,) = env.store.get(records.pool_key(model.pool))
    pool = records.to_pool(item, model.pool)
    waiting = env.store.query(model.pool, index=Index.QUEUE, limit=_LOOKED_AT)
    oldest = min((float(shard["created_at"]) for shard in waiting), default=now)
    instances = _instances(env, model)
    _note(env, pool, instances)
    return Backlog(
        waiting=pool.waiting_lines,
        in_flight=pool.running_lines,
        instances=instances,
        oldest_seconds=max(0.0, now - oldest),
        wanted=capacity.wanted(env, model, pool, instances=instances or 0),
    )


def of_tenant(env: Environment, tenant: str) -> list[OwnBacklog]:
    """The tenant's part of each pool's backlog; of what others have there, nothing."""
    models = list(env.catalog.each())
    items = env.store.get(
        *(records.share_key(tenant, model.pool) for model in models),
        *(records.pool_key(model.pool) for model in models),
    )
    shares, pools = items[: len(models)], items[len(models) :]
    return [
        OwnBacklog(
            model=model,
            instances=_instances(env, model)
            if env.limits.asks_instances
            else records.to_pool(pool, model.pool).instances,
            waiting=int((share or {}).get("waiting_lines", 0)),
            in_flight=int((share or {}).get("in_flight", 0)),
        )
        for model, share, pool in zip(models, shares, pools, strict=True)
    ]


def _instances(env: Environment, model: Model) -> int | None:
    """Instances of the model now; None where nobody knows."""
    try:
        return env.backends[model.backend].instances(model)
    except BackendError:
        return None


def _note(env: Environment, pool: Pool, instances: int | None) -> None:
    """Note the instances where they changed, and how long work waits until the first is there."""
    changes: dict[str, Any] = _start(env, pool, instances)
    if instances is not None and instances != pool.instances:
        changes |= {"id": pool.id, "instances": instances}
    if not changes:
        return
    seen = Missing("cold_since") if pool.cold_since is None else Is("cold_since", pool.cold_since)
    with suppress(Conflict):
        env.store.transact(Update(records.pool_key(pool.id), set=changes, when=(seen,)))


def _start(env: Environment, pool: Pool, instances: int | None) -> dict[str, float | None]:
    """What to note of the time until the first instance is there."""
    now = env.clock.now()
    is_cold = instances == 0 and pool.backlog > 0
    if instances is None or is_cold is (pool.cold_since is not None):
        return {}
    if pool.cold_since is None:
        return {"cold_since": now}
    if not instances:
        return {"cold_since": None}
    return {"cold_since": None, "cold_start_seconds": now - pool.cold_since}
