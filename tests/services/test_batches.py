"""What is known of a batch, and who may ask."""

import pytest

from backburner.domain.batch import BatchKind, BatchStatus
from backburner.domain.errors import NotFound
from backburner.domain.finding import Finding
from backburner.domain.shard import shard_id
from backburner.ports import Index
from backburner.services import batches, files, records, transitions
from tests import oracle
from tests.backend import answer_with
from tests.domain.values import a_shard
from tests.world import a_world_in_memory


def test_all_shards_of_a_batch_are_read_however_many():
    with a_world_in_memory() as world:
        batch = world.submit(1)
        planned = [a_shard(batch_id=batch.id, id=shard_id(n)) for n in range(1, 1002)]
        for start in range(0, len(planned), 90):
            world.store.transact(*transitions.enqueue(planned[start : start + 90]))
        assert batches.shards(world.untapped, batch) == planned


@pytest.mark.parametrize(("asked", "kept"), [(10.0, 10.0), (10.0**6, 86400.0)])
def test_a_batch_is_looked_at_again_when_asked_and_at_its_deadline_at_the_latest(
    world, asked, kept
):
    batch = world.submit(1)
    now = world.clock.now()
    batches.look_again(world.untapped, batch, at=now + asked)
    (due,) = world.store.query(records.DUE_BATCH, index=Index.DUE)
    assert due["due_sort"] == records.due_sort(now + kept, "acme", batch.id)
    world.settle()
    batches.look_again(world.untapped, batch, at=now)  # it has ended
    assert world.store.query(records.DUE_BATCH, index=Index.DUE) == []


def test_a_batch_whose_canary_failed_says_how_many_failed(world):
    batch = world.submit(12)
    world.settle(answer_with(400))
    after = world.batch(batch)
    assert after.status is BatchStatus.FAILED
    assert batches.findings(world.untapped, after) == [
        Finding(
            code="canary_failed",
            message="4 of the batch's first 4 requests failed; the rest was not run.",
        )
    ]
    oracle.check_end(world)


def test_a_batch_that_did_not_fail_has_no_findings(world):
    batch = world.submit(1)
    assert batches.findings(world.untapped, batch) == []
    world.settle()
    assert batches.findings(world.untapped, world.batch(batch)) == []


@pytest.mark.parametrize(
    ("kind", "noun"), [(BatchKind.FILE, "Batch"), (BatchKind.RESPONSE, "Response")]
)
def test_what_is_not_there_is_named_as_what_was_asked_for(world, kind, noun):
    with pytest.raises(NotFound, match=f"No such {noun} object: batch_none") as caught:
        batches.find(world.untapped, "acme", "batch_none", kind=kind)
    assert caught.value.param == "id"


def test_a_file_that_nothing_went_into_is_no_object_either(world):
    batch = world.submit(2)
    world.settle()
    there = [
        world.blobs.stat(files.blob_key("acme", files.result_id(batch.id, name))) is not None
        for name in ("output", "errors")
    ]
    assert there == [True, False]
