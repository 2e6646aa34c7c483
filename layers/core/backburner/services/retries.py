"""What is tried again of a shard whose attempt has ended, and as which shards."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from backburner.domain.batch import STOPPED
from backburner.domain.request import RETRYABLE_CODES, Outcome
from backburner.domain.retry import (
    Fate,
    Sorted,
    fate,
    has_failed_as_a_whole,
    is_well,
    most_attempts,
    sort_outcomes,
)
from backburner.domain.shard import Shard, piece_id, retry_id
from backburner.ports import Environment
from backburner.services import records, routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a shard's lines."""

    parted: Sorted
    #: Whether those that are tried again are so in two halves.
    is_halved: bool = False
    #: Whether that is to find out if anything still succeeds.
    is_probe: bool = False


def judge(env: Environment, shard: Shard, outcomes: Sequence[Outcome]) -> Verdict:
    """Decide by the outcomes of the shard's attempt."""
    policy = env.limits.retry
    # A job that failed did so for no line of its own: each has its outcome, or was not looked at.
    if shard.line_count > 1 and not _is_job(env, shard) and has_failed_as_a_whole(shard, outcomes):
        decided, well = _fate(env, shard)
        if decided is Fate.HALVE:
            parted = Sorted(final=(), retry=tuple(outcomes))
            return Verdict(parted=parted, is_halved=True, is_probe=not well)
    is_last = shard.attempt >= most_attempts(shard, outcomes, policy=policy)
    parted = sort_outcomes(outcomes, is_last=is_last)
    if is_last and _is_job(env, shard) and any(_is_unrun(one) for one in parted.final):
        parted = replace(parted, final=_stopped(env, shard, parted.final))
    return Verdict(parted=parted)


def _is_unrun(outcome: Outcome) -> bool:
    """Whether the model's server, as far as anyone knows, never answered."""
    return not outcome.status_code and outcome.code in RETRYABLE_CODES


def _stopped(env: Environment, shard: Shard, final: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes of a job's last attempt: what was not run because its batch stops, says so."""
    (item,) = env.store.get(records.batch_key(shard.tenant, shard.batch_id))
    stopping = records.to_batch(item).stopping if item is not None else None
    if stopping is None:
        return tuple(final)
    _, code, message = STOPPED[stopping]
    return tuple(
        Outcome(line=one.line, custom_id=one.custom_id, code=code, message=message)
        if _is_unrun(one)
        else one
        for one in final
    )


def is_repeated(env: Environment, shard: Shard) -> bool:
    """Whether a shard whose attempt was lost is tried again as it is."""
    if _is_job(env, shard):
        return shard.attempt < env.limits.retry.max_attempts
    return _fate(env, shard)[0] is Fate.REPEAT


def shards(
    env: Environment, shard: Shard, requests: list[bytes], verdict: Verdict
) -> tuple[Shard, ...]:
    """New shards of the lines that are tried again; finished lines are in none."""
    if shard.is_raw:
        if not verdict.parted.retry:
            return ()
        return (_waiting(env, structs.replace(shard, id=retry_id(shard))),)
    again = {outcome.line for outcome in verdict.parted.retry}
    if not again:
        return ()
    lines = [line for line in requests if env.shards.head(line)[0] in again]
    if not verdict.is_halved:
        is_rest = shard.is_rest or bool(verdict.parted.final)
        return (_shard(env, structs.replace(shard, id=retry_id(shard), is_rest=is_rest), lines),)
    return pieces(env, shard, lines, count=2)


def pieces(
    env: Environment, shard: Shard, requests: list[bytes], *, count: int
) -> tuple[Shard, ...]:
    """New shards of the shard's requests: two halves, or as many as come of halving these again."""
    size = math.ceil(len(requests) / count)
    parts = (requests[start : start + size] for start in range(0, len(requests), size))
    return tuple(
        _shard(env, structs.replace(shard, id=piece_id(shard, piece), piece=piece, attempt=0), part)
        for piece, part in enumerate(parts, start=count * shard.piece)
    )


def put(env: Environment, shard: Shard, name: str, data: bytes) -> str:
    """Write an object of the batch; returns its key.

    The key names the content: of two who take in different results of one shard at once, one
    wins, and its objects must be its own.
    """
    digest = hashlib.sha256(data).hexdigest()[:16]
    key = f"batches/{shard.tenant}/{shard.batch_id}/{name}-{digest}.jsonl"
    env.blobs.put(key, data, content_type="application/jsonl")
    return key


def _is_job(env: Environment, shard: Shard) -> bool:
    model = env.catalog.running(shard.model, shard.pool)
    return shard.job is not None or (model is not None and model.has_jobs)


def _fate(env: Environment, shard: Shard) -> tuple[Fate, bool]:
    """What becomes of a shard that failed as a whole, and whether the endpoint is well."""
    (item,) = env.store.get(records.pool_key(shard.pool))
    pool = records.to_pool(item, shard.pool)
    return fate(shard, pool, policy=env.limits.retry), is_well(shard, pool)


def _shard(env: Environment, named: Shard, lines: list[bytes]) -> Shard:
    numbers = [env.shards.head(line)[0] for line in lines]
    place = routing.place_of_rest(env, named.model, named.pool, len(lines))
    data = b"".join(line + b"\n" for line in lines)
    waiting = structs.replace(
        _waiting(env, named),
        first_line=min(numbers),
        last_line=max(numbers),
        line_count=len(lines),
        size=len(data),
        tokens=math.ceil(named.tokens * len(lines) / named.line_count),
        pool=place.pool if place is not None else named.pool,
        input_inline=data,
        input_key=None,
    )
    if len(data) <= env.limits.inline_bytes:
        return waiting
    key = put(env, named, f"inputs/{named.id}", data)
    return structs.replace(waiting, input_inline=None, input_key=key)


def _waiting(env: Environment, named: Shard) -> Shard:
    """The shard as it waits for its next attempt."""
    now = env.clock.now()
    pause = env.limits.retry.pause_seconds(max(1, named.attempt), env.ids.random())
    return structs.replace(
        named.waiting(),
        not_before=now + pause,
        failed_at=now,
        result_key=None,
        result_inline=None,
        succeeded=None,
        failed=None,
    )
