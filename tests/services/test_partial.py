"""Results while the batch runs: what was read before is not read again."""

from typing import Any

import pytest
from msgspec import structs

from backburner.domain.batch import Batch
from backburner.ports import Limits
from backburner.services import batches, results
from tests.backend import by_name
from tests.world import LIMITS, World, a_world_in_memory, chat


def answer_some(world: World, *, bad: set[int]) -> None:
    """One attempt is answered; some of its lines fail, some are tried again."""
    names = {f"acme-{line}": 400 for line in bad} | {"acme-7": 500, "acme-30": 500}
    world.pump()
    held = world.outstanding
    attempt = held[len(world.backend.submissions) // 2 % len(held)]
    world.answer(attempt, by_name(names) if attempt.shard.attempt == 1 else None)
    world.pump()


def mixed(count: int) -> list[Any]:
    """Lines for two models in turn, so that their shards overlap."""
    models = ("mistral", "ministral")
    return [chat(f"acme-{n}", model=models[n % 3 == 0]) for n in range(1, count + 1)]


@pytest.mark.parametrize("lines", [40, mixed(40), [*mixed(20), b"no json", *mixed(45)[20:]]])
@pytest.mark.parametrize("successes", [True, False, None])
def test_reading_on_from_any_line_gives_what_reading_all_gives(lines, successes):
    with a_world_in_memory(limits=LIMITS) as world:
        batch = world.submit(lines, on_invalid="skip")
        seen = 0
        while not (running := world.batch(batch)).is_terminal:
            whole = list(results.outcomes(world.env, running, successes=successes))
            assert len(whole) >= seen, "what was in stays in"
            seen = len(whole)
            for skip in range(seen + 2):
                rest = results.outcomes(world.env, running, successes=successes, skip=skip)
                assert list(rest) == whole[skip:]
            answer_some(world, bad={3, 11, 12, 13, 14, 33})
            world.advance(10.0)
        assert seen


def with_a_shard_that_waits_again(world: World) -> Batch:
    """A batch of three shards: the first and the last are in, the lines between failed once."""
    batch = world.submit(12)
    world.pump()
    world.answer()
    world.pump()
    early, late = world.outstanding
    world.answer(late)
    world.fail(early)
    return batch


def test_who_loaded_the_batch_before_it_was_stopped_reads_what_was_in_then():
    with a_world_in_memory(limits=LIMITS) as world:
        batch = with_a_shard_that_waits_again(world)
        running = world.batch(batch)
        whole = list(results.outcomes(world.env, running))
        assert len(whole) == 4
        batches.cancel(world.env, "acme", batch.id, kind=batch.kind)
        assert list(results.outcomes(world.env, running)) == whole


def test_what_was_dropped_between_counts_as_failures_alone():
    with a_world_in_memory(limits=LIMITS) as world:
        batch = with_a_shard_that_waits_again(world)
        batches.cancel(world.env, "acme", batch.id, kind=batch.kind)
        ended = world.batch(batch)
        for successes, lines in ((True, [1, 2, 3, 4, 9, 10, 11, 12]), (False, [5, 6, 7, 8])):
            for skip in range(len(lines) + 1):
                rest = results.outcomes(world.env, ended, successes=successes, skip=skip)
                assert [outcome.line for outcome in rest] == lines[skip:]


def test_what_never_was_planned_has_failures_alone():
    with a_world_in_memory(limits=LIMITS) as world:
        batch = world.submit(3)
        batches.cancel(world.env, "acme", batch.id, kind=batch.kind)
        counted = structs.replace(world.batch(batch), total=3)  # as one whose requests came with it
        for successes, lines in ((None, [2, 3]), (False, [2, 3]), (True, [])):
            found = results.outcomes(world.env, counted, successes=successes, skip=1)
            assert [outcome.line for outcome in found] == lines


def test_reading_on_costs_the_same_wherever_it_begins():
    with a_world_in_memory(limits=Limits(inline_bytes=10)) as world:
        batch = world.submit(400)
        while world.pump() or world.outstanding:
            held = [one for one in world.outstanding if one.shard.first_line < 390]
            if not held:
                break
            world.answer(held[0], by_name({f"acme-{n}": 400 for n in range(50, 400, 97)}))
        running = world.batch(batch)
        there = len(list(results.outcomes(world.env, running, successes=True)))
        assert there > 300
        for skip in (0, 1, 99, 100, 200, there - 1):
            with world.tap.hooked(None):
                next(results.outcomes(world.env, running, successes=True, skip=skip))
                assert world.tap.calls.count("blobs.read") <= 2
        with world.tap.hooked(None):
            assert list(results.outcomes(world.env, running, successes=True, skip=there)) == []
            assert world.tap.calls.count("blobs.read") <= 1


def test_a_file_that_ended_says_where_its_lines_begin(world):
    batch = world.submit(30)
    world.settle(by_name({"acme-5": 400}))
    output = [item for item in world.store.query("acme/files") if item.get("batch_id")]
    assert {item["line_count"] for item in output} == {29, 1}
    for item in output:
        data = world.blobs.get(item["key"])
        assert len(item["line_starts"]) == item["line_count"]
        for start in item["line_starts"][1:]:
            assert data[start - 1 : start] == b"\n"
    assert world.batch(batch).completed == 29
