"""Objects that are lost or corrupt: what is left comes out, and the batch ends in time."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import Lost, NotFound
from backburner.ports import QueueName
from backburner.services import batches, files, finalize, manifest, plan, results, shard_lines
from tests import oracle
from tests.backend import by_name
from tests.tap import meanwhile
from tests.world import LIMITS, MINUTE, World, a_world_in_memory, chat, jsonl

MODELS = ["mistral", "ministral", "mistral", "mistral"]


@pytest.fixture
def world():
    """Everything that may be an object is one."""
    with a_world_in_memory(limits=replace(LIMITS, inline_bytes=10)) as world:
        yield world


def mixed() -> bytes:
    """Three shards of a model, two of another, two bad lines and a blank one."""
    lines = [chat(f"acme-{n}", model=MODELS[n % 4]) for n in range(1, 19)]
    return jsonl([*lines[:3], b"bad", *lines[3:7], b"", *lines[7:], b"bad"])


def live(world: World, *, minutes: int = 40) -> None:
    """Let time pass; what fails is tried again, as the queues and schedules do."""
    for _ in range(minutes):
        world.pump(strict=False)
        for attempt in world.outstanding:
            with suppress(NotFound, Lost, ValueError):
                attempt.is_told = True
                world.answer(attempt, flaky(attempt))
        world.advance(MINUTE)
        with suppress(ExceptionGroup):
            world.reap()
    world.pump()


def flaky(attempt: Any) -> Any:
    """Some lines fail at first."""
    return by_name({"acme-2": 500, "acme-9": 500}) if attempt.shard.attempt == 1 else None


def once_planned(world: World) -> None:
    world.pump(QueueName.PLAN)


def once_the_canary_is_in(world: World) -> None:
    world.pump()
    world.answer(reply=flaky(world.outstanding[0]))


def once_all_is_done(world: World) -> None:
    queues = (QueueName.PLAN, QueueName.DISPATCH)
    world.pump(*queues)
    while any(one.open_shards for one in world.all_batches()):
        for attempt in world.outstanding:
            world.answer(attempt, flaky(attempt))
        world.advance(5)
        world.pump(*queues)


def harm(world: World, batch: Batch, name: str, how: Callable[[bytes], bytes | None]) -> list[str]:
    """Delete or change the batch's objects of that name; returns their keys."""
    keys = [stat.key for stat in world.blobs.list(batch.blob_prefix) if name in stat.key]
    for key in keys:
        changed = how(world.blobs.get(key))
        world.blobs.delete(key) if changed is None else world.blobs.put(key, changed)
    return keys


HARMS: Any = [
    pytest.param(lambda _: None, id="deleted"),
    pytest.param(lambda data: data[: len(data) // 2], id="cut"),
    pytest.param(lambda data: b"\xff\x00" * (len(data) // 2), id="garbled"),
]


def came_out(world: World, batch: Batch) -> list[int]:
    lines = world.output(batch) + world.errors(batch)
    return sorted(int(line["id"].rpartition("-")[2]) for line in lines)


def lost(world: World, batch: Batch) -> list[str]:
    return [
        line["custom_id"]
        for line in world.errors(batch)
        if line["error"] and line["error"]["code"] == "result_lost"
    ]


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize(
    "name", ["plans/", "manifest", "skipped", "/00001", "/00002", "/00004", "results/", "inputs/"]
)
@pytest.mark.parametrize("moment", [once_planned, once_the_canary_is_in, once_all_is_done])
def test_each_line_still_comes_out_once_and_in_time(world, moment, name, how):
    batch = world.submit(mixed(), window="15m", on_invalid="skip")
    moment(world)
    harm(world, batch, name, how)
    live(world)
    oracle.check_end(world)
    assert world.batch(batch).status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED)


@pytest.mark.parametrize("how", HARMS[:2])
@pytest.mark.parametrize("name", ["plans/", "manifest", "skipped", "results/", "/00002", "/"])
@pytest.mark.parametrize("moment", [once_planned, once_the_canary_is_in, once_all_is_done])
def test_without_the_input_file_it_still_ends_in_time_and_its_counts_are_true(
    world, moment, name, how
):
    batch = world.submit(mixed(), window="15m", on_invalid="skip")
    moment(world)
    files.delete(world.untapped, "acme", batch.input_file_id)
    harm(world, batch, name, how)
    live(world)
    oracle.check_step(world)
    after = world.batch(batch)
    assert after.is_terminal
    assert after.ended_at <= after.expires_at + oracle.GRACE_SECONDS
    assert len(set(came_out(world, batch))) == after.completed + after.failed
    assert (len(world.output(batch)), len(world.errors(batch))) == (after.completed, after.failed)
    missing = after.total - after.completed - after.failed
    assert (after.status is BatchStatus.FAILED) is (missing > 0)
    if missing:
        (finding,) = batches.findings(world.untapped, after)
        assert finding.message == f"{missing} of the batch's 20 requests were lost."


def test_exactly_the_lines_of_a_lost_result_are_lost(world, caplog):
    batch = world.submit(6, window="15m")
    once_all_is_done(world)
    harm(world, batch, "results/00002", lambda _: None)
    live(world)
    after = world.batch(batch)
    assert (after.status, after.completed, after.failed) == (BatchStatus.COMPLETED, 4, 2)
    assert lost(world, batch) == ["acme-5", "acme-6"]
    assert [one.levelno for one in caplog.records if "batch.lost" in one.message] == [logging.ERROR]
    oracle.check_end(world)


def test_lines_without_gaps_are_known_by_their_numbers(world):
    batch = world.submit(6, window="15m")
    once_all_is_done(world)
    files.delete(world.untapped, "acme", batch.input_file_id)
    harm(world, batch, "/00002", lambda _: None)
    live(world)
    assert lost(world, batch) == ["line-5", "line-6"]
    assert world.batch(batch).status is BatchStatus.COMPLETED


def test_before_the_deadline_a_loss_may_heal(world):
    batch = world.submit(6, window="1h")
    once_all_is_done(world)
    (key,) = [
        stat.key for stat in world.blobs.list(batch.blob_prefix) if "results/00002" in stat.key
    ]
    data = world.blobs.get(key)
    world.blobs.delete(key)
    live(world, minutes=10)
    assert world.batch(batch).status is BatchStatus.FINALIZING
    with pytest.raises(NotFound):
        finalize.finalize(world.env, "acme", batch.id)
    world.blobs.put(key, data)
    live(world)
    assert (world.batch(batch).completed, lost(world, batch)) == (6, [])
    oracle.check_end(world)


def test_a_manifest_that_is_lost_after_the_release_is_not_missed(world):
    batch = world.submit(12)
    world.pump()
    world.answer()
    world.pump()
    assert harm(world, batch, "manifest", lambda _: None)
    world.settle()
    assert world.batch(batch).completed == 12
    oracle.check_end(world)


def test_a_manifest_that_can_not_be_read_names_its_batch(world):
    batch = world.submit(12)
    once_planned(world)
    harm(world, batch, "manifest", lambda _: b"[")
    with pytest.raises(Lost, match=batch.id):
        manifest.load(world.untapped, world.batch(batch))
    with pytest.raises(Lost):
        plan.release(world.untapped, world.batch(batch))


def test_requests_that_are_cut_off_name_their_shard(world):
    batch = world.submit(3)
    once_planned(world)
    (shard,) = world.shards(batch)
    harm(world, batch, "/00001", lambda data: data[: data.index(b"\n") + 1])
    with pytest.raises(Lost, match=f"{batch.id}.*: 1 of 3 requests are left"):
        shard_lines.request_lines(world.untapped, shard)


def test_a_finalizer_that_is_overtaken_never_takes_what_was_removed_for_lost(world):
    """A finds a result lost; while it writes, B does too, ends the batch and cleans up."""
    batch = world.submit(6, window="15m")
    once_all_is_done(world)
    harm(world, batch, "results/00002", lambda _: None)
    world.advance(15 * MINUTE)

    def other() -> None:
        finalize.finalize(world.untapped, "acme", batch.id)

    for number in range(1, 14):
        with world.tap.hooked(meanwhile(number, world.tap, other)):
            finalize.finalize(world.env, "acme", batch.id)
        assert lost(world, batch) == ["acme-5", "acme-6"], number
        live(world, minutes=2)
        oracle.check_end(world)
        batch = world.submit(6, window="15m")
        once_all_is_done(world)
        harm(world, batch, "results/00002", lambda _: None)
        world.advance(15 * MINUTE)


def test_a_response_whose_result_is_lost_says_so(world):
    batch = world.respond()
    world.settle()
    prefix = world.batch(batch).blob_prefix
    harm(world, batch, "results/", lambda _: None)
    outcome = results.single(world.untapped, world.batch(batch))
    assert outcome is not None
    assert (outcome.code, batch.kind) == ("result_lost", BatchKind.RESPONSE)
    assert list(world.blobs.list(f"{prefix}results/")) == []


def test_a_response_whose_request_is_lost_ends_in_time(world):
    batch = world.respond(window="15m")
    harm(world, batch, "", lambda _: None)
    live(world)
    after = world.batch(batch)
    assert after.is_terminal
    assert after.ended_at <= after.expires_at + oracle.GRACE_SECONDS
