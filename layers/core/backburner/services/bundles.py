"""What becomes of a bundle: its members' requests in, their outcomes out, its slot free again.

Everything here may be done twice, or be broken off: a member that has ended is left alone, and the
bundle holds its slot, and is looked at, until all of them have.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain

from msgspec import structs
from msgspec.structs import replace

from backburner.domain.bundle import Bundle
from backburner.domain.errors import Conflict, Lost, NotFound
from backburner.domain.request import Instant, Outcome
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.ports import Environment
from backburner.services import batches, capacity, membership, settle, shard_lines, transitions

_logger = logging.getLogger(__name__)

_TRIES = 10

#: What is said of a request of which a result, or what was read of it, says nothing.
_MISSING = frozenset({"missing_result", "result_too_large"})


def compose(env: Environment, bundle: Bundle) -> Shard | None:
    """The bundle's shard with its requests: those of its members, numbered anew.

    A member that was not claimed after all, or whose batch was just deleted, is left out. None:
    so were all, and the bundle is over.
    """
    shard, requests = bundle.shard, _requests(env, bundle)
    first = next(requests, None)
    if first is None:
        release(env, bundle)
        return None
    requests = chain([first], requests)
    model = env.catalog.running(shard.model, shard.pool)
    if model is None or not model.has_jobs:
        return replace(shard, input_inline=b"".join(requests))
    key = f"{batches.prefix_of(shard.tenant, shard.batch_id)}inputs/{shard.id}.jsonl"
    with env.blobs.write(key, content_type="application/jsonl") as target:
        target.writelines(requests)
    return replace(shard, input_key=key)


def _requests(env: Environment, bundle: Bundle) -> Iterator[bytes]:
    for part in _parts(env, bundle):
        if membership.is_current(bundle, part.shard):
            for number, line in enumerate(part.requests, start=part.first):
                yield env.shards.numbered(line, number) + b"\n"


def take(env: Environment, bundle: Bundle, key: str | None) -> None:
    """Save the outcomes in a result, each member's for itself; None: there is no result.

    The first result of any attempt stands: also that of a bundle that was given up.
    """
    parts = list(_parts(env, bundle))
    named = {number: name for part in parts for number, name in part.names(env).items()}
    found = shard_lines.result_outcomes(env, named, key) if key is not None else None
    outcomes = {one.line: one for one in found or env.shards.outcomes(named, iter(()))}
    # Who is not on its way in the bundle may never have been: nothing is missing of it.
    attempts = [
        attempted
        for part in parts
        if not _is_missing(attempted := part.attempted(env, outcomes))
        or membership.is_current(bundle, part.shard)
    ]
    if attempts:
        settle.save_all(env, attempts)
    release(env, bundle, has_result=found is not None)


def _is_missing(attempted: settle.Attempted) -> bool:
    """Whether nothing came back for any of the requests."""
    return all(one.code in _MISSING for one in attempted.outcomes)


def fail(env: Environment, bundle: Bundle, *, code: str, reason: str) -> None:
    """The bundle's attempt failed as a whole: each line of its members did.

    Where it was refused for good, nobody knows for whose sake: each is tried alone.
    """
    current = membership.current(env, bundle)
    if code == "backend_refused" and len(current) > 1:
        _part(env, current)
    else:
        failed: list[settle.Attempted] = []
        for shard in current:
            with _others_go_on(shard):
                one = settle.failure(env, shard, code=code, reason=reason)
                failed += [one] if one is not None else []
        if failed:
            settle.save_all(env, failed)
    release(env, bundle)


def _part(env: Environment, members: Sequence[Shard]) -> None:
    """Make each wait again, for a slot of its own."""
    now = env.clock.now()
    for shard in members:
        waiting = replace(shard.waiting(), failed_at=now, is_alone=True)
        with suppress(Conflict):
            env.store.transact(*transitions.wait_again(shard, waiting))


def give_back(env: Environment, bundle: Bundle, *, not_before: Instant) -> bool:
    """Make the members wait again, as the backend did not start them; False: it had ended."""
    for shard in membership.current(env, bundle):
        waiting = replace(shard.waiting(), attempt=shard.attempt - 1, not_before=not_before)
        with suppress(Conflict):
            env.store.transact(*transitions.wait_again(shard, waiting))
    return release(env, bundle)


def release(env: Environment, bundle: Bundle, *, has_result: bool = False) -> bool:
    """Free the slot, as no member needs it any more; False: someone else did."""
    shard = bundle.shard
    model = env.catalog.running(shard.model, shard.pool)
    if model is None or model.has_jobs:  # first: nobody looks at one that has ended
        batches.remove_objects(env, shard.tenant, shard.batch_id)
    if not _end(env, shard.ref, has_result=has_result):
        return False
    capacity.kick_if_waiting(env, shard.pool)
    return True


def _end(env: Environment, ref: AttemptRef, *, has_result: bool) -> bool:
    for _ in range(_TRIES):
        bundle = membership.load(env, ref)
        if bundle is None or bundle.shard.status is not ShardStatus.IN_FLIGHT:
            return False
        writes = transitions.unbundle(bundle, now=env.clock.now(), has_result=has_result)
        with suppress(Conflict):
            env.store.transact(*writes)
            return True
    raise Conflict(f"bundle {ref} keeps changing")


@dataclass(slots=True)
class _Part:
    """An open member, with its requests."""

    ref: AttemptRef
    shard: Shard
    requests: list[bytes]
    #: Number that its first request has in the bundle.
    first: int

    def names(self, env: Environment) -> Mapping[int, str]:
        """The custom_id of each of its requests, by number in the bundle."""
        numbered = enumerate(self.requests, start=self.first)
        return {number: env.shards.head(line)[1] for number, line in numbered}

    def attempted(self, env: Environment, of_bundle: Mapping[int, Outcome]) -> settle.Attempted:
        """Its own outcomes, by its batch's numbers again."""
        numbered = enumerate(self.requests, start=self.first)
        outcomes = [
            structs.replace(of_bundle[number], line=env.shards.head(line)[0])
            for number, line in numbered
        ]
        return settle.Attempted(
            ref=self.ref, shard=self.shard, requests=self.requests, outcomes=outcomes
        )


def _parts(env: Environment, bundle: Bundle) -> Iterator[_Part]:
    for member, first, shard in membership.members(env, bundle):
        ref = bundle.ref(member)
        if shard is not None and shard.is_open:
            with _others_go_on(shard):
                requests = settle.requests_left(env, ref, shard)
                if requests is not None:
                    yield _Part(ref, shard, requests, first)


@contextmanager
def _others_go_on(shard: Shard) -> Iterator[None]:
    """A member whose requests are lost is left out: its own batch ends at its deadline."""
    try:
        yield
    except (NotFound, Lost):
        _logger.error("bundle.member_lost shard=%s", shard.ref)
