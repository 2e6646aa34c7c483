"""Cancelling and expiring, in every state: what has finished is kept, the rest is told."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import NotFound
from backburner.domain.shard import Cut
from backburner.ports import QueueName, Update
from backburner.services import batches, reap, records, transitions
from tests import oracle
from tests.backend import answer_with
from tests.world import LIMITS, World, a_catalog, a_model, a_world, a_world_in_memory, chat


def cancel(world: World, batch: Batch) -> Any:
    return batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)


def codes(world: World, batch: Batch) -> Any:
    return [(line["error"] or {}).get("code") for line in world.errors(batch)]


# ---------------------------------------------------------------- cancelling


def test_a_batch_that_is_validating_is_cancelled_without_files(world):
    batch = world.submit(5)
    assert cancel(world, batch).status is BatchStatus.CANCELLING
    world.settle()
    after = world.batch(batch)
    assert (after.status, after.output_file_id) == (BatchStatus.CANCELLED, None)
    assert world.backend.submissions == []
    oracle.check_end(world)


def test_what_waits_is_dropped_and_what_has_finished_is_kept(world):
    batch = world.submit(12)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer()
    cancel(world, batch)
    world.settle()
    after = world.batch(batch)
    assert after.status is BatchStatus.CANCELLED
    assert (after.completed, after.failed) == (4, 8)
    assert codes(world, batch) == ["batch_cancelled"] * 8
    oracle.check_end(world)


def test_what_is_in_flight_may_still_finish(world):
    batch = world.submit(8)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    cancel(world, batch)
    world.advance(60)
    world.settle()
    assert world.batch(batch).completed == 8
    assert world.batch(batch).status is BatchStatus.CANCELLED
    oracle.check_end(world)


def test_what_is_in_flight_is_given_up_after_the_grace():
    with a_world_in_memory(limits=replace(LIMITS, request_ttl_seconds=3600)) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        cancel(world, batch)
        for attempt in world.outstanding:
            world.lose(attempt)
        world.tick(6)
        assert world.batch(batch).status is BatchStatus.CANCELLED
        assert len(world.backend.stopped) == 2
        oracle.check_end(world)


def test_lines_to_retry_are_not_tried_again_once_the_batch_stops(world):
    batch = world.submit(3)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    cancel(world, batch)
    world.answer(reply=answer_with(500))
    world.pump()
    assert world.batch(batch).status is BatchStatus.CANCELLED
    assert codes(world, batch) == ["batch_cancelled"] * 3
    oracle.check_end(world)


def test_cancelling_again_or_too_late_changes_nothing(world):
    batch = world.submit(2)
    cancel(world, batch)
    assert cancel(world, batch).status is BatchStatus.CANCELLING
    world.settle()
    before = world.batch(batch)
    assert cancel(world, batch) == before
    done = world.submit([chat("other")])
    world.settle()
    assert cancel(world, done).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_no_one_cancels_what_is_another_tenants(world):
    batch = world.submit(2)
    with pytest.raises(NotFound):
        batches.cancel(world.env, "zeta", batch.id, kind=BatchKind.FILE)
    assert world.batch(batch).stopping is None


def of_many_shards(world: World, lines: int) -> Any:
    """A batch of one-line shards, all of them released, none in flight."""
    batch = world.submit(lines)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    if lines > 1:
        world.answer()
        world.pump(QueueName.PLAN)
    return batch


ONE_LINE = Cut(lines=1, bytes=10**6, tokens=10**6)


def test_cancelling_a_large_batch_is_a_bounded_piece_of_work_and_the_rest_follows():
    with a_world(catalog=a_catalog(a_model(cut=ONE_LINE))) as world:
        batch = of_many_shards(world, 800)
        waiting = world.pool().waiting_lines
        with world.tap.hooked(None):
            assert cancel(world, batch).status is BatchStatus.CANCELLING
            assert world.tap.calls.count("store.transact") <= 15
        assert waiting - 300 <= world.pool().waiting_lines < waiting
        world.run()
        assert world.pool().waiting_lines == 0
        assert world.batch(batch).status is BatchStatus.CANCELLED
        oracle.check_end(world)


def test_a_batch_of_few_shards_is_drained_at_once():
    with a_world_in_memory(catalog=a_catalog(a_model(cut=ONE_LINE))) as world:
        batch = of_many_shards(world, 40)
        assert world.pool().waiting_lines >= 30
        cancel(world, batch)
        assert world.pool().waiting_lines == 0
        world.settle()
        assert world.batch(batch).status is BatchStatus.CANCELLED
        oracle.check_end(world)


def test_a_shard_that_moves_meanwhile_does_not_keep_the_others_from_being_dropped():
    with a_world_in_memory(catalog=a_catalog(a_model(cut=ONE_LINE))) as world:
        batch = of_many_shards(world, 40)
        dropped: list[Any] = []

        def drop_one(call: int, at: str, name: str) -> None:
            if world.batch(batch).stopping and at == "before" and not dropped:
                dropped.append(next(one for one in world.shards(batch) if one.is_open))
                world.store.transact(*transitions.drop(dropped))

        with world.tap.hooked(drop_one):
            cancel(world, batch)
        assert dropped
        assert world.pool().waiting_lines == 0
        world.settle()
        oracle.check_end(world)


# ---------------------------------------------------------------- expiring


def expire(world: World, batch: Batch) -> Any:
    world.clock.advance(batch.expires_at - world.clock.now())
    world.reap()
    world.pump()


def test_a_batch_that_was_never_read_expires(world):
    batch = world.submit(3)
    expire(world, batch)
    assert world.batch(batch).status is BatchStatus.EXPIRED
    oracle.check_end(world)


def test_lines_that_wait_at_the_deadline_come_out_as_expired(world):
    batch = world.submit(12, window="15m")
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer()
    expire(world, batch)
    after = world.batch(batch)
    assert after.status is BatchStatus.EXPIRED
    assert (after.completed, after.failed) == (4, 8)
    assert codes(world, batch) == ["batch_expired"] * 8
    oracle.check_end(world)


def test_lines_in_flight_at_the_deadline_may_still_finish(world):
    batch = world.submit(3, window="15m")
    world.clock.advance(14 * 60)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    expire(world, batch)
    assert world.batch(batch).status is BatchStatus.IN_PROGRESS
    world.answer()
    world.pump()
    after = world.batch(batch)
    assert (after.status, after.completed) == (BatchStatus.EXPIRED, 3)
    oracle.check_end(world)


def test_a_batch_whose_backend_never_answers_is_over_in_time(world):
    batch = world.submit(12, window="15m")
    for _ in range(31):
        world.pump()
        for attempt in world.outstanding:
            world.lose(attempt)
        world.advance(60)
        world.reap()
    world.pump()
    after = world.batch(batch)
    assert after.is_terminal
    assert after.ended_at <= batch.expires_at + 15 * 60
    oracle.check_end(world)


def test_a_batch_that_finished_before_its_deadline_completes_although_nobody_noticed(world):
    batch = world.submit(3, window="15m")
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer(told=False)
    with_the_finalize_message_lost(world)
    assert world.batch(batch).open_shards == 0
    expire(world, batch)
    assert world.batch(batch).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def with_the_finalize_message_lost(world: World) -> Any:
    world.notify_success(world.backend.submissions[0])
    for message in world.queue.receive(QueueName.FINALIZE, 10, 1):
        world.queue.delete([message])


def test_a_model_that_left_the_catalog_does_not_hold_its_batches(world):
    batch = world.submit(8, window="15m")
    other = world.submit([chat("other", model="ministral")], window="15m")
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    for attempt in world.outstanding:
        world.lose(attempt)
    full = world.env.catalog
    world.set_env(replace(world.untapped, catalog=a_catalog(full.models["ministral"])))
    for _ in range(40):
        world.tick()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert {line["error"]["code"] for line in world.errors(batch)} == {"model_not_found"}
    assert world.batch(other).is_terminal
    world.set_env(replace(world.untapped, catalog=full))
    oracle.check_end(world)


def test_what_can_not_be_moved_on_does_not_hold_the_others(world):
    broken = world.submit(2, window="15m")
    fine = world.submit([chat("fine")], window="15m")
    key = records.batch_key(broken.tenant, broken.id)
    world.untapped.store.transact(Update(key, set={"total": "many"}))
    world.clock.advance(15 * 60)
    with pytest.raises(ExceptionGroup, match="could not move"):
        reap.reap(world.env)
    world.pump(QueueName.FINALIZE, QueueName.DELIVER)
    assert world.batch(fine).status is BatchStatus.EXPIRED
    world.untapped.store.transact(Update(key, set={"total": 0}))
