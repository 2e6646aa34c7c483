"""Outcomes in blocks: written as they are kept, and in the order of their lines all the same."""

from collections.abc import Iterator
from functools import partial
from io import BytesIO
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backburner.domain.request import Outcome, Usage
from backburner.services.runs import END, Block, Run, blocks, merge
from backburner.wire.openai import OpenAIDialect
from backburner.wire.shard import JsonlShards
from tests.effort import tried

#: Kinds of outcomes: all, successes and failures.
KINDS = (None, True, False)

SHARDS, DIALECT, BATCH = JsonlShards(), OpenAIDialect(), "batch_0123"


def outcome(line: int) -> Outcome:
    """Every third line fails."""
    custom_id = f'r "{line}"'
    if line % 3 == 0:
        return Outcome(line=line, custom_id=custom_id, code="missing_result", message="Why?")
    body = b'{"usage":{"prompt_tokens":%d,"completion_tokens":2}}' % line
    used = Usage(input_tokens=line, output_tokens=2)
    return Outcome(line=line, custom_id=custom_id, status_code=200, body=body, usage=used)


def kept(lines: list[int], batch_id: str | None = BATCH) -> bytes:
    return SHARDS.keep(map(outcome, lines), batch_id=batch_id)


def pieces(data: bytes) -> list[Outcome | Block]:
    return list(blocks(SHARDS, BytesIO(data), BATCH))


def blocks_of(lines: list[int]) -> Iterator[Outcome | Block]:
    return iter(pieces(kept(lines)))


def written(found: list[Outcome | Block]) -> bytes:
    """All of it, as lines of files."""
    return b"".join(
        piece.data if isinstance(piece, Block) else DIALECT.render(piece, batch_id=BATCH) + b"\n"
        for piece in found
    )


def rendered(lines: list[int]) -> bytes:
    return b"".join(DIALECT.render(outcome(line), batch_id=BATCH) + b"\n" for line in lines)


@pytest.mark.parametrize(
    ("counts", "found"), [((2, 3), {None: 5, True: 3, False: 2}), (None, dict.fromkeys(KINDS))]
)
def test_a_run_knows_how_many_of_each_kind_it_has_or_that_nobody_does(counts, found):
    run = Run(1, 9, counts, partial(iter, ()))
    assert {kind: run.count(kind) for kind in KINDS} == found


@pytest.mark.parametrize("batch_id", [None, BATCH])
@pytest.mark.parametrize("line", [1, 3])
def test_what_is_kept_is_read_back(line, batch_id):
    assert SHARDS.kept(kept([line], batch_id)) == outcome(line)


def test_successes_of_a_file_are_one_block():
    assert pieces(kept([1, 2, 4])) == [Block([1, 2, 4], rendered([1, 2, 4]))]


def test_failures_stand_by_themselves_between_blocks():
    found = pieces(kept([1, 2, 3, 4]))
    assert found == [Block([1, 2], rendered([1, 2])), outcome(3), Block([4], rendered([4]))]


@pytest.mark.parametrize("other", [None, "batch_4567"], ids=["kept otherwise", "another batch's"])
def test_what_is_not_kept_as_it_is_written_comes_one_by_one(other):
    assert pieces(kept([1, 2], other)) == [outcome(1), outcome(2)]


def test_a_line_that_holds_the_beginning_of_another_is_one_line():
    body = b'{"x":{"id":"batch_req_0123-7"}}'
    line = SHARDS.keep([Outcome(line=1, custom_id="r", status_code=200, body=body)], batch_id=BATCH)
    assert pieces(line) == [Block([1], line)]


def test_a_failure_is_one_line_whatever_breaks_are_in_it():
    failed = Outcome(line=1, custom_id="r", status_code=400, body=b'{"error":\r{}}')
    data = SHARDS.keep([failed], batch_id=BATCH) + kept([2])
    assert pieces(data) == [failed, Block([2], rendered([2]))]


@pytest.mark.parametrize("number", [b"", b"x", b"1x", b"9" * 5000])
def test_a_line_without_a_number_can_not_be_read(number):
    data = kept([2]).replace(b"0123-2", b"0123-" + number)
    with pytest.raises(msgspec.ValidationError):
        pieces(data)


def test_a_line_that_breaks_off_can_not_be_read():
    for end in range(1, len(data := kept([2])) - 1):
        with pytest.raises(msgspec.MsgspecError):
            pieces(data[:end])
        with pytest.raises(msgspec.MsgspecError):
            pieces(data[:end] + b"\n")


def test_a_run_is_opened_when_the_merge_comes_to_it():
    opened: list[int] = []

    def run(first: int) -> Run:
        def lines() -> Iterator[Outcome | Block]:
            opened.append(first)
            return iter([outcome(first), outcome(first + 1)])

        return Run(first, first + 1, None, lines)

    seen = [(piece.line, len(opened)) for piece in merge([run(5), run(1), run(3)])]
    assert seen == [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]
    assert opened == [1, 3, 5]


def test_lines_out_of_order_are_no_block():
    assert [piece.line for piece in pieces(kept([4, 2, 2]))] == [4, 2, 2]


def test_nothing_of_a_long_object_is_lost_between_two_blocks():
    lines = list(range(1, 5000))
    found = pieces(kept(lines))
    assert written(found) == rendered(lines)
    lines = [line for line in lines if line % 3]
    good = pieces(kept(lines))
    assert all(isinstance(piece, Block) for piece in good)
    assert 1 < len(good) < 10
    assert written(good) == rendered(lines)


@settings(max_examples=tried(100, long=1000), deadline=None)
@given(shards=st.lists(st.integers(0, 3), min_size=1, max_size=24))
def test_runs_that_overlap_are_merged_line_by_line(shards):
    """The n-th number tells which shard line n is in."""
    runs = []
    for shard in set(shards):
        lines = [line for line, one in enumerate(shards, 1) if one == shard]
        runs.append(Run(lines[0], lines[-1], None, partial(blocks_of, lines)))
    found = list(merge(runs))
    assert written(found) == rendered(list(range(1, len(shards) + 1)))
    assert all(one.line < other.line for one, other in pairwise(found))


def test_a_line_that_is_in_two_runs_comes_twice():
    runs = [Run(1, 4, None, partial(blocks_of, [1, 2, 4])) for _ in range(2)]
    assert [piece.line for piece in merge(runs)] == [1, 1, 2, 2, 4, 4]


def test_a_run_of_anything_may_stand_beside_the_others():
    runs = [
        Run(0, END, None, lambda: iter([outcome(3), outcome(9)])),
        Run(1, 8, None, partial(blocks_of, [1, 2, 4, 5, 7, 8])),
    ]
    assert [piece.line for piece in merge(runs)] == [1, 3, 4, 9]
