"""What waits in a pool that left the catalog goes where its model runs now."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import count

import pytest

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.catalog import Jobs, Model, Preference, When
from backburner.domain.shard import Cut, ShardStatus
from backburner.ports import QueueName
from backburner.services import pausing, rehoming
from tests import oracle
from tests.tap import Crash, fault_at
from tests.world import (
    EMBEDDINGS,
    LIMITS,
    World,
    a_catalog,
    a_model,
    a_raw_model,
    a_world_in_memory,
)

JOBS = Jobs(model_id="vendor.model-v1:0", least_lines=5, usual_slots=2)
AS_JOBS = a_model(
    endpoint="",
    jobs=JOBS,
    cut=Cut(lines=100, bytes=100_000, tokens=10**9),
    slots=1000,
)
#: Behind an endpoint that takes four requests at once.
BEHIND = a_model()
BOTH = replace(BEHIND, others=(AS_JOBS,), prefer=Preference.FIRST, when=When(from_lines=10**6))
OTHER = a_model("ministral", endpoint="backburner-ministral")


def world_of(*models: Model, **options: object):
    return a_world_in_memory(catalog=a_catalog(*models), **options)


def deploy(world: World, *models: Model) -> None:
    """Later, the catalog has other models."""
    world.advance(rehoming.PATIENCE_SECONDS)
    world.set_env(replace(world.untapped, catalog=a_catalog(*models)))


def waits(world: World, batch: Batch) -> dict[str, int]:
    """Requests that wait, by pool."""
    counts: Counter[str] = Counter()
    for shard in world.shards(batch):
        if shard.status is ShardStatus.WAITING:
            counts[shard.pool] += shard.line_count
    return dict(counts)


def test_what_waits_for_jobs_goes_behind_the_endpoint_in_shards_of_its_size():
    with world_of(BOTH) as world:
        batch = world.submit(30)
        world.pump(QueueName.PLAN)
        assert waits(world, batch) == {AS_JOBS.pool: 30}
        deploy(world, BEHIND)
        world.reap()
        assert waits(world, batch) == {BEHIND.pool: 30}
        after = world.batch(batch)
        assert (after.completed, after.failed) == (0, 0)
        fresh = [one for one in world.shards(batch) if one.status is ShardStatus.WAITING]
        assert {(one.attempt, one.not_before) for one in fresh} == {(0, 0.0)}
        # No more pieces than that takes.
        assert min(one.line_count for one in fresh) >= BEHIND.cut.lines // 2
        assert world.pool().waiting_lines == 30
        world.settle()
        sizes = [len(one.requests) for one in world.backend.submissions]
        assert sum(sizes) == 30
        assert max(sizes) <= BEHIND.cut.lines
        assert world.batch(batch).completed == 30
        oracle.check_end(world)


def test_what_waits_behind_an_endpoint_becomes_jobs():
    with world_of(BEHIND) as world:
        batch = world.submit(7)
        world.pump(QueueName.PLAN)
        deploy(world, replace(AS_JOBS, jobs=replace(JOBS, least_lines=1)))
        world.reap()
        assert waits(world, batch) == {AS_JOBS.pool: 7}
        world.settle()
        assert world.batch(batch).completed == 7
        oracle.check_end(world)


def test_what_is_too_small_for_a_job_becomes_one_where_there_is_nothing_else():
    with world_of(BEHIND) as world:
        batch = world.submit(3)
        world.pump(QueueName.PLAN)
        deploy(world, AS_JOBS)
        world.reap()
        assert waits(world, batch) == {AS_JOBS.pool: 3}


def test_the_pool_that_gets_the_work_is_looked_at():
    with world_of(BOTH) as world:
        world.submit(8)
        world.pump(QueueName.PLAN)
        deploy(world, BEHIND)
        rehoming.rehome(world.env, AS_JOBS.pool, ends_at=world.clock.now() + 1)
        world.advance(LIMITS.index_lag_seconds)
        world.pump(QueueName.DISPATCH)
        assert {one.shard.pool for one in world.outstanding} == {BEHIND.pool}


def test_what_is_tried_again_of_a_job_whose_model_left_follows_it():
    with world_of(BOTH) as world:
        batch = world.submit(8)
        world.pump()
        deploy(world, BEHIND)
        world.fail()
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (OTHER, "model_not_found"),
        (replace(BEHIND, routes=(EMBEDDINGS,)), "no_backend"),
    ],
    ids=["gone", "of another route"],
)
def test_requests_that_nothing_runs_any_more_fail_and_say_why(now, code):
    with world_of(AS_JOBS) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN)
        deploy(world, now)
        world.settle()
        after = world.batch(batch)
        assert (after.status, after.failed) == (BatchStatus.COMPLETED, 8)
        assert {line["error"]["code"] for line in world.errors(batch)} == {code}
        oracle.check_end(world)


def test_a_single_request_becomes_no_job():
    with world_of(BEHIND) as world:
        single = [world.respond(name) for name in "abc"][-1]
        assert waits(world, single)
        deploy(world, replace(AS_JOBS, jobs=replace(JOBS, least_lines=1)))
        world.reap()
        assert world.batch(single).status is BatchStatus.FAILED
        world.settle()
        oracle.check_end(world)


def test_a_raw_request_whose_model_left_fails():
    with world_of(a_raw_model()) as world:
        raw = [world.ask_raw() for _ in range(3)][-1]
        assert waits(world, raw)
        deploy(world, BEHIND)
        world.reap()
        assert world.batch(raw).status is BatchStatus.FAILED


def test_who_has_no_time_left_leaves_the_rest_to_the_next():
    with world_of(AS_JOBS) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN)
        deploy(world, replace(AS_JOBS, jobs=replace(JOBS, model_id="another")))
        rehoming.rehome(world.env, AS_JOBS.pool, ends_at=world.clock.now())
        assert waits(world, batch) == {AS_JOBS.pool: 8}
        rehoming.rehome(world.env, AS_JOBS.pool, ends_at=world.clock.now() + 1)
        assert waits(world, batch) != {AS_JOBS.pool: 8}


def test_a_paused_batch_follows_its_model_once_it_goes_on():
    with world_of(BOTH, limits=replace(LIMITS, canary_from_lines=99)) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN)
        pausing.pause(world.env, batch.tenant, batch.id)
        deploy(world, BEHIND)
        world.reap()
        assert waits(world, batch) == {}
        pausing.resume(world.env, batch.tenant, batch.id)
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_what_was_just_planned_for_a_new_model_waits_for_all_functions_to_know_it():
    with world_of(AS_JOBS) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN)
        world.set_env(replace(world.untapped, catalog=a_catalog(OTHER)))
        world.reap()
        assert waits(world, batch) == {AS_JOBS.pool: 8}
        deploy(world, AS_JOBS)
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


@pytest.mark.parametrize("now", [BEHIND, OTHER], ids=["to another place", "to nowhere"])
def test_whoever_dies_while_it_moves_shards_loses_nothing(now):
    for number in count():
        with world_of(BOTH if now is BEHIND else AS_JOBS) as world:
            batches = [world.submit(8) for _ in range(2)]
            world.pump(QueueName.PLAN)
            deploy(world, now)
            has_died = True
            with suppress(Crash), world.tap.hooked(fault_at(number, "after")):
                rehoming.rehome(world.env, AS_JOBS.pool, ends_at=world.clock.now() + 1)
                has_died = False
            world.settle()
            ends = [(world.batch(one).completed, world.batch(one).failed) for one in batches]
            assert ends == ([(8, 0)] * 2 if now is BEHIND else [(0, 8)] * 2)
            oracle.check_end(world)
        if not has_died:
            break
    assert number > 5
