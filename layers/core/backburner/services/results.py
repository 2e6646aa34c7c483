"""Read a batch's outcomes back in input order, whole or as far as they are in."""

import heapq
from collections.abc import Callable, Iterator

from backburner.domain.batch import STOPPED, Batch
from backburner.domain.request import Outcome
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Environment
from backburner.services import batches, collect, manifest

#: First line of a run of outcomes, and how to read the run.
_Run = tuple[int, Callable[[], Iterator[Outcome]]]


def outcomes(env: Environment, batch: Batch) -> Iterator[Outcome]:
    """Every outcome that is in, by line, up to the first line that has none yet.

    Runs are opened when the merge comes to them, so that as many objects are open at once as
    shards overlap, however many there are.
    """
    queued = batches.shards(env, batch)
    known = {shard.id for shard in queued}
    unreleased = [shard for shard in manifest.load(env, batch) if shard.id not in known]
    stopped = batch.stopping is not None and batch.open_shards == 0
    ended = [shard for shard in queued if not shard.is_open]
    missing = [shard for shard in queued if shard.is_open]
    if stopped:
        ended += unreleased
    else:
        missing += unreleased
    runs: list[_Run] = [(shard.first_line, _reader(env, batch, shard)) for shard in ended]
    if batch.skipped:
        runs.append((0, lambda: _skipped(env, batch)))
    barrier = min((shard.first_line for shard in missing), default=None)
    for outcome in _merge(runs):
        if barrier is not None and outcome.line >= barrier:
            return
        yield outcome


def single(env: Environment, batch: Batch) -> Outcome | None:
    """The outcome of a single request, or None: there is none (yet)."""
    for shard in reversed(batches.shards(env, batch)):
        if shard.status is ShardStatus.DONE:
            for outcome in collect.kept_outcomes(env, shard):
                return outcome
    return None


def _reader(env: Environment, batch: Batch, shard: Shard) -> Callable[[], Iterator[Outcome]]:
    if shard.status is ShardStatus.DONE:
        return lambda: collect.kept_outcomes(env, shard)
    return lambda: _never_run(env, batch, shard)


def _never_run(env: Environment, batch: Batch, shard: Shard) -> Iterator[Outcome]:
    if batch.stopping is None:  # pragma: no cover - shards are dropped of stopping batches only
        return
    _, code, message = STOPPED[batch.stopping]
    for line, custom_id in collect.request_names(env, shard).items():
        yield Outcome(line=line, custom_id=custom_id, code=code, message=message)


def _skipped(env: Environment, batch: Batch) -> Iterator[Outcome]:
    with env.blobs.read(manifest.skipped_key(batch.plan_prefix or "")) as stream:
        for line in stream:
            yield env.shards.kept(line)


def _merge(runs: list[_Run]) -> Iterator[Outcome]:
    waiting = sorted(runs, key=lambda run: run[0], reverse=True)
    heap: list[tuple[int, int, Outcome, Iterator[Outcome]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            opened += 1
            _advance(heap, opened, waiting.pop()[1]())
        if not heap:
            continue
        _, number, outcome, run = heapq.heappop(heap)
        yield outcome
        _advance(heap, number, run)


def _advance(
    heap: list[tuple[int, int, Outcome, Iterator[Outcome]]], number: int, run: Iterator[Outcome]
) -> None:
    outcome = next(run, None)
    if outcome is not None:
        heapq.heappush(heap, (outcome.line, number, outcome, run))


def rendered(env: Environment, batch: Batch, *, successes: bool) -> Iterator[bytes]:
    """Lines of the output file (or of the error file), as far as they are in."""
    dialect = env.dialects[batch.dialect]
    for outcome in outcomes(env, batch):
        if outcome.is_success is successes:
            yield dialect.render(outcome, batch_id=batch.id) + b"\n"
