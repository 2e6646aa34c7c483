"""Load batches, see what each needs next, and stop or end them."""

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from backburner.domain import reasons
from backburner.domain.batch import (
    STOPPED,
    Batch,
    BatchKind,
    BatchStatus,
    Step,
    StopReason,
    next_step,
)
from backburner.domain.errors import Conflict, NotFound
from backburner.domain.finding import Finding
from backburner.domain.request import Instant
from backburner.domain.shard import Shard, ShardStatus, root_id, shard_id
from backburner.domain.slots import backend_of
from backburner.ports import Environment, Is, Item, Missing, QueueName, Update
from backburner.services import files, membership, mirror, outbox, records, transitions, webhooks

#: Shards dropped in one transaction: beside each may stand a pool and a share.
_DROPPED_AT_ONCE = 30
#: Shards dropped in one call: a client that cancels waits for it, 29 seconds at most.
_DROPPED_A_CALL = 10 * _DROPPED_AT_ONCE

#: Looks at a batch that is to be cancelled.
_TRIES = 3

#: From this long after its deadline on, a batch that hangs is asked for twice rather than late,
#: and no job is waited for.
_LATE_SECONDS = 600.0


def load(env: Environment, tenant: str, batch_id: str) -> Batch | None:
    (item,) = env.store.get(records.batch_key(tenant, batch_id))
    return records.to_batch(item) if item is not None else None


def find(
    env: Environment, tenant: str, batch_id: str, *, kind: BatchKind = BatchKind.FILE
) -> Batch:
    """The tenant's batch; raises NotFound."""
    return _found(load(env, tenant, batch_id), batch_id, kind)


def find_single(
    env: Environment, tenant: str, batch_id: str, *, kind: BatchKind
) -> tuple[Batch, list[Shard]]:
    """The tenant's single request, and its shards: mostly one read; raises NotFound."""
    first = records.shard_key(tenant, batch_id, shard_id(1))
    item, shard_item = env.store.get(records.batch_key(tenant, batch_id), first)
    batch = _found(records.to_batch(item) if item is not None else None, batch_id, kind)
    only = _only_shard(shard_item)
    # Of two items that are read at once, either may be the older one.
    if only is None or (only.is_open and batch.is_terminal):
        return batch, shards(env, batch)
    return batch, [only]


def _found(batch: Batch | None, batch_id: str, kind: BatchKind) -> Batch:
    if batch is None or batch.kind is not kind:
        raise NotFound(f"No such {kind.noun.capitalize()} object: {batch_id}", param="id")
    return batch


def page(
    env: Environment,
    tenant: str,
    *,
    kind: BatchKind = BatchKind.FILE,
    after: str | None = None,
    before: str | None = None,
    limit: int,
) -> tuple[list[Batch], bool]:
    """Batches of a tenant, newest first, and whether there are more in that direction.

    Args:
        env: the world.
        tenant: whose.
        kind: of batches.
        after: the page begins after this one, with older ones.
        before: instead, the page ends before this one: those that are next newer.
        limit: most batches of the page.
    """
    items = env.store.query(
        records.partition_of(tenant, kind),
        after=before or after,
        limit=limit + 1,
        newest_first=before is None,
    )
    found = [records.to_batch(item) for item in items[:limit]]
    return found[::-1] if before else found, len(items) > limit


def shards(env: Environment, batch: Batch) -> list[Shard]:
    """All shards of the batch that were ever queued; of a single request, mostly one read."""
    if batch.is_single:
        (item,) = env.store.get(records.shard_key(batch.tenant, batch.id, shard_id(1)))
        only = _only_shard(item)
        if only is not None:
            return [only]
    return list(each_shard(env, batch))


def _only_shard(first: Item | None) -> Shard | None:
    """The one shard of a single request; None: the request was tried again as another one."""
    shard = records.to_shard(first) if first is not None else None
    if shard is None or (shard.status is ShardStatus.DONE and not shard.ended_lines):
        return None
    return shard


def each_shard(env: Environment, batch: Batch) -> Iterator[Shard]:
    """The same, read page by page."""
    after: str | None = None
    while True:
        items = env.store.query(
            f"{batch.tenant}/{batch.id}", prefix="shard/", after=after, limit=1000
        )
        yield from map(records.to_shard, items)
        if len(items) < 1000:
            return
        after = f"shard/{items[-1]['id']}"


def errors_key(batch: Batch) -> str:
    return f"errors/{batch.tenant}/{batch.id}.json"


def findings(env: Environment, batch: Batch) -> list[Finding]:
    """Why a failed batch was not accepted or did not go on; empty for any other."""
    if batch.status is not BatchStatus.FAILED:
        return []
    if batch.stopping is not None:
        code = STOPPED[batch.stopping][1]
        return [Finding(code=code, message=batch.failure or "")]
    return msgspec.json.decode(env.blobs.get(errors_key(batch)), type=list[Finding])


def reject(env: Environment, batch: Batch, found: list[Finding]) -> None:
    """Validating → failed: the input can't be run. Does nothing if the batch moved on already."""
    env.blobs.put(errors_key(batch), msgspec.json.encode(found), content_type="application/json")
    mirror.reject(env, batch.dropped_key, found)
    now = env.clock.now()
    ended = transitions.ended_as(
        batch,
        BatchStatus.FAILED,
        now=now,
        failure=found[0].message,
        reasons=reasons.counted(reasons.known(finding.code) for finding in found),
    )
    told = outbox.of_end(env, ended, webhooks.load(env, batch.tenant))
    try:
        env.store.transact(
            *transitions.end(
                batch,
                ended,
                deliveries=told,
                when=(Is("status", BatchStatus.VALIDATING), Missing("stopping")),
            )
        )
    except Conflict:
        return
    outbox.send(env, told)


def prefix_of(tenant: str, batch_id: str) -> str:
    """Prefix of every object that belongs to the batch, or bundle, alone."""
    return f"batches/{tenant}/{batch_id}/"


def remove_objects(env: Environment, tenant: str, batch_id: str) -> None:
    """Remove every object that belongs to the batch alone: it was deleted, or is about to be."""
    env.blobs.delete(*[stat.key for stat in env.blobs.list(prefix_of(tenant, batch_id))])


def clean_up(env: Environment, tenant: str, batch_id: str) -> None:
    """Remove the objects that only the running batch needed, once it has ended.

    Whoever handles a message of the batch comes here: the one that ended it may have died.
    """
    ended = load(env, tenant, batch_id)
    if ended is None or not ended.is_terminal or ended.is_single:
        return
    unused = [stat.key for stat in env.blobs.list(ended.blob_prefix)]
    names = {"output": ended.output_file_id, "errors": ended.error_file_id}
    if ended.retry_of is not None:
        names["merged"] = ended.merged_file_id
    for name, used in names.items():
        if used is None:
            unused.append(files.blob_key(tenant, files.result_id(batch_id, name)))
    env.blobs.delete(*unused)


def advance(env: Environment, tenant: str, batch_id: str) -> None:
    """See to what the batch needs next. Safe to call at any time, as often as one likes."""
    batch = load(env, tenant, batch_id)
    if batch is not None:
        move_on(env, batch)


def move_on(env: Environment, batch: Batch) -> None:
    """The same for a batch as it was just loaded."""
    step = next_step(batch, now=env.clock.now(), canary_threshold=env.limits.canary_threshold)
    match step:
        case Step.PLAN | Step.RELEASE | Step.REQUEUE:
            ask(env, batch, QueueName.PLAN)
        case Step.FINALIZE:
            ask(env, batch, QueueName.FINALIZE)
        case Step.STOP_CANARY:
            ran = batch.completed + batch.failed - batch.skipped
            stop(
                env,
                batch,
                StopReason.CANARY,
                failure=f"{batch.failed - batch.skipped} of the batch's first {ran} requests "
                "failed; the rest was not run.",
            )
        case Step.STOP_EXPIRED:
            stop(env, batch, StopReason.EXPIRED)
        case Step.STOP_BUDGET:
            stop(env, batch, StopReason.BUDGET)
        case Step.DRAIN:
            drain(env, batch)
        case Step.WAIT:
            pass


def ask(env: Environment, batch: Batch, queue: QueueName) -> None:
    """Have a function see to the batch, and keep reap from asking again while it may be at it.

    Sent first: should the process die in between, the batch is asked for twice and not too late.
    """
    env.queue.send(queue, {"tenant": batch.tenant, "batch_id": batch.id})
    look_again(env, batch, at=env.clock.now() + env.limits.work_seconds)


def look_again(env: Environment, batch: Batch, *, at: Instant) -> None:
    """Have reap look at the batch at this instant, or sooner if one of its own comes before."""
    now = env.clock.now()
    own = (batch.expires_at, batch.grace_ends_at or 0.0, batch.expires_at + _LATE_SECONDS)
    due = records.batch_due(batch, min([at, *(one for one in own if one > now)]))
    key = records.batch_key(batch.tenant, batch.id)
    try:
        env.store.transact(Update(key, set=due, when=(Is("status", batch.status),)))
    except Conflict:  # it moved on
        return


def busy_until(env: Environment, batch: Batch) -> Instant:
    """Until when the first planner or finalizer of the batch may still be at work."""
    if batch.status is BatchStatus.VALIDATING:
        return min(batch.created_at + env.limits.work_seconds, batch.expires_at)
    if batch.status is BatchStatus.FINALIZING and batch.finalizing_at is not None:
        until = batch.finalizing_at + env.limits.work_seconds
        return min(until, batch.expires_at + _LATE_SECONDS)
    return 0.0


def cancel(env: Environment, tenant: str, batch_id: str, *, kind: BatchKind) -> Batch:
    """Stop a batch; what has finished is kept. Raises NotFound.

    A batch that is stopping or has ended is returned as it is: the caller's dialect decides
    whether that is an error.
    """
    for _ in range(_TRIES):  # it may just begin to stop for its budget
        batch = find(env, tenant, batch_id, kind=kind)
        if batch.is_terminal or batch.status in (BatchStatus.FINALIZING, BatchStatus.CANCELLING):
            return batch
        stop(env, batch, StopReason.CANCELLED)
    return find(env, tenant, batch_id, kind=kind)


def stop(env: Environment, batch: Batch, reason: StopReason, *, failure: str | None = None) -> None:
    """Claim no more of the batch's shards, and drop those that wait."""
    now = env.clock.now()
    check = env.limits.batch_check_seconds
    grace = 0.0 if batch.is_single else env.limits.grace_seconds
    if reason is StopReason.BUDGET:  # what is in flight is paid for
        grace = max(0.0, batch.expires_at - now)
    try:
        env.store.transact(
            *transitions.stop(
                batch,
                reason,
                now=now,
                grace_ends_at=now + grace,
                check_at=now + min(check, grace or check),
                failure=failure,
            )
        )
    except Conflict:
        return
    stopped = load(env, batch.tenant, batch.id)
    if stopped is not None:
        drain(env, stopped)


def drain(env: Environment, batch: Batch) -> None:
    """Drop the waiting shards of a stopping batch, and those in flight once the grace is over.

    One call drops so many; for the rest it asks for another.
    """
    if batch.stopping is None:
        return
    if not batch.is_released:
        _drop_unreleased(env, batch)
    found = list(islice(_ending(env, batch), _DROPPED_A_CALL + 1))
    for start in range(0, _DROPPED_A_CALL, _DROPPED_AT_ONCE):
        _drop(env, found[start : min(start + _DROPPED_AT_ONCE, _DROPPED_A_CALL)])
    after = load(env, batch.tenant, batch.id)
    if after is None or after.is_terminal:
        return
    if after.open_shards == 0:
        ask(env, after, QueueName.FINALIZE)
    elif len(found) > _DROPPED_A_CALL:
        ask(env, after, QueueName.PLAN)


def _ending(env: Environment, batch: Batch) -> Iterator[Shard]:
    """Shards of a stopping batch that may not go on; jobs that still may are asked to stop.

    A job that stops has a result with what it finished, and the grace to bring it. Where the
    budget is used up, it may go on until the deadline: it is paid for.
    """
    now, grace_ends_at = env.clock.now(), batch.grace_ends_at or 0.0
    for shard in each_shard(env, batch):
        if shard.is_open and shard.status is not ShardStatus.IN_FLIGHT:
            yield shard
        elif shard.is_open:
            model = env.catalog.running(shard.model, shard.pool)
            is_job = shard.job is not None or (model is not None and model.has_jobs)
            is_job = is_job and shard.bundle is None  # others need it, and it is short
            if now >= (_jobs_end_at(env, batch) if is_job else grace_ends_at):
                yield shard
            elif is_job and (batch.stopping is not StopReason.BUDGET or now >= grace_ends_at):
                stop_attempt(env, shard)


def _jobs_end_at(env: Environment, batch: Batch) -> Instant:
    """When jobs of a stopping batch are given up.

    They stop when they like, and what they finished is paid for: so late, but for its deadline.
    """
    patient = (batch.grace_ends_at or 0.0) + env.limits.job_grace_seconds
    return min(patient, batch.expires_at + _LATE_SECONDS)


def stop_attempt(env: Environment, shard: Shard) -> None:
    """Have the backend stop what it runs of the shard, if it can, and if nobody else needs it."""
    bundle = membership.of(env, shard)
    if bundle is not None:
        if membership.current(env, bundle):
            return
        shard = bundle.shard
    backend = env.backends.get(backend_of(shard.pool))
    if backend is not None:
        backend.stop(shard)


def _drop(env: Environment, some: Sequence[Shard]) -> None:
    """Drop shards of one batch; those that moved are left to reap."""
    if not some:
        return
    try:
        env.store.transact(*transitions.drop(some))
    except Conflict:
        for shard in some if len(some) > 1 else ():
            _drop(env, [shard])
        return
    for shard in some:
        if shard.status is ShardStatus.IN_FLIGHT:
            stop_attempt(env, shard)


def _drop_unreleased(env: Environment, batch: Batch) -> None:
    """All that was planned, less what is queued: the manifest may be lost."""
    shards, lines = batch.planned_shards, batch.total - batch.skipped
    for shard in each_shard(env, batch):
        if shard.id == root_id(shard):
            shards, lines = shards - 1, lines - shard.line_count
    try:
        env.store.transact(*transitions.drop_unreleased(batch, shards=shards, lines=lines))
    except Conflict:
        return
