"""Reap: whatever got no word in time moves on."""

from typing import Any

from backburner.domain.batch import BatchStatus
from backburner.domain.shard import ShardStatus
from backburner.ports import QueueName
from tests import oracle
from tests.world import LIMITS, World, chat


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
    assert world.pool().in_flight == 0
    world.pump()
    assert [one.shard.attempt for one in world.outstanding] == [2]
    world.settle()
    oracle.check_end(world)


def test_a_shard_that_is_always_lost_fails_after_the_last_attempt(world):
    batch = in_flight(world)
    for _ in range(30):
        for attempt in world.outstanding:
            world.lose(attempt)
        world.tick()
    assert len(world.backend.submissions) == 3
    after = world.batch(batch)
    assert (after.status, after.failed) == (BatchStatus.COMPLETED, 3)
    assert {line["error"]["code"] for line in world.errors(batch)} == {"attempt_lost"}
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
    assert set(world.tap.calls[calls:]) == {"store.query"}
