"""Commit the outcomes of a shard's attempt: what stands, what is tried again, what ends with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from backburner.domain import reasons
from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.delivery import Delivery
from backburner.domain.errors import Conflict, Lost, NotFound
from backburner.domain.request import Outcome, Usage
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.domain.webhook import Hooks
from backburner.ports import MAX_WRITES, Environment, Is, Write
from backburner.services import (
    batches,
    capacity,
    deliver,
    mirror,
    outbox,
    raw,
    records,
    retries,
    shard_lines,
    standing,
    transitions,
)

_TRIES = 10


def load_open(env: Environment, ref: AttemptRef) -> Shard | None:
    (item,) = env.store.get(records.shard_key(ref.tenant, ref.batch_id, ref.shard_id))
    shard = records.to_shard(item) if item is not None else None
    return shard if shard is not None and shard.is_open else None


def requests_left(env: Environment, ref: AttemptRef, shard: Shard | None) -> list[bytes] | None:
    """Requests of an open shard; None: it has ended, if only just now, and they were removed."""
    if shard is None:
        return None
    try:
        return shard_lines.request_lines(env, shard)
    except (NotFound, Lost):
        if load_open(env, ref) is None:
            return None
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """What an attempt brought a shard."""

    #: May be later than the shard knows: the backend seemed to throttle it, and started it all the
    #: same.
    ref: AttemptRef
    #: As it was seen, open.
    shard: Shard
    requests: list[bytes]
    #: One of each.
    outcomes: list[Outcome]
    #: To a raw request.
    answer: raw.Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settlement:
    """What comes of it, before it is written."""

    attempted: Attempted
    done: Shard
    again: Sequence[Shard]
    #: The single request that ends with it.
    ended: Batch | None
    told: Sequence[Delivery]
    writes: Sequence[Write]


def failure(env: Environment, shard: Shard, *, code: str, reason: str) -> Attempted | None:
    """Each line of the shard's current attempt failed; None: the shard has ended."""
    requests = requests_left(env, shard.ref, shard)
    if requests is None:
        return None
    outcomes = [
        Outcome(line=line, custom_id=custom_id, code=code, message=reason)
        for line, custom_id in env.shards.names(requests).items()
    ]
    return Attempted(ref=shard.ref, shard=shard, requests=requests, outcomes=outcomes)


def save(env: Environment, attempted: Attempted) -> None:
    """Commit the outcomes, unless another result of the shard was first."""
    shard, ref = attempted.shard, attempted.ref
    for _ in range(_TRIES):
        settlement = _settle(env, replace(attempted, shard=shard), *_load_single(env, shard))
        try:
            env.store.transact(*settlement.writes)
        except Conflict:
            seen = load_open(env, ref)
            if batches.load(env, shard.tenant, shard.batch_id) is None:
                # It was deleted meanwhile: nobody will ask for what was just written.
                batches.remove_objects(env, shard.tenant, shard.batch_id)
                return
            if seen is None:
                batches.clean_up(env, shard.tenant, shard.batch_id)
                return
            shard = seen
            continue
        _go_on(env, [settlement])
        return
    raise Conflict(f"shard {ref} keeps changing")


def save_all(env: Environment, several: Sequence[Attempted]) -> None:
    """The same for several shards of one tenant and pool, as many as may be in one transaction.

    Where one of them moved on meanwhile, each is saved for itself.
    """
    singles, hooks = _load_singles(env, [one.shard for one in several])
    settled = [_settle(env, one, singles.get(one.shard.batch_id), hooks) for one in several]
    for some, writes in _in_transactions(settled):
        try:
            env.store.transact(*writes)
        except Conflict:
            for one in some:
                save(env, one.attempted)
        else:
            _go_on(env, some)


def _in_transactions(
    settled: Sequence[_Settlement],
) -> Iterator[tuple[list[_Settlement], Sequence[Write]]]:
    """Settlements whose writes fit into one transaction, with these writes."""
    some: list[_Settlement] = []
    writes: Sequence[Write] = ()
    for one in settled:
        added = transitions.together(writes, one.writes)
        if some and (added is None or len(added) > MAX_WRITES):
            yield some, writes
            some, added = [], None
        some.append(one)
        writes = added or one.writes
    if some:
        yield some, writes


def _settle(
    env: Environment, attempted: Attempted, single: Batch | None, hooks: Hooks
) -> _Settlement:
    shard, answer = attempted.shard, attempted.answer
    shard_tried = structs.replace(shard, attempt=max(attempted.ref.attempt, shard.attempt))
    verdict = retries.judge(env, shard_tried, attempted.outcomes)
    done = _store_outcomes(env, shard_tried, verdict.parted.final)
    if answer is not None:
        done = structs.replace(done, answer_key=answer.key, answer_type=answer.content_type)
    again = retries.shards(env, done, attempted.requests, verdict)
    ended = _ended(env, single, done, verdict) if not again else None
    if ended is not None and done.is_raw:
        mirror.publish_raw(env, ended, done, verdict.parted.final[0])
    told = deliver.begun(env, outbox.of_end(env, ended, hooks)) if ended is not None else []
    writes = _writes(env, shard, done, verdict, again, _ending(single, ended, told))
    return _Settlement(
        attempted=attempted, done=done, again=again, ended=ended, told=told, writes=writes
    )


def _go_on(env: Environment, settled: Sequence[_Settlement]) -> None:
    """What follows once it is written: retries, the next step of a batch, deliveries."""
    for one in settled:
        if one.ended is None:
            _move_on(env, one.attempted.shard, one.again)
    for pool in {one.done.pool for one in settled if one.done.bundle is None}:
        capacity.kick_if_waiting(env, pool)  # the slot of a bundle is freed at its own end
    deliver.begin(env, [(one.ended, one.told) for one in settled if one.ended is not None])


def _load_single(env: Environment, shard: Shard) -> tuple[Batch | None, Hooks]:
    """The single request of the shard, which ends with it, and the webhooks that are told of it.

    None: it is one of a file's shards. Their batch is looked at once the counts are updated.
    """
    if not records.kind_of(shard.batch_id).is_single:
        return None, Hooks()
    return outbox.load(env, shard.tenant, shard.batch_id)


def _load_singles(env: Environment, shards: Sequence[Shard]) -> tuple[dict[str, Batch], Hooks]:
    """The single requests of several shards of one tenant, by id, and its webhooks."""
    ids = {one.batch_id for one in shards if records.kind_of(one.batch_id).is_single}
    return outbox.load_all(env, shards[0].tenant, sorted(ids)) if ids else ({}, Hooks())


def _move_on(env: Environment, shard: Shard, again: Sequence[Shard]) -> None:
    """Have retries dispatched, or see what the batch needs next."""
    batch = batches.load(env, shard.tenant, shard.batch_id)
    if batch is None:
        return
    standing.mark(env, batch)
    if batch.has_budget and batch.model is None:
        _kick_others(env, shard)
    if not again or batch.stopping is not None or batch.has_budget:
        batches.move_on(env, batch)
    for retry in again if batch.stopping is None else ():
        pause = max(0.0, retry.not_before - env.clock.now())
        capacity.kick(env, retry.pool, delay_seconds=pause)


def _kick_others(env: Environment, ended: Shard) -> None:
    """What was in flight of one model may have left no room in the budget for those of another."""
    for pool in {model.pool for model in env.catalog.each()} - {ended.pool}:
        capacity.kick_if_waiting(env, pool)


def _store_outcomes(env: Environment, shard: Shard, final: Sequence[Outcome]) -> Shard:
    """The shard as done, with its final outcomes inline or in an object."""
    succeeded = sum(outcome.is_success for outcome in final)
    is_file = records.kind_of(shard.batch_id) is BatchKind.FILE
    batch_id = shard.batch_id if is_file else None
    kept = env.shards.keep(final, batch_id=batch_id)
    done = structs.replace(
        shard,
        status=ShardStatus.DONE,
        look_at=None,
        lease_ends_at=None,
        output_location=None,
        failure_location=None,
        succeeded=succeeded,
        failed=len(final) - succeeded,
    )
    if len(kept) <= env.limits.inline_bytes:
        return structs.replace(done, result_inline=kept)
    return structs.replace(done, result_key=retries.put(env, shard, f"results/{shard.id}", kept))


def _ended(
    env: Environment, single: Batch | None, done: Shard, verdict: retries.Verdict
) -> Batch | None:
    """The single request as it ends with its shard; None: there is none, or it is stopping."""
    if single is None or single.status is not BatchStatus.IN_PROGRESS:
        return None
    final = verdict.parted.final
    usage = sum((outcome.usage for outcome in final), Usage())
    is_response = single.kind is BatchKind.RESPONSE
    return transitions.ended_as(
        single,
        BatchStatus.COMPLETED if done.succeeded else BatchStatus.FAILED,
        now=env.clock.now(),
        completed=done.succeeded or 0,
        failed=done.failed or 0,
        open_shards=0,
        response_status=env.shards.response_status(final[0]) if is_response else None,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        reasons=reasons.counted(
            reasons.code_of(outcome) for outcome in verdict.parted.final if not outcome.is_success
        ),
    )


def _ending(single: Batch | None, ended: Batch | None, told: Sequence[Delivery]) -> list[Write]:
    if single is None or ended is None:
        return []
    when = (Is("status", BatchStatus.IN_PROGRESS),)
    return transitions.end(single, ended, deliveries=told, when=when)


def _writes(
    env: Environment,
    shard: Shard,
    done: Shard,
    verdict: retries.Verdict,
    again: Sequence[Shard],
    ending: Sequence[Write],
) -> list[Write]:
    usage = sum((outcome.usage for outcome in verdict.parted.final), Usage())
    model = env.catalog.running(shard.model, shard.pool)
    return transitions.finish(
        shard,
        done,
        completed=done.succeeded or 0,
        failed=done.failed or 0,
        usage=usage,
        retries=again,
        now=env.clock.now(),
        cost_nanos=model.cost_nanos(usage) if model is not None else 0,
        probe_below=env.limits.retry.max_probes if verdict.is_probe else None,
        ending=ending,
    )
