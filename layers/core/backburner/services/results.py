"""Read a batch's outcomes back in input order, whole or as far as they are in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile
from typing import cast

import msgspec

from backburner.domain.batch import STOPPED, Batch
from backburner.domain.errors import Lost, NotFound
from backburner.domain.request import Outcome
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Environment
from backburner.services import batches, manifest, raw, reading, retrying, shard_lines
from backburner.services.runs import END, Block, Run, merge

#: Reads what is kept of a shard.
_Reader = Callable[[Environment, Shard], Iterator[Outcome | Block]]

#: What reading raises where objects are gone or corrupt.
UNREADABLE = (NotFound, Lost, msgspec.MsgspecError)


def outcomes(
    env: Environment, batch: Batch, *, successes: bool | None = None, skip: int = 0
) -> Iterator[Outcome]:
    """The outcomes that are in, by line, up to the first line that has none yet.

    What is skipped is not read, but for the runs around the place where reading begins.

    Args:
        env: the world.
        batch: whose they are.
        successes: only successes, or only failures; None: both.
        skip: how many of them were read before.
    """
    if _is_unplanned(batch):
        if not successes:  # there are failures alone
            yield from islice(_unplanned(env, batch), skip, None)
        return
    runs, barrier = _ready(env, batch, shard_lines.kept_outcomes)
    runs, skip = _after(runs, skip, successes)
    for outcome in _by_line(runs):
        if outcome.line >= barrier:
            return
        if successes is not None and outcome.is_success is not successes:
            continue
        if skip:
            skip -= 1
        else:
            yield outcome


def _ready(env: Environment, batch: Batch, reader: _Reader) -> tuple[list[Run], int]:
    """The runs that are in, and the first line that has no outcome yet."""
    queued = batches.shards(env, batch)
    unreleased = manifest.unreleased(env, batch, queued)
    stopped = batch.stopping is not None and batch.open_shards == 0
    missing = [shard for shard in queued if _is_missing(batch, shard)]
    ended = [shard for shard in queued if not _is_missing(batch, shard)]
    if stopped:
        ended += unreleased
    else:
        missing += unreleased
    barrier = min((shard.first_line for shard in missing), default=END)
    runs = [run for run in _runs(env, batch, ended, reader) if run.first_line < barrier]
    return runs, barrier


def whole(env: Environment, batch: Batch, *, in_blocks: bool = False) -> Iterator[Outcome | Block]:
    """The one outcome of every line of a batch whose shards have all ended.

    Args:
        env: the world.
        batch: whose they are.
        in_blocks: successes that are kept as they are written come as such.

    Raises:
        NotFound: an object is gone.
        Lost: a line has no outcome, or two.
    """
    pieces: Iterator[Outcome | Block] = outcomes(env, batch)
    if in_blocks and not _is_unplanned(batch):
        runs, barrier = _ready(env, batch, shard_lines.kept_blocks)
        pieces = takewhile(lambda piece: piece.line < barrier, merge(runs))
    count = last = 0
    for piece in pieces:
        if piece.line <= last:
            raise Lost(f"{batch.id}: line {piece.line} came out after line {last}.")
        lines = piece.lines if isinstance(piece, Block) else (piece.line,)
        count, last = count + len(lines), lines[-1]
        yield piece
    if count != batch.total:
        raise Lost(f"{batch.id}: {count} lines came out of {batch.total}.")


def recovered(env: Environment, batch: Batch) -> Iterator[Outcome]:
    """Every outcome that can still be read, and `result_lost` for the other lines.

    Lines whose numbers nothing tells any more are left out.
    """
    shards = batches.shards(env, batch)
    with suppress(*UNREADABLE):
        shards += manifest.unreleased(env, batch, shards)
    found = _runs(env, batch, shards, shard_lines.kept_outcomes)
    runs = [replace(run, open=_readable(run.open)) for run in found]
    came_out = {outcome.line for outcome in _by_line(runs)}
    names = _lost_names(env, batch, shards, came_out)
    lost = (_lost(line, names[line]) for line in sorted(names))
    last = 0
    for outcome in _by_line([*runs, Run(0, END, None, lambda: lost)]):
        if outcome.line > last:
            last = outcome.line
            yield outcome


def single(env: Environment, batch: Batch, shards: Sequence[Shard] | None = None) -> Outcome | None:
    """The outcome of a single request, or None: there is none (yet).

    Args:
        env: the world.
        batch: the request.
        shards: its own, where they were read already.
    """
    for shard in reversed(batches.shards(env, batch) if shards is None else shards):
        if shard.status is ShardStatus.DONE:
            try:
                for outcome in shard_lines.kept_outcomes(env, shard):
                    return outcome
            except UNREADABLE:
                return _lost(shard.first_line, _unnamed(shard.first_line))
    return None


def _is_missing(batch: Batch, shard: Shard) -> bool:
    """Whether its outcomes are not known: it is open, or was dropped since the batch was loaded."""
    return shard.is_open or (shard.status is ShardStatus.DROPPED and batch.stopping is None)


def raw_answer(
    env: Environment, batch: Batch, shards: Sequence[Shard] | None = None
) -> raw.Answer | None:
    """The answer to a raw request, where it is kept, or None; as `single`."""
    for shard in batches.shards(env, batch) if shards is None else shards:
        if shard.answer_key is not None:
            return raw.Answer(key=shard.answer_key, content_type=shard.answer_type)
    return None


def _is_unplanned(batch: Batch) -> bool:
    return batch.plan_prefix is None and not batch.planned_shards


def _by_line(runs: list[Run]) -> Iterator[Outcome]:
    """What is in runs without blocks."""
    return cast("Iterator[Outcome]", merge(runs))


def _runs(env: Environment, batch: Batch, ended: list[Shard], reader: _Reader) -> list[Run]:
    runs = [
        Run(
            shard.first_line,
            shard.last_line,
            _counts(shard),
            partial(reader, env, shard)
            if shard.status is ShardStatus.DONE
            else partial(_never_run, env, batch, shard),
        )
        for shard in ended
    ]
    if batch.skipped:
        runs.append(Run(0, END, (batch.skipped, 0), lambda: _skipped(env, batch)))
    return runs


def _counts(shard: Shard) -> tuple[int, int] | None:
    if shard.status is not ShardStatus.DONE:
        return shard.line_count, 0
    if shard.succeeded is None or shard.failed is None:
        return None
    return shard.failed, shard.succeeded


def _after(
    runs: list[Run],
    skip: int,
    successes: bool | None,  # noqa: FBT001 - as in `outcomes`
) -> tuple[list[Run], int]:
    """The runs that must be read, and how many of their outcomes are to be skipped yet.

    Reading begins at the first line of a run, the last one before which there can't be more
    outcomes than are skipped: those of all runs that begin before. Of these, runs that also end
    before are left out.
    """
    runs = sorted(
        (run for run in runs if run.count(successes) != 0), key=lambda run: run.first_line
    )
    before = begin = 0
    for number, run in enumerate(runs):
        begin = number
        count = run.count(successes)
        if count is None or before + count > skip:
            break
        before += count
    else:
        return [], skip - before
    line = runs[begin].first_line
    left_out = [run for run in runs[:begin] if run.last_line < line]
    kept = [run for run in runs[:begin] if run.last_line >= line] + runs[begin:]
    return kept, skip - sum(run.count(successes) or 0 for run in left_out)


def _never_run(env: Environment, batch: Batch, shard: Shard) -> Iterator[Outcome]:
    if batch.stopping is None:  # pragma: no cover - shards are dropped of stopping batches only
        return
    _, code, message = STOPPED[batch.stopping]
    for line, custom_id in shard_lines.request_names(env, shard).items():
        yield Outcome(line=line, custom_id=custom_id, code=code, message=message)


def _unplanned(env: Environment, batch: Batch) -> Iterator[Outcome]:
    """The requests of a batch that stopped before its file was read: what it had been taken for.

    Only requests that came with the batch itself were counted, and checked, when it was taken in.
    """
    if batch.stopping is None or not batch.total:
        return
    _, code, message = STOPPED[batch.stopping]
    dialect = env.dialects[batch.dialect]
    with env.blobs.read(batch.input_key or "") as stream:
        for number, data in reading.numbered_lines(stream, env.limits.line_bytes):
            request = dialect.parse(number, data or b"", route=batch.route)
            yield Outcome(line=number, custom_id=request.custom_id, code=code, message=message)


def _skipped(env: Environment, batch: Batch) -> Iterator[Outcome]:
    with env.blobs.read(manifest.skipped_key(batch.plan_prefix or "")) as stream:
        for line in stream:
            yield env.shards.kept(line)


def _readable(
    run: Callable[[], Iterator[Outcome | Block]],
) -> Callable[[], Iterator[Outcome | Block]]:
    """The run, up to where it can't be read."""

    def read() -> Iterator[Outcome | Block]:
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
        with suppress(*UNREADABLE):
            for line, name in _input_names(env, batch):
                if line not in came_out:
                    names.setdefault(line, name)
    return names


def _input_names(env: Environment, batch: Batch) -> Iterator[tuple[int, str]]:
    """The lines that the batch was made of, as its input tells them."""
    if batch.retry_of is not None:
        yield from retrying.chosen_lines(env, batch)
        return
    with env.blobs.read(batch.input_key or "") as stream:
        for line, _ in reading.numbered_lines(stream, env.limits.line_bytes):
            yield line, _unnamed(line)


def _lost(line: int, custom_id: str) -> Outcome:
    message = "The result of this request was lost."
    return Outcome(line=line, custom_id=custom_id, code="result_lost", message=message)


def _names(env: Environment, shard: Shard) -> Mapping[int, str]:
    """Names of the shard's lines; without its requests, their numbers if none lies between them."""
    try:
        return shard_lines.request_names(env, shard)
    except UNREADABLE:
        lines = range(shard.first_line, shard.last_line + 1)
        return {line: _unnamed(line) for line in lines} if len(lines) == shard.line_count else {}


def _unnamed(line: int) -> str:
    """Stands for a custom_id that nobody knows."""
    return f"line-{line}"


def rendered(
    env: Environment, batch: Batch, *, successes: bool, skip: int = 0, search: str = ""
) -> Iterator[bytes]:
    """Lines of the output file (or of the error file), as far as they are in.

    Args:
        env: the world.
        batch: that runs.
        successes: of the output file; else, of the error file.
        skip: lines that were read before.
        search: only lines whose custom_id has this in it; with it, all are read.
    """
    dialect = env.dialects[batch.dialect]
    left = outcomes(env, batch, successes=successes, skip=0 if search else skip)
    if search:
        named = (outcome for outcome in left if is_named(search, outcome.custom_id))
        left = iter(islice(named, skip, None))
    for outcome in left:
        yield dialect.render(outcome, batch_id=batch.id) + b"\n"


def is_named(search: str, custom_id: str) -> bool:
    """Whether the custom_id has the text in it, in whatever case."""
    return search.casefold() in custom_id.casefold()
