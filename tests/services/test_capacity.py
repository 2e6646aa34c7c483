"""Slots that are free, kicks, and instances that are asked for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from backburner.domain.catalog import Jobs
from backburner.domain.errors import BackendError
from backburner.domain.slots import Pool
from backburner.ports import Put, QueueName, Room, Update
from backburner.services import capacity, records
from tests.domain.values import a_shard
from tests.world import LIMITS, MemoryWorld, a_catalog, a_model, a_world_in_memory

MODEL = a_model(slots=4, slots_per_instance=2, max_instances=5)
JOBS = a_model("jobs", endpoint="", jobs=Jobs(model_id="vendor.model", usual_slots=2))


@pytest.fixture
def world() -> Iterator[MemoryWorld]:
    with a_world_in_memory(catalog=a_catalog(MODEL, JOBS)) as made:
        yield made


def has_pool(world: MemoryWorld, pool: str = MODEL.pool, **counts: object) -> Pool:
    world.store.transact(Put(records.pool_key(pool), {"id": pool, **counts}))
    return capacity.load(world.untapped, pool)


def kicks_after(world: MemoryWorld, seconds: float) -> int:
    """Messages that say to look at a queue, as many as come within so long."""
    world.advance(seconds)
    return len(world.queue.receive(QueueName.DISPATCH, 10, 1000.0))


@pytest.mark.parametrize(
    ("seconds", "free"), [(-1.0, 0), (0.0, 2)], ids=["as long as it counts", "afterwards"]
)
def test_what_a_refusal_taught_of_slots_counts_for_a_while(world, seconds, free):
    pool = has_pool(world, JOBS.pool, in_flight=1)
    capacity.learn(world.untapped, JOBS)
    pool = capacity.load(world.untapped, JOBS.pool)
    assert (pool.learnt, pool.learnt_until) == (0, world.clock.now() + capacity.LEARNT_SECONDS)
    world.store.transact(Update(records.pool_key(JOBS.pool), set={"in_flight": 0}))
    world.advance(capacity.LEARNT_SECONDS + seconds)
    pool = capacity.load(world.untapped, JOBS.pool)
    assert capacity.free_slots(world.untapped, JOBS, pool) == free


@pytest.mark.parametrize(("waiting", "kicks"), [(0, 0), (1, 1)])
def test_a_free_slot_is_told_of_if_anything_waits_for_it(world, waiting, kicks):
    has_pool(world, waiting_lines=waiting)
    capacity.kick_if_waiting(world.untapped, MODEL.pool)
    assert kicks_after(world, 0) == kicks


def test_what_is_new_is_looked_at_once_the_index_shows_it(world):
    env = replace(world.untapped, limits=replace(LIMITS, index_lag_seconds=2.0))
    capacity.kick_for_new(env, MODEL.pool)
    assert (kicks_after(world, 1), kicks_after(world, 1)) == (0, 1)


def test_every_pool_that_something_waited_in_is_known(world):
    has_pool(world)
    has_pool(world, "elsewhere:gone")
    assert {pool.id for pool in capacity.pools(world.untapped)} == {MODEL.pool, "elsewhere:gone"}


@pytest.mark.parametrize(
    ("room", "known"),
    [(Room(limit=9, others=2), (9, 2)), (Room(limit=0, others=0), (0, 0)), (None, (None, 0))],
)
def test_how_many_jobs_an_account_may_have_is_noted_where_anybody_can_say(world, room, known):
    world.backend.room_left = room
    capacity.ask_limit(world.untapped, JOBS, is_needed=True)
    pool = capacity.load(world.untapped, JOBS.pool)
    assert (pool.limit, pool.others) == known
    assert pool.asked_at == (world.clock.now() if room else 0)


@pytest.mark.parametrize(
    ("limit", "seconds", "is_asked"),
    [
        (0, capacity.BARRED_SECONDS - 1, False),
        (0, capacity.BARRED_SECONDS, True),
        (9, capacity.BARRED_SECONDS, False),
    ],
)
def test_where_nothing_waits_only_an_account_that_may_have_no_jobs_is_asked_now_and_then(
    world, limit, seconds, is_asked
):
    has_pool(world, JOBS.pool, limit=limit, asked_at=world.clock.now())
    world.backend.room_left = Room(limit=7, others=0)
    world.advance(seconds)
    capacity.ask_limit(world.untapped, JOBS, is_needed=False)
    assert (capacity.load(world.untapped, JOBS.pool).limit == 7) is is_asked


@pytest.mark.parametrize(
    ("counts", "instances", "wakes"),
    [
        ({"waiting_lines": 1}, 0, [1]),
        ({"running_lines": 1}, 0, [1]),
        ({"waiting_lines": 1}, 1, []),
        ({}, 0, []),
        # 0.1 requests a second and slot: 0.2 an instance, for 100 s
        ({"waiting_lines": 50, "ended_lines": 10, "busy_seconds": 100.0}, 0, [3]),
        ({"waiting_lines": 50, "ended_lines": 10, "busy_seconds": 100.0}, 2, [3]),
        ({"waiting_lines": 50, "ended_lines": 10, "busy_seconds": 100.0}, 3, []),
        ({"waiting_lines": 999, "ended_lines": 10, "busy_seconds": 100.0}, 0, [5]),
    ],
)
def test_as_many_instances_are_asked_for_as_the_work_is_worth(world, counts, instances, wakes):
    now = world.clock.now()
    shard = a_shard(pool=MODEL.pool, created_at=now, deadline=now + 100.0)
    world.store.transact(
        Put(records.shard_key("acme", "batch_1", "00001"), records.shard_item(shard))
    )
    world.backend.instance_count = instances
    capacity.wake_if_asleep(world.untapped, MODEL, has_pool(world, **counts))
    assert world.backend.wakes == wakes


@pytest.mark.parametrize(
    ("waited", "wakes"),
    [(LIMITS.wake_cooldown_seconds - 1, []), (LIMITS.wake_cooldown_seconds + 1, [1])],
)
def test_instances_are_asked_for_once_a_cool_down(world, waited, wakes):
    now = world.clock.now()
    world.backend.instance_count = 0
    pool = has_pool(world, waiting_lines=1, woken_at=now)
    world.advance(waited)
    capacity.wake_if_asleep(world.untapped, MODEL, pool)
    assert world.backend.wakes == wakes
    capacity.wake_if_asleep(world.untapped, MODEL, pool)  # with what it saw before
    assert world.backend.wakes == wakes


def test_jobs_bring_their_own_instances(world):
    world.backend.instance_count = 0
    capacity.wake_if_asleep(world.untapped, JOBS, has_pool(world, JOBS.pool, waiting_lines=1))
    assert world.backend.wakes == []


def test_asking_that_failed_does_not_count_and_is_repeated_soon(world):
    class Silent(type(world.backend)):  # type: ignore[misc]
        def instances(self, model: object) -> int:
            raise BackendError("throttled")

    world.backend.__class__ = Silent
    capacity.wake_if_asleep(world.untapped, MODEL, has_pool(world, waiting_lines=1))
    assert capacity.load(world.untapped, MODEL.pool).woken_at == 0
    assert kicks_after(world, capacity.ASK_AGAIN_SECONDS - 1) == 0
    assert kicks_after(world, 1) == 1
