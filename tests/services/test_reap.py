"""Reap: whatever got no word in time moves on."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.shard import ShardStatus
from backburner.ports import Index, Put, QueueName
from backburner.services import records
from backburner.services.reap import STUCK_SECONDS
from tests import oracle
from tests.tap import Crash
from tests.world import LIMITS, World, a_catalog, a_model, a_world_in_memory, chat


def in_flight(world: World, lines: Any = 3) -> Any:
    batch = world.submit(lines)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    return batch


def lose_messages(world: World) -> Any:
    for name in QueueName:
        while messages := world.queue.receive(name, 10, 1):
            world.queue.delete(messages)


def test_a_result_whose_notification_was_lost_is_found(world):
    batch = in_flight(world)
    world.answer(told=False)
    world.advance(LIMITS.look_seconds)
    world.reap()
    world.settle()
    assert world.batch(batch).completed == 3
    assert len(world.backend.submissions) == 1
    oracle.check_end(world)


def test_what_was_looked_at_is_due_again_after_its_pause(world):
    batch = in_flight(world)
    (shard,) = world.shards(batch)
    assert shard.look_at == world.clock.now() + LIMITS.look_seconds
    for pause in (LIMITS.look_seconds, LIMITS.look_seconds / 2):
        world.advance(pause)
        world.reap()
    (shard,) = world.shards(batch)
    assert shard.look_at == world.clock.now() + LIMITS.look_seconds / 2
    (due,) = world.store.query(records.DUE_SHARD, index=Index.DUE)
    assert due["due_sort"] == records.due_sort(shard.look_at, "acme", batch.id, shard.id)
    world.settle()


def test_a_shard_is_looked_at_when_its_lease_ends_though_its_pause_is_longer(world):
    batch = in_flight(world)
    (before,) = world.shards(batch)
    world.clock.advance(before.lease_ends_at - world.clock.now() - 1)
    world.reap()
    (shard,) = world.shards(batch)
    assert (shard.ref, shard.look_at) == (before.ref, before.lease_ends_at)
    world.settle()


def test_a_failure_whose_notification_was_lost_is_found(world):
    batch = in_flight(world)
    world.fail(told=False)
    world.advance(LIMITS.look_seconds)
    world.reap()
    assert [shard.status for shard in world.shards(batch)] == [
        ShardStatus.DONE,
        ShardStatus.WAITING,
    ]
    world.settle()
    oracle.check_end(world)


def test_a_shard_is_looked_at_until_its_lease_ends_and_then_waits_again(world):
    batch = in_flight(world)
    world.lose()
    looks = 0
    while world.shards(batch)[0].status is ShardStatus.IN_FLIGHT:
        world.advance(30)
        world.reap()
        looks += 1
        assert looks < 99
    assert 30 * looks >= LIMITS.lease_seconds
    assert world.shards(batch)[0].failed_at == world.clock.now()
    assert world.pool().in_flight == 0
    world.pump()
    assert [one.shard.attempt for one in world.outstanding] == [2]
    world.settle()
    oracle.check_end(world)


def test_a_shard_that_is_always_lost_fails_line_by_line_after_the_last_attempt(world):
    batch = in_flight(world)
    for _ in range(60):
        for attempt in world.outstanding:
            world.lose(attempt)
        world.tick()
    assert len(world.backend.submissions) == 2 + 1 + 3 * LIMITS.retry.max_attempts
    after = world.batch(batch)
    assert (after.status, after.failed) == (BatchStatus.COMPLETED, 3)
    errors = {(line["error"]["code"], line["error"]["message"]) for line in world.errors(batch)}
    assert errors == {("attempt_lost", "No result came back from the model.")}
    oracle.check_end(world)


def test_every_message_may_be_lost(world):
    batch = world.submit(12, metadata={"notify_email": "a@b.example"})
    single = world.respond("single")
    for _ in range(30):
        lose_messages(world)
        world.advance(60)
        world.reap()
        world.pump(strict=True)
        while world.outstanding:
            world.answer(told=False)
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    assert world.batch(single).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_reap_finds_nothing_to_do_in_a_world_at_rest(world):
    world.submit([chat("a")])
    world.settle()
    calls = len(world.tap.calls)
    world.reap()
    assert set(world.tap.calls[calls:]) == {"store.query", "metrics.publish"}


def test_batches_that_should_have_ended_long_ago_are_counted(world):
    def stuck() -> set[float]:
        """What one run publishes, of every endpoint the same."""
        del world.published[:]
        world.reap()
        found = [one for one in world.published if "StuckBatches" in one[0]]
        endpoints = [model.endpoint for model in world.env.catalog.models.values()]
        assert [about for _, about in found] == [{"EndpointName": one} for one in endpoints]
        return {values["StuckBatches"] for values, _ in found}

    for _ in range(2):
        world.submit(2, window="15m")
    world.respond("one")
    lose_messages(world)
    world.clock.advance(900 + STUCK_SECONDS - 1)
    assert stuck() == {0}
    lose_messages(world)
    world.clock.advance(LIMITS.work_seconds)
    assert stuck() == {2}
    world.settle()
    assert stuck() == {0}


# ---------------------------------------------------------------- time, order and poison


def test_a_run_ends_when_its_time_is_spent_and_the_next_one_goes_on():
    limits = replace(LIMITS, reap_seconds=10.0)
    with a_world_in_memory(limits=limits, catalog=a_catalog(a_model(slots=60))) as world:
        for name in range(60):
            world.respond(f"one-{name}")
        world.advance(LIMITS.look_seconds)
        looked_at: list[str] = []

        def take_a_second(call: int, at: str, name: str) -> None:
            if (at, name) == ("before", "backend.look"):
                world.clock.advance(1)
                looked_at.append(name)

        with world.tap.hooked(take_a_second):
            for run in range(1, 7):
                del world.published[:]
                world.reap()
                assert len(looked_at) == 10 * run
                assert "StuckBatches" in world.published[0][0]  # even so
        world.settle()
        oracle.check_end(world)


def test_no_kind_keeps_the_others_waiting():
    with a_world_in_memory(catalog=a_catalog(a_model(slots=200))) as world:
        for name in range(120):
            world.respond(f"one-{name}")
        world.clock.advance(200)
        kinds: list[str] = []

        def note(call: int, at: str, name: str) -> None:
            if at == "before" and name in ("backend.look", "store.get"):
                kinds.append(name)

        with world.tap.hooked(note):
            world.reap()
        looks = [n for n, name in enumerate(kinds) if name == "backend.look"]
        assert len(looks) == 120
        assert "backend.look" not in kinds[looks[24] + 1 : looks[25] - 1]
        assert looks[25] - looks[24] > 25, "between two pages of shards, one of batches"
        world.settle()


@pytest.mark.parametrize(
    ("kind", "pumped", "call"),
    [
        ("batch", (), "store.get"),
        ("shard", (QueueName.PLAN, QueueName.DISPATCH), "backend.look"),
        ("delivery", (QueueName.PLAN,), "queue.send"),
    ],
)
def test_what_the_process_dies_of_is_not_first_again(world, kind, pumped, call):
    for _ in range(2):
        world.submit([b"{bad" if kind == "delivery" else chat("fine")])
    if pumped:
        world.pump(*pumped)
    lose_messages(world)
    world.advance(LIMITS.batch_check_seconds)

    def die(number: int, at: str, name: str) -> None:
        if (at, name) == ("before", call):
            raise Crash(name)

    first = []
    for _ in range(2):
        (item,) = world.store.query(f"due/{kind}", index=Index.DUE, limit=1)
        first.append(item["due_sort"].partition("/")[2])
        with world.tap.hooked(die), pytest.raises(Crash):
            world.reap()
    assert first[0] != first[1]
    world.settle()
    oracle.check_end(world)


def test_what_can_not_be_read_is_met_once_a_run(world):
    names = [f"file_{number:02}" for number in range(30)]
    for name in names:
        due = {"due_key": records.DUE_FILE, "due_sort": records.due_sort(0.0, "acme", name)}
        world.store.transact(Put(records.file_key("acme", name), {"id": name, **due}))
    with pytest.raises(ExceptionGroup) as caught:
        world.reap()
    assert len(caught.value.exceptions) == len(names)


# ---------------------------------------------------------------- asking again


def waiting(world: World, name: QueueName) -> Any:
    return world.queue.counts(name).waiting


def test_a_batch_is_not_planned_again_while_the_first_planner_may_be_at_it():
    limits = replace(LIMITS, work_seconds=900.0)
    with a_world_in_memory(limits=limits) as world:
        batch = world.submit(3)
        (message,) = world.queue.receive(QueueName.PLAN, 1, 3600)
        for _ in range(14):
            world.advance(60)
            world.reap()
            assert waiting(world, QueueName.PLAN) == 0
        world.advance(60)
        world.reap()
        assert waiting(world, QueueName.PLAN) == 1
        lose_messages(world)
        for _ in range(14):
            world.advance(60)
            world.reap()
            assert waiting(world, QueueName.PLAN) == 0
        world.advance(120)
        world.reap()
        world.settle()
        world.queue.delete([message])
        assert world.batch(batch).status is BatchStatus.COMPLETED
        oracle.check_end(world)


def test_a_batch_is_not_finalized_again_while_the_first_finalizer_may_be_at_it():
    limits = replace(LIMITS, work_seconds=900.0)
    with a_world_in_memory(limits=limits) as world:
        batch = in_flight(world)
        world.answer()
        assert waiting(world, QueueName.FINALIZE) == 1
        lose_messages(world)
        for _ in range(14):
            world.advance(60)
            world.reap()
            assert waiting(world, QueueName.FINALIZE) == 0
        world.advance(60)
        world.reap()
        assert waiting(world, QueueName.FINALIZE) == 1
        world.settle()
        assert world.batch(batch).status is BatchStatus.COMPLETED
        oracle.check_end(world)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_batch_whose_finalize_message_is_lost_after_the_deadline_is_over_in_time(lost):
    limits = replace(LIMITS, work_seconds=900.0)
    with a_world_in_memory(limits=limits) as world:
        batch = world.submit(12, window="15m")
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        for _ in range(31):
            world.advance(60)
            world.reap()
            if lost and waiting(world, QueueName.FINALIZE):
                lose_messages(world)
                lost -= 1
            world.pump()
            for attempt in world.outstanding:
                world.lose(attempt)
        assert world.batch(batch).is_terminal
        world.settle()
        oracle.check_end(world)
