"""One oracle: what the design promises (§9), checked against a world.

`check_step` holds after every step of every handler, `check_end` once nothing is left to do.
"""

import json
from collections import Counter
from email import message_from_bytes
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import NotFound
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Index, QueueName
from backburner.services import batches, collect, files, results
from backburner.services import records as keys
from tests.backend import content
from tests.world import World

GRACE_SECONDS = 15 * 60.0


def check_step(world: World) -> None:
    """What holds at any moment, whoever died in between."""
    assert world.store.violations == []
    assert world.backend.violations == []
    everything = [(batch, world.shards(batch)) for batch in world.all_batches()]
    _slots_are_those_of_the_shards(world, [shard for _, some in everything for shard in some])
    for batch, shards in everything:
        _counts_are_those_of_the_shards(world, batch, shards)


def check_end(world: World, *, tidy: bool = True) -> None:
    """All ten guarantees, once every timer has run out and every queue is empty.

    Args:
        world: at rest.
        tidy: whether no object may be left that nobody needs.
    """
    check_step(world)
    assert world.is_quiet
    found = {(batch.tenant, batch.id) for batch in world.all_batches()}
    assert world.accepted <= found, "accepted is durable"
    for model in world.env.catalog.models.values():
        pool = world.pool(model.name)
        assert (pool.in_flight, pool.waiting_lines, pool.running_lines) == (0, 0, 0), pool
        assert world.store.query(model.pool, index=Index.QUEUE) == []
    for batch in world.all_batches():
        _is_over_in_time(batch)
        _came_out_whole(world, batch)
        _was_told(world, batch)
        _is_unseen_by_others(world, batch)
        assert all(not shard.is_open for shard in world.shards(batch))
    for queue in QueueName:
        assert world.queue.counts(queue).waiting == 0
    if tidy:
        assert [stat.key for stat in world.blobs.list("batches/") if "/batch_" in stat.key] == []


# ---------------------------------------------------------------- at any moment


def _slots_are_those_of_the_shards(world: World, shards: list[Shard]) -> None:
    for model in world.env.catalog.models.values():
        pool, mine = world.pool(model.name), [one for one in shards if one.pool == model.pool]
        running = [one for one in mine if one.status is ShardStatus.IN_FLIGHT]
        waiting = [one for one in mine if one.status is ShardStatus.WAITING]
        assert 0 <= pool.in_flight <= model.slots
        assert pool.in_flight == len(running)
        assert pool.running_lines == sum(one.line_count for one in running)
        assert pool.waiting_lines == sum(one.line_count for one in waiting)
        queued = [
            item["id"] for item in world.store.query(model.pool, index=Index.QUEUE, limit=999)
        ]
        assert sorted(queued) == sorted(one.id for one in waiting)
        held = Counter(one.tenant for one in running)
        for tenant in world.tenants:
            (share,) = world.store.get(keys.share_key(tenant, model.pool))
            assert (share["in_flight"] if share else 0) == held[tenant]


def _counts_are_those_of_the_shards(world: World, batch: Batch, shards: list[Shard]) -> None:
    assert batch.completed + batch.failed <= batch.total
    assert batch.is_terminal or batch.ended_at is None
    still_open = [one for one in shards if one.is_open]
    planned = [one for one in shards if "-" not in one.id]
    unreleased = 0 if batch.is_released else batch.planned_shards - len(planned)
    assert batch.open_shards == len(still_open) + unreleased
    assert not (batch.is_terminal and batch.open_shards)
    if batch.kind is BatchKind.FILE and not batch.is_terminal:
        ended = [
            outcome
            for one in shards
            if one.status is ShardStatus.DONE
            for outcome in collect.kept_outcomes(world.untapped, one)
        ]
        assert batch.completed == sum(outcome.is_success for outcome in ended)
        if batch.stopping is None:
            failed = sum(not outcome.is_success for outcome in ended)
            assert batch.failed - batch.skipped == failed


# ---------------------------------------------------------------- at the end


def _is_over_in_time(batch: Batch) -> None:
    assert batch.is_terminal, batch
    assert batch.ended_at is not None
    assert batch.ended_at <= batch.expires_at + GRACE_SECONDS


def _came_out_whole(world: World, batch: Batch) -> None:
    if batch.kind is BatchKind.RESPONSE:
        _response_came_out(world, batch)
    elif batch.status is BatchStatus.FAILED and batch.stopping is None:
        assert batches.findings(world.untapped, batch)
        assert (batch.output_file_id, batch.error_file_id) == (None, None)
        assert world.shards(batch) == []
    elif batch.in_progress_at is not None and batch.planned_shards + batch.skipped:
        _every_line_came_out_once(world, batch)
    else:
        assert batch.status in (BatchStatus.EXPIRED, BatchStatus.CANCELLED)
        assert batch.total == 0
        assert world.shards(batch) == []


def _every_line_came_out_once(world: World, batch: Batch) -> None:
    asked = _input_lines(world, batch)
    came_out: list[int] = []
    for is_success, lines, count in (
        (True, world.output(batch), batch.completed),
        (False, world.errors(batch), batch.failed),
    ):
        assert len(lines) == count
        numbers = [int(line["id"].rpartition("-")[2]) for line in lines]
        assert numbers == sorted(numbers), "files are in input order"
        came_out += numbers
        for number, line in zip(numbers, lines, strict=True):
            request = asked[number]
            assert request is not None or not is_success
            if request is None:  # skipped as invalid
                continue
            if not (batch.skipped and line["error"]):
                assert line["custom_id"] == request["custom_id"]
            assert (line["response"] is None) is (line["error"] is not None)
            if is_success:
                said = line["response"]["body"]["choices"][0]["message"]["content"]
                assert said == content(request["body"]["messages"][-1]["content"])
    assert sorted(came_out) == sorted(asked), "every line comes out exactly once"
    assert batch.total == len(asked) == batch.completed + batch.failed
    _files_are_recorded(world, batch)


def _input_lines(world: World, batch: Batch) -> dict[int, Any]:
    """The batch's lines by number; None for those that are no requests."""
    found = {}
    for number, data in enumerate(world.input_of(batch).removeprefix(b"\xef\xbb\xbf").split(b"\n")):
        if not data.strip():
            continue
        try:
            found[number + 1] = json.loads(data)
        except ValueError:
            found[number + 1] = None
    return found


def _files_are_recorded(world: World, batch: Batch) -> None:
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id is not None:
            (item,) = world.store.get(keys.file_key(batch.tenant, file_id))
            assert item is not None
            stat = world.blobs.stat(files.blob_key(batch.tenant, file_id))
            assert stat is not None
            assert stat.size == item["size"] > 0


def _response_came_out(world: World, batch: Batch) -> None:
    outcome = results.single(world.untapped, batch)
    assert (batch.total, batch.completed + batch.failed) == (1, 1)
    if batch.status is BatchStatus.COMPLETED:
        assert outcome is not None
        assert outcome.is_success
        assert batch.completed == 1
    elif batch.status is BatchStatus.FAILED:
        assert outcome is not None
        assert not outcome.is_success
    else:
        assert batch.stopping is not None
        assert (outcome is not None and outcome.is_success) is (batch.completed == 1)


def _was_told(world: World, batch: Batch) -> None:
    """At least once, always as the same event, and never anything but the end."""
    noun = "batch" if batch.kind is BatchKind.FILE else "response"
    told = [one for one in world.told if one.event["data"]["id"] == batch.id]
    assert told, f"nobody was told of {batch.id}"
    for one in told:
        assert one.event["id"] == f"evt_{batch.id}"
        assert one.event["type"] == f"{noun}.{batch.status}"
        assert one.attributes["tenant"] == batch.tenant
        counts = one.event["data"]["request_counts"]
        assert counts == {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        }
    if (address := batch.metadata.get("notify_email")) is not None:
        mail = message_from_bytes((world.outbox / f"evt_{batch.id}.eml").read_bytes())
        assert mail["To"] == address


def _is_unseen_by_others(world: World, batch: Batch) -> None:
    for stranger in world.tenants - {batch.tenant} | {"stranger"}:
        with pytest.raises(NotFound):
            batches.find(world.untapped, stranger, batch.id, kind=batch.kind)
        for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
            if file_id is not None:
                with pytest.raises(NotFound):
                    files.find(world.untapped, stranger, file_id)
    for one in world.backend.submissions:
        if one.shard.batch_id == batch.id:
            assert one.shard.tenant == batch.tenant
