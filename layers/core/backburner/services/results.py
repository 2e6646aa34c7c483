"""Read a batch's outcomes back in input order, whole or as far as they are in."""

import heapq
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

import msgspec

from backburner.domain.batch import STOPPED, Batch
from backburner.domain.errors import Lost, NotFound
from backburner.domain.request import Outcome
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Environment
from backburner.services import batches, collect, manifest, plan

#: First line of a run of outcomes, and how to read the run.
_Run = tuple[int, Callable[[], Iterator[Outcome]]]

#: A line after every other.
_END = sys.maxsize

#: What reading raises where objects are gone or corrupt.
UNREADABLE = (NotFound, Lost, msgspec.MsgspecError)


def outcomes(env: Environment, batch: Batch) -> Iterator[Outcome]:
    """Every outcome that is in, by line, up to the first line that has none yet.

    Runs are opened when the merge comes to them, so that as many objects are open at once as
    shards overlap, however many there are.
    """
    queued = batches.shards(env, batch)
    unreleased = manifest.unreleased(env, batch, queued)
    stopped = batch.stopping is not None and batch.open_shards == 0
    ended = [shard for shard in queued if not shard.is_open]
    missing = [shard for shard in queued if shard.is_open]
    if stopped:
        ended += unreleased
    else:
        missing += unreleased
    runs = _runs(env, batch, ended)
    barrier = min((shard.first_line for shard in missing), default=None)
    for outcome in _merge(runs):
        if barrier is not None and outcome.line >= barrier:
            return
        yield outcome


def whole(env: Environment, batch: Batch) -> Iterator[Outcome]:
    """The one outcome of every line of a batch whose shards have all ended.

    Raises:
        NotFound: an object is gone.
        Lost: a line has no outcome, or two.
    """
    count = last = 0
    for outcome in outcomes(env, batch):
        if outcome.line <= last:
            raise Lost(f"{batch.id}: line {outcome.line} came out after line {last}.")
        count, last = count + 1, outcome.line
        yield outcome
    if count != batch.total:
        raise Lost(f"{batch.id}: {count} lines came out of {batch.total}.")


def recovered(env: Environment, batch: Batch) -> Iterator[Outcome]:
    """Every outcome that can still be read, and `result_lost` for the other lines.

    Lines whose numbers nothing tells any more are left out.
    """
    shards = batches.shards(env, batch)
    with suppress(*UNREADABLE):
        shards += manifest.unreleased(env, batch, shards)
    runs = [(line, _readable(run)) for line, run in _runs(env, batch, shards)]
    came_out = {outcome.line for outcome in _merge(runs)}
    names = _lost_names(env, batch, shards, came_out)
    lost = (_lost(line, names[line]) for line in sorted(names))
    last = 0
    for outcome in _merge([*runs, (0, lambda: lost)]):
        if outcome.line > last:
            last = outcome.line
            yield outcome


def single(env: Environment, batch: Batch) -> Outcome | None:
    """The outcome of a single request, or None: there is none (yet)."""
    for shard in reversed(batches.shards(env, batch)):
        if shard.status is ShardStatus.DONE:
            try:
                for outcome in collect.kept_outcomes(env, shard):
                    return outcome
            except UNREADABLE:
                return _lost(shard.first_line, _unnamed(shard.first_line))
    return None


def _runs(env: Environment, batch: Batch, ended: list[Shard]) -> list[_Run]:
    runs: list[_Run] = [(shard.first_line, _reader(env, batch, shard)) for shard in ended]
    if batch.skipped:
        runs.append((0, lambda: _skipped(env, batch)))
    return runs


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


def _readable(run: Callable[[], Iterator[Outcome]]) -> Callable[[], Iterator[Outcome]]:
    """The run, up to where it can't be read."""

    def read() -> Iterator[Outcome]:
        with suppress(*UNREADABLE):
            yield from run()

    return read


def _lost_names(
    env: Environment, batch: Batch, shards: list[Shard], came_out: set[int]
) -> dict[int, str]:
    """The lines that did not come out, with their custom_ids, as far as anything tells them."""
    names: dict[int, str] = {}
    for shard in shards:
        if not came_out.issuperset(range(shard.first_line, shard.last_line + 1)):
            for line, name in _names(env, shard).items():
                if line not in came_out:
                    names.setdefault(line, name)
    if len(came_out) + len(names) < batch.total:
        with suppress(*UNREADABLE), env.blobs.read(batch.input_key or "") as stream:
            for line, _ in plan.numbered_lines(stream, env.limits.line_bytes):
                if line not in came_out:
                    names.setdefault(line, _unnamed(line))
    return names


def _lost(line: int, custom_id: str) -> Outcome:
    message = "The result of this request was lost."
    return Outcome(line=line, custom_id=custom_id, code="result_lost", message=message)


def _names(env: Environment, shard: Shard) -> Mapping[int, str]:
    """Names of the shard's lines; without its requests, their numbers if none lies between them."""
    try:
        return collect.request_names(env, shard)
    except UNREADABLE:
        lines = range(shard.first_line, shard.last_line + 1)
        return {line: _unnamed(line) for line in lines} if len(lines) == shard.line_count else {}


def _unnamed(line: int) -> str:
    """Stands for a custom_id that nobody knows."""
    return f"line-{line}"


def _merge(runs: list[_Run]) -> Iterator[Outcome]:
    waiting = sorted(runs, key=lambda run: run[0], reverse=True)
    heap: list[tuple[int, int, Outcome, Iterator[Outcome]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            opened += 1
            run = waiting.pop()[1]()
            first = next(run, None)
            if first is not None:
                heapq.heappush(heap, (first.line, opened, first, run))
        if not heap:
            continue
        _, number, outcome, run = heapq.heappop(heap)
        yield outcome
        # Shards seldom overlap: most lines come before whatever else there is.
        others = min(heap[0][0] if heap else _END, waiting[-1][0] if waiting else _END)
        for outcome in run:
            if outcome.line >= others:
                heapq.heappush(heap, (outcome.line, number, outcome, run))
                break
            yield outcome


def rendered(env: Environment, batch: Batch, *, successes: bool) -> Iterator[bytes]:
    """Lines of the output file (or of the error file), as far as they are in."""
    dialect = env.dialects[batch.dialect]
    for outcome in outcomes(env, batch):
        if outcome.is_success is successes:
            yield dialect.render(outcome, batch_id=batch.id) + b"\n"
