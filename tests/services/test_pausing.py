"""Pausing and resuming, in every state: what is in flight finishes, nothing new is started."""

from dataclasses import replace
from functools import partial

import pytest
from msgspec import structs

from backburner.domain.batch import Batch, BatchKind, BatchStatus, StopReason
from backburner.domain.errors import NotFound, StateConflict
from backburner.domain.shard import Cut, ShardStatus
from backburner.ports import QueueName
from backburner.services import batches, finalize, pausing, transitions
from tests import oracle
from tests.backend import answer_with
from tests.tap import crash_after, meanwhile_at
from tests.world import LIMITS, World, a_catalog, a_model, a_world_in_memory


@pytest.fixture
def world():
    with a_world_in_memory() as world:
        yield world
        oracle.check_step(world)


def pause(world: World, batch: Batch) -> Batch:
    return pausing.pause(world.env, batch.tenant, batch.id)


def resume(world: World, batch: Batch) -> Batch:
    return pausing.resume(world.env, batch.tenant, batch.id)


def go(world: World) -> None:
    world.pump(QueueName.PLAN, QueueName.DISPATCH)


def statuses(world: World, batch: Batch) -> list[str]:
    return [str(shard.status) for shard in world.shards(batch)]


def test_what_is_in_flight_finishes_and_nothing_new_is_started(world):
    batch = world.submit(20)
    go(world)
    world.answer()
    go(world)
    assert statuses(world, batch) == ["done", "in_flight", "in_flight", "waiting", "waiting"]
    paused = pause(world, batch)
    assert (paused.status, paused.paused, paused.paused_shards) == ("in_progress", True, 2)
    world.run()
    after = world.batch(batch)
    assert (after.status, after.completed) == (BatchStatus.IN_PROGRESS, 12)
    assert statuses(world, batch) == ["done", "done", "done", "paused", "paused"]
    world.tick(10)
    assert world.outstanding == []


def test_a_shard_that_another_call_set_aside_keeps_no_other_in_the_queue(world):
    batch = world.submit(20)
    go(world)
    world.answer()
    go(world)
    waiting = [shard for shard in world.shards(batch) if shard.status is ShardStatus.WAITING]
    world.untapped.store.transact(*transitions.pause(world.batch(batch), paused=True))
    writes = transitions.set_aside(waiting[:1])
    first = partial(world.untapped.store.transact, *writes)
    with world.tap.hooked(meanwhile_at("store.transact", world.tap, first)):
        pausing.set_aside(world.env, world.batch(batch))
    assert statuses(world, batch) == ["done", "in_flight", "in_flight", "paused", "paused"]


def test_paused_work_is_no_backlog_so_that_no_instance_is_kept_for_it(world):
    batch = world.submit(20)
    go(world)
    pause(world, batch)
    world.run()
    world.report_backlog()
    values = [values for values, _ in world.published if "WaitingRequests" in values][-3]
    assert (values["OutstandingRequests"], values["WantedInstances"]) == (0, 0)
    assert values["OldestWaitingSeconds"] == 0


def test_a_resumed_batch_goes_on_and_wakes_its_pool(world):
    batch = world.submit(20)
    go(world)
    pause(world, batch)
    world.run()
    world.advance(600)
    world.backend.instance_count = 0
    resumed = resume(world, batch)
    assert (resumed.paused, resumed.paused_shards) == (False, 0)
    go(world)
    assert len(world.outstanding) == 2
    assert world.backend.instance_count == 1
    world.settle()
    after = world.batch(batch)
    assert (after.status, after.completed) == (BatchStatus.COMPLETED, 20)
    oracle.check_end(world)


def test_a_batch_that_is_paused_while_it_validates_is_planned_and_waits(world):
    batch = world.submit(8)
    assert pause(world, batch).status is BatchStatus.VALIDATING
    world.run()
    world.tick()
    assert world.backend.submissions == []
    assert statuses(world, batch) == ["paused", "paused"]
    resume(world, batch)
    world.settle()
    assert world.batch(batch).completed == 8
    oracle.check_end(world)


def test_the_rest_behind_the_canary_stays_unreleased_while_the_batch_is_paused(world):
    batch = world.submit(20)
    go(world)
    pause(world, batch)
    world.run()
    assert world.batch(batch).is_released is False
    resume(world, batch)
    world.settle()
    assert world.batch(batch).completed == 20
    oracle.check_end(world)


def test_lines_to_try_again_wait_for_the_batch_to_go_on(world):
    batch = world.submit(3)
    go(world)
    pause(world, batch)
    world.answer(reply=answer_with(500))
    world.tick(3)
    assert statuses(world, batch) == ["done", "paused"]
    resume(world, batch)
    world.settle()
    assert world.batch(batch).completed == 3
    oracle.check_end(world)


def test_a_late_result_of_a_shard_that_is_paused_counts(world):
    batch = world.submit(3)
    go(world)
    (attempt,) = world.outstanding
    pause(world, batch)
    world.lose(attempt)
    world.tick(6)
    assert statuses(world, batch) == ["paused"]
    world.answer(attempt)
    world.settle()
    after = world.batch(batch)
    assert (after.status, after.completed, after.paused) == (BatchStatus.COMPLETED, 3, False)
    oracle.check_end(world)


def test_a_paused_batch_expires(world):
    batch = world.submit(20, window="15m")
    go(world)
    pause(world, batch)
    world.answer()
    go(world)
    world.tick(20)
    after = world.batch(batch)
    assert (after.status, after.completed, after.failed) == (BatchStatus.EXPIRED, 4, 16)
    assert after.paused is False
    oracle.check_end(world)


def test_a_paused_batch_is_cancelled(world):
    batch = world.submit(8)
    pause(world, batch)
    world.run()
    batches.cancel(world.env, batch.tenant, batch.id, kind=BatchKind.FILE)
    world.settle()
    assert (world.batch(batch).status, world.batch(batch).paused) == (BatchStatus.CANCELLED, False)
    assert statuses(world, batch) == ["dropped", "dropped"]
    oracle.check_end(world)


def test_another_batch_of_the_pool_goes_on(world):
    held = world.submit(20, window="15m")
    go(world)
    world.answer()
    pause(world, held)
    other = world.submit(4, tenant="zeta")
    world.run()
    assert world.batch(other).status is BatchStatus.COMPLETED
    assert world.batch(held).status is BatchStatus.IN_PROGRESS


@pytest.mark.long
def test_more_shards_than_one_call_moves_are_paused_and_resumed(world):
    catalog = a_catalog(a_model(cut=Cut(lines=1, bytes=10**6, tokens=10**6)))
    limits = replace(LIMITS, canary_lines=1)
    with a_world_in_memory(limits=limits, catalog=catalog) as many:
        batch = many.submit(320)
        go(many)
        many.answer()
        many.pump(QueueName.PLAN, QueueName.DISPATCH)
        assert pause(many, batch).paused_shards == 264
        many.pump(QueueName.PLAN)
        assert many.batch(batch).paused_shards == 317
        assert many.pool().waiting_lines == 0
        assert resume(many, batch).paused_shards == 53
        many.pump(QueueName.PLAN)
        many.untapped.store.transact(*transitions.pause(many.batch(batch), paused=True))
        many.answer()
        many.pump(QueueName.DISPATCH)  # who paused it died then: as many calls as it takes
        assert many.batch(batch).paused_shards == 317
        resume(many, batch)
        many.run()
        assert many.batch(batch).completed == 320
        oracle.check_end(many)


def test_who_died_while_resuming_is_made_up_for(world):
    batch = world.submit(20)
    go(world)
    pause(world, batch)
    world.run()
    resume(world, batch)
    pause(world, batch)
    world.pump()
    world.env.store.transact(*transitions.pause(world.batch(batch), paused=False))
    world.settle()
    assert world.batch(batch).completed == 20
    oracle.check_end(world)


def test_either_again_is_no_error(world):
    batch = world.submit(2)
    for act in (resume, pause, pause, resume, resume):
        act(world, batch)
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED


@pytest.mark.parametrize("act", [pause, resume])
def test_what_has_ended_or_stops_is_neither_paused_nor_resumed(world, act):
    done, stopping, cancelling = world.submit(1), world.submit(1), world.submit(1)
    go(world)
    world.answer()
    world.pump()
    batches.stop(world.env, world.batch(stopping), StopReason.EXPIRED)
    batches.cancel(world.env, "acme", cancelling.id, kind=BatchKind.FILE)
    for batch, word in ((done, "completed"), (stopping, "stopping"), (cancelling, "cancelling")):
        done_to = "paused" if act is pause else "resumed"
        with pytest.raises(StateConflict, match=f"can't be {done_to}: it is {word}") as caught:
            act(world, batch)
        assert caught.value.param == "id"


@pytest.mark.parametrize("act", [pause, resume])
def test_another_tenants_batch_is_not_found(world, act):
    batch = structs.replace(world.submit(1), tenant="zeta")
    with pytest.raises(NotFound):
        act(world, batch)


def test_a_batch_that_is_paused_while_it_is_rejected_is_not_paused_any_more(world):
    batch = world.submit(b"no json\n")
    with world.tap.hooked(meanwhile_at("store.transact", world.tap, lambda: pause(world, batch))):
        go(world)
    after = world.batch(batch)
    assert (after.status, after.paused) == (BatchStatus.FAILED, False)


def test_a_paused_batch_whose_shards_have_all_ended_is_shown_as_finalizing(world):
    batch = world.submit(3)
    go(world)
    pause(world, batch)
    world.answer()
    with crash_after(world.tap, "store.transact"):
        finalize.finalize(world.env, batch.tenant, batch.id)
    after = world.batch(batch)
    assert (after.status, after.paused) == (BatchStatus.FINALIZING, False)
    world.run()
    assert world.batch(batch).status is BatchStatus.COMPLETED
