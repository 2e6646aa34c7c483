"""Take in the result of a shard: what stands, what is tried again, what is left to do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

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
    standing,
    transitions,
)

_TRIES = 10

#: Prefix of what backends write: the endpoint configuration's S3OutputPath.
OUTPUT_PREFIX = "async/output/"


def collect_result(
    env: Environment, ref: AttemptRef, *, result_key: str, content_type: str | None = None
) -> None:
    """The backend says that it wrote the attempt's result to this object.

    If the object is not there, or is none of the attempt's, the lines are tried again:
    `missing_result`. Where the shard has ended already, nothing changes; either way nobody needs
    the object any more. The answer to a raw request is kept as it is: nobody here reads it.
    """
    shard = _load_open(env, ref)
    is_its = _is_result(env, ref, shard, result_key)
    key = result_key if is_its else None
    if shard is not None and shard.is_raw:
        is_over = _take_answer(env, ref, shard, key, content_type)
    else:
        is_over = _take_lines(env, ref, shard, key)
    if is_its and is_over:
        env.blobs.delete(result_key)


def _take_lines(env: Environment, ref: AttemptRef, shard: Shard | None, key: str | None) -> bool:
    """Save the lines of a result; False: a later attempt is on its way."""
    requests = _requests_left(env, ref, shard)
    if shard is None or requests is None:
        return True
    named = dict(map(env.shards.head, requests))
    outcomes = _outcomes(env, named, key) if key is not None else None
    if outcomes is None and ref.attempt < shard.attempt:
        return False
    if outcomes is None:
        outcomes = list(env.shards.outcomes(named, iter(())))
    _save(env, ref, shard, requests, outcomes)
    return True


def _take_answer(
    env: Environment, ref: AttemptRef, shard: Shard, key: str | None, content_type: str | None
) -> bool:
    """Save the answer to a raw request; False: a later attempt is on its way."""
    answer = raw.keep(env, shard, ref, key, content_type=content_type) if key is not None else None
    if answer is None and ref.attempt < shard.attempt:
        return False
    _save(env, ref, shard, [], [raw.outcome(env, answer)], answer=answer)
    return True


def collect_failure(
    env: Environment, ref: AttemptRef, *, code: str, reason: str, status_code: int | None = None
) -> None:
    """The attempt failed as a whole: each of its lines did.

    Does nothing if the shard has ended already, or if a later attempt is on its way.

    Args:
        env: the world.
        ref: the attempt.
        code: `backend_failed` and `attempt_lost` are tried again, anything else is final.
        reason: in words that a client may see: nothing of ours, no account ids.
        status_code: that the model's server answered; it is that of a raw request.
    """
    shard = _load_open(env, ref)
    if shard is None or ref.attempt < shard.attempt:
        return
    if shard.is_raw:
        failed = raw.failure(env, shard, code=code, reason=reason, status_code=status_code)
        _save(env, ref, shard, [], [failed])
        return
    requests = _requests_left(env, ref, shard)
    if requests is None:
        return
    outcomes = [
        Outcome(line=line, custom_id=custom_id, code=code, message=reason)
        for line, custom_id in map(env.shards.head, requests)
    ]
    _save(env, ref, shard, requests, outcomes)


def _load_open(env: Environment, ref: AttemptRef) -> Shard | None:
    (item,) = env.store.get(records.shard_key(ref.tenant, ref.batch_id, ref.shard_id))
    shard = records.to_shard(item) if item is not None else None
    return shard if shard is not None and shard.is_open else None


def _is_result(env: Environment, ref: AttemptRef, shard: Shard | None, key: str) -> bool:
    """Whether it is the attempt's own object: its name says so, or the backend did at the start."""
    if key.startswith(f"{OUTPUT_PREFIX}{ref.tenant}/{ref.batch_id}/{ref.shard_id}-a{ref.attempt}."):
        return True
    told = shard.output_location if shard is not None and shard.attempt == ref.attempt else None
    return told is not None and key.startswith(OUTPUT_PREFIX) and env.blobs.key_of(told) == key


def _outcomes(env: Environment, named: Mapping[int, str], key: str) -> list[Outcome] | None:
    """One outcome for each request, from the result's lines; None: there is no such object.

    Of a result that is too large, what comes first stands: it was paid for.
    """
    try:
        with env.blobs.read(key) as stream:
            lines = _Lines(stream, env.limits.result_bytes)
            outcomes = list(env.shards.outcomes(named, iter(lines)))
    except NotFound:
        return None
    if not lines.has_more:
        return outcomes
    message = f"The model's results are larger than the limit of {env.limits.result_bytes} bytes."
    return [
        outcome
        if outcome.code != "missing_result"
        else Outcome(
            line=outcome.line,
            custom_id=outcome.custom_id,
            code="result_too_large",
            message=message,
        )
        for outcome in outcomes
    ]


@dataclass(slots=True)
class _Lines:
    """A stream's lines within the limit; it is not asked for its size."""

    stream: BinaryIO
    limit: int
    #: Whether there are more than these.
    has_more: bool = False

    def __iter__(self) -> Iterator[bytes]:
        left = self.limit
        while line := self.stream.readline(left + 1):
            left -= len(line)
            if left < 0:
                self.has_more = True
                return
            yield line


def _requests_left(env: Environment, ref: AttemptRef, shard: Shard | None) -> list[bytes] | None:
    """Requests of an open shard; None: it has ended, if only just now, and they were removed."""
    if shard is None:
        return None
    try:
        return request_lines(env, shard)
    except (NotFound, Lost):
        if _load_open(env, ref) is None:
            return None
        raise


def request_lines(env: Environment, shard: Shard) -> list[bytes]:
    data = shard.input_inline
    if data is None:
        data = env.blobs.get(shard.input_key) if shard.input_key else b""
    lines = data.split(b"\n")[:-1]
    if len(lines) != shard.line_count:
        raise Lost(f"{shard.ref}: {len(lines)} of {shard.line_count} requests are left.")
    return lines


def _save(
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
            seen = _load_open(env, ref)
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
    kept = b"".join(env.shards.keep(outcome) + b"\n" for outcome in final)
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


def kept_outcomes(env: Environment, shard: Shard) -> Iterator[Outcome]:
    """Final outcomes of a shard that is done, sorted by line."""
    if shard.result_inline is not None:
        yield from map(env.shards.kept, shard.result_inline.split(b"\n")[:-1])
    elif shard.result_key is not None:
        with env.blobs.read(shard.result_key) as stream:
            for line in stream:
                yield env.shards.kept(line)


def request_names(env: Environment, shard: Shard) -> Mapping[int, str]:
    """Line number to custom_id of a shard's requests."""
    return dict(map(env.shards.head, request_lines(env, shard)))
