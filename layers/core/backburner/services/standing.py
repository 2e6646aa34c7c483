"""Look at where a batch stands, for whoever wants to know when it will have ended."""

from contextlib import suppress

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.errors import Conflict
from backburner.domain.progress import Standing, next_mark
from backburner.ports import Environment, Index, Is, Update
from backburner.services import capacity, progressing, records

#: Shards of a queue that are read to find the batch's next one.
LOOKED_AT = 100


def look(env: Environment, batch: Batch) -> Standing | None:
    """What the batch stands behind: one item and one page of the queue; None: it does not wait.

    Nor is that known of a batch of several models, which waits in as many queues.
    """
    model = env.catalog.get(batch.model or "")
    is_running = batch.status is BatchStatus.IN_PROGRESS and batch.stopping is None
    if model is None or not is_running or batch.paused:
        return None
    model = model.at(batch.pool) if batch.pool is not None else model
    pool = capacity.load(env, model.pool)
    queued = env.store.query(model.pool, index=Index.QUEUE, limit=LOOKED_AT)
    owners = [(item["tenant"], item["batch_id"]) for item in queued]
    own = (batch.tenant, batch.id)
    place = owners.index(own) if own in owners else None
    before = queued if place is None else queued[:place]
    is_whole = place is not None or len(queued) < LOOKED_AT
    lines = sum(int(item["line_count"]) for item in before) if place is not None else 0
    return Standing(
        model=model, pool=pool, shards_before=place, lines_before=lines if is_whole else None
    )


def mark(env: Environment, batch: Batch) -> None:
    """Note how many requests have ended, once a minute: the recent rate is made of it."""
    marked = next_mark(batch, env.clock.now()) if batch.status is BatchStatus.IN_PROGRESS else None
    if marked is not None:
        key = records.batch_key(batch.tenant, batch.id)
        with suppress(Conflict):  # it moved on
            env.store.transact(Update(key, set=marked, when=(Is("status", batch.status),)))
            if batch.tells_progress:
                progressing.ask(env, batch)
