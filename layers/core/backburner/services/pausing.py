"""Pause a batch and let it go on: what is in flight finishes, nothing new is started."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.errors import Conflict, StateConflict
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Environment, QueueName, Write
from backburner.services import batches, capacity, transitions

#: Makes the writes that move waiting shards aside, or back.
_Transition = Callable[[Sequence[Shard]], list[Write]]

#: Shards moved in one transaction: beside each may stand a pool and a share.
_MOVED_AT_ONCE = 33
#: Shards moved in one call: a client that pauses waits for it.
_MOVED_A_CALL = 8 * _MOVED_AT_ONCE

_TRIES = 5


def pause(env: Environment, tenant: str, batch_id: str) -> Batch:
    """Claim no more of the batch's shards until it is resumed. Again is no error.

    The deadline goes on: a paused batch expires like any other.

    Raises:
        NotFound: the tenant has no such batch.
        StateConflict: it has ended, or is about to.
    """
    go_on_pausing(env, _set(env, tenant, batch_id, paused=True))
    return batches.find(env, tenant, batch_id)


def resume(env: Environment, tenant: str, batch_id: str) -> Batch:
    """Let a paused batch go on, and start capacity for it. Again is no error.

    Raises:
        NotFound: the tenant has no such batch.
        StateConflict: it has ended, or is about to.
    """
    batch = _set(env, tenant, batch_id, paused=False)
    requeue(env, batch)
    batches.advance(env, tenant, batch_id)
    return batches.find(env, tenant, batch_id)


def _set(env: Environment, tenant: str, batch_id: str, *, paused: bool) -> Batch:
    for _ in range(_TRIES):
        batch = batches.find(env, tenant, batch_id)
        if not batch.can_pause:
            word = "paused" if paused else "resumed"
            is_running = batch.status is BatchStatus.IN_PROGRESS
            standing = "stopping" if is_running else batch.status
            raise StateConflict(f"The batch can't be {word}: it is {standing}.", param="id")
        if batch.paused is paused:
            return batch
        with suppress(Conflict):  # it moved on
            env.store.transact(*transitions.pause(batch, paused=paused))
    raise Conflict(f"batch {batch_id} keeps changing")


def go_on_pausing(env: Environment, batch: Batch) -> None:
    """Take what waits of a paused batch out of the queue; if it is much, ask for another call."""
    if set_aside(env, batch):
        env.queue.send(QueueName.PLAN, {"tenant": batch.tenant, "batch_id": batch.id})


def set_aside(env: Environment, batch: Batch) -> bool:
    """Take what waits of a paused batch out of the queue, where it would cost instances.

    What comes into the queue later, or is left there by a crash, dispatch brings here.

    Returns:
        Whether there is more than one call moves.
    """
    waiting = _shards(env, batch, ShardStatus.WAITING) if batch.paused else []
    for some in _groups(waiting):
        _move(env, transitions.set_aside, some)
    return len(waiting) > _MOVED_A_CALL


def requeue(env: Environment, batch: Batch) -> None:
    """Put the shards of a batch that goes on back into the queue, and have it looked at.

    One call moves so many; for the rest it asks for another. The batch counts those that are left.
    """
    if batch.paused or batch.stopping is not None or not batch.paused_shards:
        return
    aside = _shards(env, batch, ShardStatus.PAUSED)
    for some in _groups(aside):
        _move(env, transitions.requeue, some)
    for pool in {shard.pool for shard in aside}:
        capacity.kick_for_new(env, pool)
    if len(aside) > _MOVED_A_CALL:
        env.queue.send(QueueName.PLAN, {"tenant": batch.tenant, "batch_id": batch.id})


def _shards(env: Environment, batch: Batch, status: ShardStatus) -> list[Shard]:
    """So many of the batch's shards in this state, and one more if there are."""
    found = (one for one in batches.each_shard(env, batch) if one.status is status)
    return list(islice(found, _MOVED_A_CALL + 1))


def _groups(shards: list[Shard]) -> Iterator[Sequence[Shard]]:
    for start in range(0, _MOVED_A_CALL, _MOVED_AT_ONCE):
        if some := shards[start : min(start + _MOVED_AT_ONCE, _MOVED_A_CALL)]:
            yield some


def _move(env: Environment, transition: _Transition, some: Sequence[Shard]) -> None:
    """Move shards of one batch; those that moved otherwise, or of a batch that did, stay."""
    try:
        env.store.transact(*transition(some))
    except Conflict:
        for shard in some if len(some) > 1 else ():
            _move(env, transition, [shard])
