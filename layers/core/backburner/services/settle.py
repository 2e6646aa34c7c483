"""Commit the outcomes of a shard's attempt: what stands, what is tried again, what ends with it."""

from collections.abc import Sequence
from dataclasses import replace

from backburner.domain import reasons
from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.delivery import Delivery
from backburner.domain.errors import Conflict, Lost, NotFound
from backburner.domain.request import Outcome, Usage
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.domain.webhook import Hooks
from backburner.ports import Environment, Is, Write
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


def fail(env: Environment, shard: Shard, *, code: str, reason: str) -> None:
    """Each line of the shard's current attempt failed."""
    requests = requests_left(env, shard.ref, shard)
    if requests is None:
        return
    outcomes = [
        Outcome(line=line, custom_id=custom_id, code=code, message=reason)
        for line, custom_id in map(env.shards.head, requests)
    ]
    save(env, shard.ref, shard, requests, outcomes)


def save(
    env: Environment,
    ref: AttemptRef,
    shard: Shard,
    requests: list[bytes],
    outcomes: list[Outcome],
    *,
    answer: raw.Answer | None = None,
) -> None:
    """Commit the outcomes, unless another result of the shard was first.

    The attempt may be later than the shard knows: the backend seemed to throttle it, and started
    it all the same.
    """
    for _ in range(_TRIES):
        attempt = max(ref.attempt, shard.attempt)
        verdict = retries.judge(env, replace(shard, attempt=attempt), outcomes)
        done = _store_outcomes(env, replace(shard, attempt=attempt), verdict.parted.final)
        if answer is not None:
            done = replace(done, answer_key=answer.key, answer_type=answer.content_type)
        again = retries.shards(env, done, requests, verdict)
        single, hooks = _load_single(env, shard)
        ended = _ended(env, single, done, verdict) if not again else None
        if ended is not None and done.is_raw:
            mirror.publish_raw(env, ended, done, verdict.parted.final[0])
        told = deliver.begun(env, outbox.of_end(env, ended, hooks)) if ended is not None else []
        writes = _writes(env, shard, done, verdict, again, _ending(single, ended, told))
        try:
            env.store.transact(*writes)
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
        if ended is None:
            _go_on(env, shard, again)
        if shard.bundle is None:  # what frees the slot of a bundle is its own end
            capacity.kick_if_waiting(env, shard.pool)
        if ended is not None:
            deliver.begin(env, ended, told)
        return
    raise Conflict(f"shard {shard.ref} keeps changing")


def _load_single(env: Environment, shard: Shard) -> tuple[Batch | None, Hooks]:
    """The single request of the shard, which ends with it, and the webhooks that are told of it.

    None: it is one of a file's shards. Their batch is looked at once the counts are updated.
    """
    if not records.kind_of(shard.batch_id).is_single:
        return None, Hooks()
    return outbox.load(env, shard.tenant, shard.batch_id)


def _go_on(env: Environment, shard: Shard, again: Sequence[Shard]) -> None:
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
    kept = b"".join(env.shards.keep(outcome, batch_id=batch_id) + b"\n" for outcome in final)
    done = replace(
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
        return replace(done, result_inline=kept)
    return replace(done, result_key=retries.put(env, shard, f"results/{shard.id}", kept))


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
