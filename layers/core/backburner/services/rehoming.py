"""Move what waits in a pool that left the catalog to where its model runs now.

A deployment may take a model, or one of its backends, out of the catalog while batches wait there.
What is in flight is looked at as ever; what waits would wait for its deadline.
"""

import logging
import math
from contextlib import suppress

from msgspec.structs import replace

from backburner.domain.batch import Batch
from backburner.domain.catalog import Model
from backburner.domain.errors import Conflict
from backburner.domain.request import Instant, Usage
from backburner.domain.routing import takes
from backburner.domain.shard import LAST_PIECE, Shard, ShardStatus
from backburner.ports import Environment, Index
from backburner.services import (
    batches,
    capacity,
    collect,
    records,
    retries,
    shard_lines,
    transitions,
)

_PAGE = 25

#: Age from which on a batch's shards are moved. While a deployment goes on, functions know
#: different catalogs: what was just planned for a new model must not fail for an old one.
PATIENCE_SECONDS = 600.0

#: Most pieces that a shard is cut into, in one transaction: halved six times.
_MOST_HALVINGS = 6

_logger = logging.getLogger(__name__)


def rehome(env: Environment, pool: str, *, ends_at: Instant) -> None:
    """Find a place for all that waits in the pool, as far as there is time.

    Requests whose model is gone, or runs nowhere any more, fail.
    """
    after: str | None = None
    found: set[str] = set()
    while env.clock.now() < ends_at:
        items = env.store.query(pool, index=Index.QUEUE, after=after, limit=_PAGE)
        for item in items:
            after = str(item["queue_sort"])
            shard = records.to_shard(item)
            is_old = env.clock.now() >= shard.created_at + PATIENCE_SECONDS
            place = _settle(env, shard) if is_old else None
            if place is not None:
                found.add(place.pool)
        if len(items) < _PAGE:
            break
    for other in sorted(found):
        capacity.kick_for_new(env, other)


def _settle(env: Environment, shard: Shard) -> Model | None:
    """Where the shard waits from now on; None: its requests failed, or it moved on."""
    batch = batches.load(env, shard.tenant, shard.batch_id)
    model = env.catalog.get(shard.model)
    place = _place(model, batch, shard) if model is not None and batch is not None else None
    if place is not None:
        return place if _move(env, shard, place) else None
    code, reason = (
        ("model_not_found", f"The model '{shard.model}' was taken away before the request ran.")
        if model is None
        else ("no_backend", f"The model '{shard.model}' runs no such requests any more.")
    )
    collect.collect_failure(env, shard.ref, code=code, reason=reason)
    return None


def _place(model: Model, batch: Batch, shard: Shard) -> Model | None:
    """Where requests of the batch run: best where the shard is not too small for a job."""
    able = [
        place
        for place in model.places
        if batch.route in place.routes and not (batch.is_single and place.has_jobs)
    ]
    return next((one for one in able if takes(one, shard.line_count)), able[0] if able else None)


def _move(env: Environment, shard: Shard, place: Model) -> bool:
    """Have the shard wait at the place, in pieces if it is too large; False: it moved on."""
    halvings = _halvings(shard, place)
    moved = replace(shard, pool=place.pool)
    if halvings:
        requests = shard_lines.request_lines(env, shard)
        made = retries.pieces(env, moved, requests, count=2**halvings)
        # They did not fail: nothing is to be concluded from it, nor waited for.
        made = tuple(replace(one, failed_at=shard.failed_at, not_before=0.0) for one in made)
        done = replace(shard, status=ShardStatus.DONE, succeeded=0, failed=0, result_inline=b"")
        writes = transitions.finish(
            shard, done, completed=0, failed=0, usage=Usage(), retries=made, now=env.clock.now()
        )
    else:
        writes = transitions.rehome(shard, moved)
    with suppress(Conflict):
        env.store.transact(*writes)
        _logger.info(
            "shard.moved shard=%s from=%s to=%s pieces=%d",
            *(shard.ref, shard.pool, place.pool, 2**halvings),
        )
        return True
    return False


def _halvings(shard: Shard, place: Model) -> int:
    """How often the shard is halved, so that its pieces are no larger than those of the place."""
    most = min(_MOST_HALVINGS, int(math.log2(LAST_PIECE / (2 * shard.piece))))
    if shard.is_raw or place.has_jobs:
        return 0
    return max(0, min(most, math.ceil(math.log2(shard.line_count / place.cut.lines))))
