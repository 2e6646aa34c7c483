"""Runs of outcomes, each sorted by line, and their merge in input order.

Successes of an ordinary batch are kept as the lines of the output file that they become. Many of
them together are a block, which is written as it is.
"""

import heapq
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from operator import lt
from typing import BinaryIO

from backburner.domain.request import Outcome
from backburner.ports import ShardFormat

#: A line after every other.
END = sys.maxsize

#: Bytes of kept outcomes that are looked at together.
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Block:
    """Successes as they stand in the output file."""

    #: Numbers of the lines, rising; at least one.
    lines: Sequence[int]
    #: The lines, each with its newline.
    data: bytes

    @property
    def line(self) -> int:
        """The first of its lines."""
        return self.lines[0]

    def cut(self, line: int) -> tuple["Block", "Block"]:
        """What comes before the line, and the rest; the line is between its first and last."""
        count = bisect_left(self.lines, line)
        end = 0
        for _ in range(count):
            end = self.data.index(b"\n", end) + 1
        return (
            Block(self.lines[:count], self.data[:end]),
            Block(self.lines[count:], self.data[end:]),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Outcomes that stand together, sorted by line."""

    #: All lines are from here to there; others may be between.
    first_line: int
    last_line: int
    #: How many failures there are, and how many successes; None: nobody knows.
    counts: tuple[int, int] | None
    open: Callable[[], Iterator[Outcome | Block]]

    def count(self, successes: bool | None) -> int | None:  # noqa: FBT001 - as in `results`
        """How many of the kind there are; None: nobody knows."""
        if self.counts is None:
            return None
        return sum(self.counts) if successes is None else self.counts[successes]


def blocks(shards: ShardFormat, stream: BinaryIO, batch_id: str) -> Iterator[Outcome | Block]:
    """Kept outcomes: what is kept as it is written in blocks, the others one by one."""
    while data := stream.read(_BLOCK_BYTES):
        yield from _blocks(shards, data + stream.readline(), batch_id)


def _blocks(shards: ShardFormat, data: bytes, batch_id: str) -> Iterator[Outcome | Block]:
    """The outcomes in lines, of which the last may lack its newline."""
    numbers = shards.written(data, batch_id)
    if numbers and all(map(lt, numbers, numbers[1:])):
        yield Block(numbers, data)
        return
    numbers = []
    lines: list[bytes] = []
    for line in BytesIO(data):
        found = shards.written(line, batch_id)
        if numbers and (not found or found[0] <= numbers[-1]):
            yield Block(numbers, b"".join(lines))
            numbers, lines = [], []
        if found:
            numbers += found
            lines.append(line)
        else:
            yield shards.kept(line)
    if numbers:
        yield Block(numbers, b"".join(lines))


def merge(runs: Sequence[Run]) -> Iterator[Outcome | Block]:
    """All that is in the runs, by line.

    Runs are opened when the merge comes to them, so that as many objects are open at once as
    shards overlap, however many there are.
    """
    waiting = sorted(runs, key=lambda run: run.first_line, reverse=True)
    heap: list[tuple[int, int, Outcome | Block, Iterator[Outcome | Block]]] = []
    opened = 0
    while waiting or heap:
        while waiting and (not heap or waiting[-1].first_line <= heap[0][0]):
            opened += 1
            run = waiting.pop().open()
            first = next(run, None)
            if first is not None:
                heapq.heappush(heap, (first.line, opened, first, run))
        if not heap:
            continue
        line, number, piece, run = heapq.heappop(heap)
        # Shards seldom overlap: most lines come before whatever else there is.
        others = min(heap[0][0] if heap else END, waiting[-1].first_line if waiting else END)
        others = max(others, line + 1)
        left: Outcome | Block | None = piece
        while left is not None and left.line < others:
            if isinstance(left, Block) and left.lines[-1] >= others:
                piece, left = left.cut(others)
                yield piece
            else:
                yield left
                left = next(run, None)
        if left is not None:
            heapq.heappush(heap, (left.line, number, left, run))
