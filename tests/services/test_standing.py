"""Where a batch stands: its place in the queue, its rate, and how long a start takes."""

import pytest

from backburner.domain.batch import Batch
from backburner.domain.progress import progress
from backburner.ports import QueueName
from backburner.services import pausing, standing
from tests.world import World, a_world_in_memory, chat


@pytest.fixture
def world():
    with a_world_in_memory() as world:
        yield world


def position(world: World, batch: Batch) -> int | None:
    stands = standing.look(world.untapped, world.batch(batch))
    return stands.shards_before if stands is not None else None


def test_the_place_in_the_queue_is_how_many_shards_come_first(world):
    first = world.submit(8)
    second = world.submit(8, tenant="zeta")
    third = world.submit(8, window="1h")
    world.pump(QueueName.PLAN)
    assert [position(world, one) for one in (first, second, third)] == [2, 4, 0]
    world.pump(QueueName.DISPATCH)
    assert [position(world, one) for one in (first, second, third)] == [0, 2, None]
    pausing.pause(world.env, "acme", first.id)
    assert [position(world, one) for one in (first, second, third)] == [None, 0, None]


def test_behind_more_shards_than_are_read_nobody_knows_how_many_requests_come_first(world):
    for number in range(standing.LOOKED_AT + 9):  # some of them run at once
        world.respond(f"one-{number}", tenant="zeta", window="1h")
    batch = world.submit(2)
    world.pump(QueueName.PLAN)
    stands = standing.look(world.untapped, world.batch(batch))
    assert stands is not None
    assert (stands.shards_before, stands.lines_before) == (None, None)


def test_a_batch_of_two_models_has_no_place(world):
    batch = world.submit([chat("a"), chat("b", model="ministral")])
    world.pump(QueueName.PLAN)
    assert standing.look(world.untapped, world.batch(batch)) is None


def test_the_rate_follows_what_happens(world):
    batch = world.submit(40)
    world.pump()
    for _ in range(6):
        world.advance(30)
        world.answer()
        world.pump()
    now = world.clock.now()
    found = progress(world.batch(batch), now)
    assert found.lines_done == 24
    assert found.lines_per_second == pytest.approx(4 / 30, rel=0.35)
    assert found.eta == pytest.approx(now + 16 / (found.lines_per_second or 0.0))


def test_how_long_a_start_takes_is_measured_while_work_waits(world):
    world.backend.instance_count = 0
    world.submit(1)
    world.pump(QueueName.PLAN)
    world.report_backlog()
    assert world.pool().cold_since == world.clock.now()
    world.advance(180)
    world.report_backlog()
    world.backend.instance_count = 1
    world.report_backlog()
    assert (world.pool().cold_since, world.pool().cold_start_seconds) == (None, 180)


def test_a_start_that_nobody_waited_for_is_not_measured(world):
    world.backend.instance_count = 0
    batch = world.submit(4)
    world.pump(QueueName.PLAN)
    world.report_backlog()
    pausing.pause(world.env, "acme", batch.id)
    world.advance(180)
    world.report_backlog()
    world.backend.instance_count = 1
    world.report_backlog()
    assert (world.pool().cold_since, world.pool().cold_start_seconds) == (None, None)
