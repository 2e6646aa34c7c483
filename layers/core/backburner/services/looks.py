"""Look for the result of a shard in flight: nobody told of it, or only that its job ended."""

from contextlib import suppress

from msgspec.structs import replace

from backburner.domain.bundle import is_bundle
from backburner.domain.errors import BackendError, Conflict, Lost, NotFound
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.domain.slots import backend_of
from backburner.ports import AttemptState, Environment, Look
from backburner.services import (
    batches,
    bundles,
    capacity,
    collect,
    membership,
    records,
    retries,
    transitions,
)

#: How long a backend may know nothing of an attempt that it is just given.
_ABSENT_SECONDS = 600.0


def look(env: Environment, ref: AttemptRef) -> None:
    """Is the result there, or did the lease end? Does nothing once the attempt is over."""
    (item,) = env.store.get(records.shard_key(ref.tenant, ref.batch_id, ref.shard_id))
    shard = records.to_shard(item) if item is not None else None
    if shard is None or shard.status is not ShardStatus.IN_FLIGHT or shard.ref != ref:
        return
    if shard.bundle is not None:
        _look_at_member(env, shard)
        return
    seen = _look(env, shard)
    if seen.state is AttemptState.SUCCEEDED and seen.result_key is not None:
        collect.collect_result(env, shard.ref, result_key=seen.result_key)
    elif seen.state is AttemptState.FAILED:
        collect.collect_failure(
            env,
            shard.ref,
            code="backend_refused" if seen.is_final else "backend_failed",
            reason=seen.reason or "The model's server failed.",
        )
    elif _is_lost(env, shard, seen.state):
        _lost(env, shard)


def ended(env: Environment, backend: str, job: str) -> None:
    """A job ended, says its backend: take in what it left. Jobs that are not ours are left alone.

    Raises:
        BackendError: nobody knows whose it is; to be told again.
    """
    ref = env.backends[backend].attempt_of(job) if backend in env.backends else None
    if ref is not None:
        look(env, ref)


def _look(env: Environment, shard: Shard) -> Look:
    backend = env.backends.get(backend_of(shard.pool))
    if backend is not None:
        with suppress(BackendError):
            return backend.look(shard)
    return Look(state=AttemptState.UNKNOWN)


def _is_lost(env: Environment, shard: Shard, state: AttemptState) -> bool:
    now = env.clock.now()
    if state is AttemptState.ABSENT:
        return now >= (shard.claimed_at or 0.0) + _ABSENT_SECONDS
    return now >= (shard.lease_ends_at or 0.0)


def _look_at_member(env: Environment, shard: Shard) -> None:
    """Its bundle is what is looked at; should that have ended without it, it is lost."""
    bundle = membership.of(env, shard)
    if bundle is None or bundle.shard.status is not ShardStatus.IN_FLIGHT:
        _wait_or_fail(env, shard)


def _lost(env: Environment, shard: Shard) -> None:
    """Nothing is there, nor will be: what was in flight waits again, or has failed as a whole."""
    batches.stop_attempt(env, shard)
    bundle = membership.load(env, shard.ref) if is_bundle(shard.batch_id) else None
    if bundle is None:
        _wait_or_fail(env, shard)
        return
    for member in membership.current(env, bundle):
        with suppress(NotFound, Lost):  # whose requests are gone holds up no other
            _wait_or_fail(env, member)
    bundles.release(env, bundle)


def _wait_or_fail(env: Environment, shard: Shard) -> None:
    if not retries.is_repeated(env, shard):
        collect.collect_failure(
            env, shard.ref, code="attempt_lost", reason="No result came back from the model."
        )
        return
    try:
        waiting = replace(shard.waiting(), failed_at=env.clock.now())
        env.store.transact(*transitions.wait_again(shard, waiting))
    except Conflict:
        return
    capacity.kick_for_new(env, shard.pool)
