"""Ending a batch: files in input order, and everything that only the run needed is gone."""

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.errors import Lost
from backburner.ports import Delete, Index, Put, QueueName, Update
from backburner.services import files, finalize, records, results
from tests import oracle
from tests.backend import by_name
from tests.tap import crash_after
from tests.world import LIMITS, World, a_world_in_memory, chat


def all_done(world: World, lines: Any = 6, **options: Any) -> Any:
    batch = world.submit(lines, **options)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    while world.outstanding:
        world.answer(reply=by_name({"acme-2": 400}))
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
    return batch


def test_each_line_is_in_one_file_in_input_order(world):
    batch = all_done(world)
    world.settle()
    good = [line["custom_id"] for line in world.output(batch)]
    assert good == ["acme-1", "acme-3", "acme-4", "acme-5", "acme-6"]
    assert [line["custom_id"] for line in world.errors(batch)] == ["acme-2"]
    oracle.check_end(world)


def test_a_large_file_says_where_its_lines_begin(world):
    batch = world.submit(200)
    world.settle()
    file = files.find(world.env, "acme", world.batch(batch).output_file_id or "")
    data = world.blobs.get(file.key or "")
    assert file.line_stride > 1
    for number in (0, 1, 63, 64, 130, 199):
        start, skipped = file.place_of(number)
        line = json.loads(data[start:].split(b"\n")[skipped])
        assert line["custom_id"] == f"acme-{number + 1}"


@pytest.mark.parametrize(("kept", "seconds"), [(0.0, None), (1e6, 1e6)])
def test_files_are_kept_as_long_as_the_operator_says_or_for_good(kept, seconds):
    with a_world_in_memory(limits=replace(LIMITS, output_expires_seconds=kept)) as world:
        batch = world.submit(1)
        world.settle()
        file = files.find(world.env, "acme", world.batch(batch).output_file_id or "")
        expected = None if seconds is None else file.created_at + seconds
        assert file.expires_at == expected


def test_there_is_no_error_file_without_errors_and_no_output_without_successes(world):
    good, bad = world.submit([chat("good")]), world.submit([chat("bad")])
    world.settle(by_name({"bad": 400}))
    assert (world.batch(good).error_file_id, world.batch(bad).output_file_id) == (None, None)
    oracle.check_end(world)


@pytest.mark.parametrize("name", ["blobs.write", "store.transact", "queue.send", "blobs.list"])
def test_a_finalizer_that_dies_is_followed_by_another(world, name):
    batch = all_done(world)
    ((queue, message),) = world.receive(QueueName.FINALIZE)
    with crash_after(world.tap, name):
        world.handle(queue, message)
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_the_finished_beginning_can_be_read_while_the_batch_runs(world):
    batch = world.submit(12)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer()
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    assert _partial(world, batch) == ["acme-1", "acme-2", "acme-3", "acme-4"]
    world.answer(world.outstanding[1])
    assert len(_partial(world, batch)) == 4  # what comes before is not in yet
    world.answer()
    assert len(_partial(world, batch)) == 12
    world.settle()
    oracle.check_end(world)


def test_what_comes_after_a_line_that_is_tried_again_can_not_be_read_yet(world):
    batch = world.submit(12)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer(reply=by_name({"acme-2": 500}))
    assert world.batch(batch).is_released is False
    assert _partial(world, batch) == ["acme-1"]
    world.settle()
    oracle.check_end(world)


def test_a_line_that_came_out_twice_is_never_passed_off_as_a_result(world):
    batch = all_done(world, [chat(name) for name in ("one", "two", "three")])
    (shard,) = world.shards(batch)
    key = records.shard_key("acme", batch.id, "00002")
    twice = records.shard_item(structs.replace(shard, id=key.sort.removeprefix("shard/")))
    world.untapped.store.transact(Put(key, twice))
    with pytest.raises(Lost, match="line 1 came out after line 1"):
        finalize.finalize(world.env, batch.tenant, batch.id)
    world.untapped.store.transact(Delete(key))


def _partial(world: World, batch: Batch) -> Any:
    lines = results.rendered(world.untapped, world.batch(batch), successes=True)
    return [json.loads(line)["custom_id"] for line in lines]


@pytest.mark.parametrize("successes", [None, True, False])
def test_whoever_skips_what_was_read_gets_the_rest(world, successes):
    """Whatever stands between: lines that were skipped as bad, failed, or are of another model."""
    models = ["mistral", "ministral", "mistral"] * 4
    lines = [chat(f"acme-{number}", model=name) for number, name in enumerate(models)]
    batch = all_done(world, [b"bad", *lines[:5], b"worse", *lines[5:]], on_invalid="skip")

    def read(skip: int) -> list[int]:
        ended = world.batch(batch)
        some = results.outcomes(world.untapped, ended, successes=successes, skip=skip)
        return [outcome.line for outcome in some]

    whole = read(0)
    assert whole == sorted(whole)
    assert len(whole) == {None: 14, True: 11, False: 3}[successes]
    assert [read(skip) for skip in range(16)] == [whole[skip:] for skip in range(16)]
    world.settle()


def test_a_batch_that_still_runs_is_not_ended(world):
    batch = world.submit(3)
    world.pump(QueueName.PLAN)
    finalize.finalize(world.env, batch.tenant, batch.id)
    finalize.finalize(world.env, batch.tenant, "batch_nobody")
    assert world.batch(batch).status is BatchStatus.IN_PROGRESS


def test_lines_that_do_not_add_up_are_never_passed_off_as_a_result(world):
    batch = all_done(world)
    key = records.batch_key(batch.tenant, batch.id)
    world.untapped.store.transact(Update(key, add={"total": 1}))
    with pytest.raises(Lost, match="6 lines came out of 7"):
        finalize.finalize(world.env, batch.tenant, batch.id)
    assert world.batch(batch).status is BatchStatus.FINALIZING
    world.untapped.store.transact(Update(key, add={"total": -1}))


def test_files_are_removed_once_they_expire(world):
    batch = all_done(world)
    world.settle()
    after = world.batch(batch)
    world.advance(31 * 86400)
    assert files.page(world.untapped, "acme", after=None, limit=10, purpose="batch_output") == (
        [],
        False,
    )
    world.reap()
    for file_id in (after.output_file_id, after.error_file_id):
        assert world.blobs.stat(files.blob_key("acme", file_id)) is None
        assert world.store.get(records.file_key("acme", file_id)) == [None]
    assert world.blobs.stat(batch.input_key) is not None
    assert world.store.query(records.DUE_FILE, index=Index.DUE) == []
