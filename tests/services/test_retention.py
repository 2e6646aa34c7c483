"""Records of ended work vanish some day, and nothing else does."""

import math
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.file import FilePurpose
from backburner.domain.quota import Quota
from backburner.services import files, keys, once, quotas, records
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


@pytest.mark.parametrize(("name", "seconds"), [("order-66", DAY), (None, 600)])
def test_what_is_noted_of_a_request_vanishes_once_it_counts_no_more(world, name, seconds):
    now = world.clock.now()
    asked = once.Asked(
        tenant="acme", route="POST /v1/files", payload="abc", arrived_at=now, name=name
    )
    about: dict[str, Any] = {"filename": "a", "purpose": FilePurpose.BATCH, "size": 0}

    def make(note: Any) -> Any:
        return files.add(world.env, "acme", file_id="file-x", note=note, **about)

    made, _ = once.create(world.env, asked, make, records.to_file)
    (noted,) = world.store.get(asked.key)
    assert (noted["ttl"], noted["payload"]) == (math.ceil(now + seconds), "abc")
    assert records.to_file(noted["value"]) == made


def test_counts_of_a_minutes_requests_vanish_after_the_next(world):
    now = world.clock.now()
    quotas.take_request(world.env, "acme", Quota(requests_per_minute=3))
    (counted,) = world.store.get(records.rate_key("acme", int(now // 60)))
    assert now + 60 < counted["ttl"] <= now + 120
    assert counted["taken"] == 1


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
