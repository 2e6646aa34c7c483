"""The lines of a shard: its requests, the outcomes in a result of it, and those that stand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from backburner.domain.errors import Lost, NotFound
from backburner.domain.request import Outcome
from backburner.domain.shard import Shard
from backburner.ports import Environment
from backburner.services.runs import Block, blocks


def request_lines(env: Environment, shard: Shard) -> list[bytes]:
    data = shard.input_inline
    if data is None:
        data = env.blobs.get(shard.input_key) if shard.input_key else b""
    lines = data.split(b"\n")[:-1]
    if len(lines) != shard.line_count:
        raise Lost(f"{shard.ref}: {len(lines)} of {shard.line_count} requests are left.")
    return lines


def kept_outcomes(env: Environment, shard: Shard) -> Iterator[Outcome]:
    """Final outcomes of a shard that is done, sorted by line."""
    if shard.result_inline is not None:
        yield from map(env.shards.kept, shard.result_inline.split(b"\n")[:-1])
    elif shard.result_key is not None:
        with env.blobs.read(shard.result_key) as stream:
            for line in stream:
                yield env.shards.kept(line)


def kept_blocks(env: Environment, shard: Shard) -> Iterator[Outcome | Block]:
    """The same, in blocks as far as they are kept as they are written."""
    if shard.result_inline is not None:
        yield from blocks(env.shards, BytesIO(shard.result_inline), shard.batch_id)
    elif shard.result_key is not None:
        with env.blobs.read(shard.result_key) as stream:
            yield from blocks(env.shards, stream, shard.batch_id)


def request_names(env: Environment, shard: Shard) -> Mapping[int, str]:
    """Line number to custom_id of a shard's requests."""
    return env.shards.names(request_lines(env, shard))


def result_outcomes(env: Environment, named: Mapping[int, str], key: str) -> list[Outcome] | None:
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
