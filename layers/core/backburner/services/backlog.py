"""Report each pool's backlog: the metric that starts instances, sizes them and lets them go."""

from contextlib import suppress

from backburner.domain.backlog import Backlog
from backburner.domain.catalog import Model
from backburner.domain.errors import BackendError, Conflict
from backburner.domain.slots import Pool
from backburner.ports import Environment, Index, Is, Missing, Update
from backburner.services import capacity, records

#: Waiting shards that are looked at for the oldest; they come by deadline, not by age.
_LOOKED_AT = 100


def report_backlog(env: Environment) -> list[Backlog]:
    """Publish every pool's backlog, zeros too, and have waiting work looked at.

    What depends on the number of instances is left out where nobody knows it: a wrong number
    could stop an instance that works.
    """
    reported = []
    for model in env.catalog.each():
        backlog = measure(env, model)
        values: dict[str, float] = {
            "OutstandingRequests": backlog.outstanding,
            "WaitingRequests": backlog.waiting,
            "InFlightRequests": backlog.in_flight,
            "OldestWaitingSeconds": backlog.oldest_seconds,
        }
        if backlog.instances is not None:
            values |= {
                "OutstandingRequestsPerInstance": backlog.per_instance,
                "WantedInstances": backlog.wanted,
                "Instances": backlog.instances,
            }
        env.metrics.publish(values, {"EndpointName": model.endpoint})
        if backlog.waiting:
            capacity.kick(env, model.pool)
        reported.append(backlog)
    return reported


def measure(env: Environment, model: Model) -> Backlog:
    """The backlog of the model's pool, as of now."""
    now = env.clock.now()
    (item,) = env.store.get(records.pool_key(model.pool))
    pool = records.to_pool(item, model.pool)
    waiting = env.store.query(model.pool, index=Index.QUEUE, limit=_LOOKED_AT)
    oldest = min((float(shard["created_at"]) for shard in waiting), default=now)
    instances: int | None
    try:
        instances = env.backends[model.backend].instances(model)
    except BackendError:
        instances = None
    _note_start(env, pool, instances)
    return Backlog(
        waiting=pool.waiting_lines,
        in_flight=pool.running_lines,
        instances=instances,
        oldest_seconds=max(0.0, now - oldest),
        wanted=capacity.wanted(env, model, pool, instances=instances or 0),
    )


def _note_start(env: Environment, pool: Pool, instances: int | None) -> None:
    """Measure how long work waits until the first instance is there."""
    now = env.clock.now()
    is_cold = instances == 0 and pool.backlog > 0
    changes: dict[str, float | None]
    if instances is None or is_cold is (pool.cold_since is not None):
        return
    if pool.cold_since is None:
        changes = {"cold_since": now}
    else:
        changes = {"cold_since": None}
        if instances:
            changes["cold_start_seconds"] = now - pool.cold_since
    seen = Missing("cold_since") if pool.cold_since is None else Is("cold_since", pool.cold_since)
    with suppress(Conflict):
        env.store.transact(Update(records.pool_key(pool.id), set=changes, when=(seen,)))
