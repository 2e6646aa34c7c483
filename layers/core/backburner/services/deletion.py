"""Remove a single request with all that is known of it."""

from backburner.domain.batch import BatchKind
from backburner.domain.errors import Conflict
from backburner.ports import Environment
from backburner.services import batches, outbox, records, transitions


def delete(env: Environment, tenant: str, batch_id: str, *, kind: BatchKind) -> None:
    """Remove a single request, its objects first; one that still runs is cancelled.

    Who deletes needs no word of the end: what was not told yet isn't.

    Raises:
        Conflict: it was just changing; it can be deleted in a moment.
        NotFound: the tenant has no such request.
    """
    batch = batches.cancel(env, tenant, batch_id, kind=kind)
    if batch.open_shards:
        raise Conflict(f"{batch_id} keeps changing")
    batches.remove_objects(env, tenant, batch_id)
    shards = [records.shard_key(tenant, batch_id, shard.id) for shard in batches.shards(env, batch)]
    told = [records.key_of(delivery) for delivery in outbox.of_batch(env, tenant, batch_id)]
    env.store.transact(*transitions.forget(batch, [*shards, *told]))
