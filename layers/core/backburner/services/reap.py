"""Find whatever got no word in time, and move it on: nothing ever stays stuck."""

from collections.abc import Callable
from dataclasses import replace

from backburner.domain.batch import Batch
from backburner.domain.delivery import Delivery
from backburner.domain.errors import BackendError, Conflict
from backburner.domain.request import Instant
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import AttemptState, Environment, Index, Is, Item, Update
from backburner.services import batches, capacity, collect, dispatch, files, records, transitions

_PAGE = 100


def reap(env: Environment) -> int:
    """Look at everything that is due.

    One thing that can't be moved on does not keep the others waiting.

    Returns:
        How many things were looked at.

    Raises:
        ExceptionGroup: what went wrong, after everything was looked at.
    """
    looked = 0
    errors: list[Exception] = []
    rules: list[tuple[str, Callable[[Environment, Item], None]]] = [
        (records.DUE_SHARD, lambda env, item: _shard(env, records.to_shard(item))),
        (records.DUE_BATCH, lambda env, item: _batch(env, records.to_batch(item))),
        (records.DUE_DELIVERY, lambda env, item: _delivery(env, records.to_delivery(item))),
        (records.DUE_FILE, lambda env, item: files.forget(env, records.to_file(item))),
    ]
    for partition, look in rules:
        for item in _due(env, partition):
            looked += 1
            try:
                look(env, item)
            except Exception as error:  # noqa: BLE001 - the others come first
                errors.append(error)
    for model in env.catalog.models.values():
        if env.store.query(model.pool, index=Index.QUEUE, limit=1):
            capacity.kick(env, model.pool)
    if errors:
        raise ExceptionGroup("reap could not move everything on", errors)
    return looked


def _due(env: Environment, partition: str) -> list[Item]:
    """Everything that is due now; read whole first, as looking changes the index."""
    now = records.due_sort(env.clock.now()) + "~"
    found: list[Item] = []
    after: str | None = None
    while True:
        items = env.store.query(partition, index=Index.DUE, after=after, up_to=now, limit=_PAGE)
        found.extend(items)
        if len(items) < _PAGE:
            return found
        after = str(items[-1]["due_sort"])


def _shard(env: Environment, shard: Shard) -> None:
    """A shard in flight without a word: is the result there, or did the lease end?"""
    (item,) = env.store.get(records.shard_key(shard.tenant, shard.batch_id, shard.id))
    if item is None or records.to_shard(item).status is not ShardStatus.IN_FLIGHT:
        return
    shard = records.to_shard(item)
    now = env.clock.now()
    model = env.catalog.get(shard.model)
    state = AttemptState.UNKNOWN
    if model is not None:
        state = _look(env, shard, model.backend)
    if state is AttemptState.FAILED:
        collect.collect_failure(
            env, shard.ref, code="backend_failed", reason="The model's server failed."
        )
    elif state is AttemptState.UNKNOWN and now < (shard.lease_ends_at or 0.0):
        _again(env, shard, now + env.limits.look_seconds)
    elif state is AttemptState.UNKNOWN:
        _lost(env, shard)


def _look(env: Environment, shard: Shard, backend: str) -> AttemptState:
    try:
        found = env.backends[backend].look(shard)
    except BackendError:
        return AttemptState.UNKNOWN
    if found.state is AttemptState.SUCCEEDED and found.result_key is not None:
        collect.collect_result(env, shard.ref, result_key=found.result_key)
    return found.state


def _again(env: Environment, shard: Shard, at: Instant) -> None:
    try:
        env.store.transact(*transitions.watch(shard, replace(shard, look_at=at)))
    except Conflict:
        return


def _lost(env: Environment, shard: Shard) -> None:
    """The lease ended and nothing is there: wait again, or fail after the last attempt."""
    if shard.attempt >= env.limits.retry.max_attempts:
        collect.collect_failure(
            env, shard.ref, code="attempt_lost", reason="No result came back from the model."
        )
        return
    try:
        env.store.transact(*transitions.wait_again(shard, dispatch.wait(shard)))
    except Conflict:
        return
    capacity.kick(env, shard.pool)


def _batch(env: Environment, batch: Batch) -> None:
    (item,) = env.store.get(records.batch_key(batch.tenant, batch.id))
    if item is None or records.to_batch(item).is_terminal:
        return
    batches.advance(env, batch.tenant, batch.id)
    current = batches.load(env, batch.tenant, batch.id)
    if current is None or current.is_terminal:
        return
    now = env.clock.now()
    moments = [now + env.limits.batch_check_seconds]
    if current.stopping is None:
        moments.append(max(now + 1.0, current.expires_at))
    elif current.grace_ends_at is not None and current.grace_ends_at > now:
        moments.append(current.grace_ends_at)
    _due_again(env, current, min(moments))


def _due_again(env: Environment, batch: Batch, at: Instant) -> None:
    key = records.batch_key(batch.tenant, batch.id)
    try:
        env.store.transact(
            Update(key, set=records.batch_due(batch, at), when=(Is("status", batch.status),))
        )
    except Conflict:
        return


def _delivery(env: Environment, delivery: Delivery) -> None:
    batches.tell(env, [delivery])
    key = records.delivery_key(delivery.tenant, delivery.batch_id, delivery.channel)
    due = records.delivery_due(delivery, env.clock.now() + env.limits.batch_check_seconds)
    try:
        env.store.transact(Update(key, set=due, when=(Is("status", "pending"),)))
    except Conflict:
        return
