"""Take in what a backend says of an attempt: there is a result, or it failed as a whole."""

from dataclasses import replace

from backburner.domain.bundle import is_bundle
from backburner.domain.shard import AttemptRef, Shard
from backburner.ports import Environment
from backburner.services import bundles, membership, raw, settle, shard_lines

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
    bundle = membership.load(env, ref) if is_bundle(ref.batch_id) else None
    shard = bundle.shard if bundle is not None else settle.load_open(env, ref)
    is_its = _is_result(env, ref, shard, result_key)
    key = result_key if is_its else None
    if bundle is not None:
        bundles.take(env, bundle, key)
        is_over = True
    elif shard is not None and shard.is_raw:
        is_over = _take_answer(env, ref, shard, key, content_type)
    else:
        is_over = _take_lines(env, ref, shard, key)
    if is_its and is_over:
        env.blobs.delete(result_key)


def _take_lines(env: Environment, ref: AttemptRef, shard: Shard | None, key: str | None) -> bool:
    """Save the lines of a result; False: a later attempt is on its way."""
    requests = settle.requests_left(env, ref, shard)
    if shard is None or requests is None:
        return True
    named = env.shards.names(requests)
    outcomes = shard_lines.result_outcomes(env, named, key) if key is not None else None
    if outcomes is None and ref.attempt < shard.attempt:
        return False
    if outcomes is None:
        outcomes = list(env.shards.outcomes(named, iter(())))
    attempted = settle.Attempted(ref=ref, shard=shard, requests=requests, outcomes=outcomes)
    settle.save(env, attempted)
    return True


def _take_answer(
    env: Environment, ref: AttemptRef, shard: Shard, key: str | None, content_type: str | None
) -> bool:
    """Save the answer to a raw request; False: a later attempt is on its way."""
    answer = raw.keep(env, shard, ref, key, content_type=content_type) if key is not None else None
    if answer is None and ref.attempt < shard.attempt:
        return False
    outcomes = [raw.outcome(env, answer)]
    attempted = settle.Attempted(
        ref=ref, shard=shard, requests=[], outcomes=outcomes, answer=answer
    )
    settle.save(env, attempted)
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
    bundle = membership.load(env, ref) if is_bundle(ref.batch_id) else None
    if bundle is not None:
        bundles.fail(env, bundle, code=code, reason=reason)
        return
    shard = settle.load_open(env, ref)
    if shard is None or ref.attempt < shard.attempt:
        return
    if shard.is_raw:
        failed = raw.failure(env, shard, code=code, reason=reason, status_code=status_code)
        settle.save(env, settle.Attempted(ref=ref, shard=shard, requests=[], outcomes=[failed]))
        return
    attempted = settle.failure(env, shard, code=code, reason=reason)
    if attempted is not None:
        settle.save(env, replace(attempted, ref=ref))


def _is_result(env: Environment, ref: AttemptRef, shard: Shard | None, key: str) -> bool:
    """Whether it is the attempt's own object: its name says so, or the backend did at the start."""
    if key.startswith(f"{OUTPUT_PREFIX}{ref.tenant}/{ref.batch_id}/{ref.shard_id}-a{ref.attempt}."):
        return True
    told = shard.output_location if shard is not None and shard.attempt == ref.attempt else None
    return told is not None and key.startswith(OUTPUT_PREFIX) and env.blobs.key_of(told) == key
