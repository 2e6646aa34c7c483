"""Records of ended work vanish some day, and nothing else does."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import BatchStatus
from backburner.services import keys
from backburner_local.adapters.store import SqliteStore
from tests.world import LIMITS, World, a_world, a_world_in_memory, chat

DAY = 86400.0


def partitions(world: World) -> set[str]:
    """Of all items that are left."""
    return world.database.read(
        lambda connection: {row[0] for row in connection.execute("SELECT partition FROM items")}
    )


def run_one_of_each(world: World) -> list[Any]:
    """A batch, a single request and a dropped file, all with a shard that was tried again."""
    keys.create(world.env, "acme")
    world.submit(3, metadata={"notify_email": "ada@example.com"})
    world.respond("one")
    world.notify_upload(world.drop("a.jsonl", [chat("a")]))
    world.settle()
    ended = world.all_batches()
    assert len(ended) == 3
    return ended


def test_records_of_ended_work_vanish_after_their_files_and_all_else_stays(world_on_disk):
    world = world_on_disk
    ended = run_one_of_each(world)
    until = {batch.ttl for batch in ended}
    assert min(until) >= world.clock.now() + LIMITS.record_seconds
    before = partitions(world)
    SqliteStore(world.database).sweep(min(until) - 1)
    assert partitions(world) == before
    world.advance(max(until) + 1 - world.clock.now())
    world.reap()
    SqliteStore(world.database).sweep(world.clock.now())
    gone = {f"{batch.tenant}/{batch.id}" for batch in ended}
    gone |= {"acme/batches", "acme/responses", "dropper/batches", "dropper/files"}
    assert before - partitions(world) == gone
    assert [item["purpose"] for item in world.store.query("acme/files")] == ["batch"]
    world.reap()  # what is left needs none of it


@pytest.mark.parametrize("kept_days", [7, 30, 200])
def test_a_batch_is_known_for_longer_than_its_files_are_kept(kept_days):
    limits = replace(LIMITS, record_seconds=30 * DAY, output_expires_seconds=kept_days * DAY)
    with a_world_in_memory(limits=limits) as world:
        batch = world.submit(1)
        world.settle()
        ended = world.batch(batch)
        assert ended.status is BatchStatus.COMPLETED
        (file,) = [f for f in world.store.query("acme/files") if f.get("batch_id") == batch.id]
        assert ended.ttl is not None
        assert ended.ttl > file["expires_at"]
        assert {delivery.ttl for delivery in world.deliveries(ended)} == {ended.ttl}
        assert {shard.ttl for shard in world.shards(ended)} == {ended.ttl}


def test_an_operator_may_keep_records_for_ever():
    with a_world(limits=replace(LIMITS, record_seconds=0)) as world:
        run_one_of_each(world)
        assert SqliteStore(world.database).sweep(world.clock.now() + 10_000 * DAY) == 0
