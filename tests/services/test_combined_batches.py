"""Batches too small for a job wait for others of their tenant, and run as one."""

from dataclasses import replace

import pytest
from msgspec import structs

from backburner.domain.batch import BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import When
from backburner.ports import QueueName
from backburner.services import batches, pausing, transitions
from tests import oracle
from tests.backend import by_name
from tests.bundled import JOBS, WIDE, as_jobs, shard_of, statuses, the_bundle
from tests.tap import Crash
from tests.world import a_catalog, a_model, a_world_in_memory, chat


def test_a_bundle_of_which_all_have_left_is_stopped():
    with as_jobs() as world:
        some = [world.submit(3), world.submit(3)]
        world.pump()
        attempt = the_bundle(world)
        for one in some:
            assert world.backend.stopped == []
            batches.cancel(world.env, "acme", one.id, kind=one.kind)
            world.pump()
            world.advance(world.env.limits.grace_seconds)
            world.reap()
        assert [one.ref for one in world.backend.stopped] == [attempt.shard.ref]
        world.answer(attempt)
        world.settle()
        assert statuses(world, some) == [BatchStatus.CANCELLED] * 2
        oracle.check_end(world)


def test_small_batches_of_a_tenant_become_one_job():
    with as_jobs() as world:
        first = world.submit(4)
        world.pump()
        assert not world.outstanding
        assert world.pool().waiting_lines == 4
        second = world.submit(2)
        world.pump()
        attempt = the_bundle(world)
        assert [request["line"] for request in attempt.requests] == [1, 2, 3, 4, 5, 6]
        assert attempt.shard.input_inline is None  # a job reads an object
        world.settle()
        assert statuses(world, [first, second]) == [BatchStatus.COMPLETED] * 2
        assert [world.batch(one).completed for one in (first, second)] == [4, 2]
        oracle.check_end(world)


def test_a_job_for_many_reads_an_object_though_its_model_is_behind_an_endpoint_too():
    jobs = a_model(endpoint="", jobs=JOBS, cut=WIDE, slots=1000)
    model = a_model(when=When(from_lines=10**6), others=(jobs,))
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        some = [world.submit(3), world.submit(3)]
        world.pump()
        assert the_bundle(world).shard.input_inline is None
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_a_small_batch_runs_alone_when_it_has_waited_long_enough():
    with as_jobs() as world:
        batch = world.submit(4)
        world.pump()
        world.advance(1800)
        world.reap()
        world.pump()
        (attempt,) = world.outstanding
        assert (attempt.shard.batch_id, len(attempt.requests)) == (batch.id, 4)
        world.settle()
        oracle.check_end(world)


def test_only_what_failed_of_a_job_for_many_waits_for_another():
    with as_jobs() as world:
        first = world.submit([chat(name) for name in "abc"])
        second = world.submit([chat(name) for name in "xyz"])
        world.pump()
        world.answer(reply=by_name({"b": 500, "z": None}))
        world.settle(minutes=10)
        assert statuses(world, [first, second]) == [BatchStatus.IN_PROGRESS] * 2
        assert not world.outstanding
        third = world.submit(4)
        world.settle()
        assert len(world.backend.submissions) == 2
        last = world.backend.submissions[-1]
        assert len(last.requests) == 6
        assert last.shard.attempt == 2  # transform jobs cut finer what has failed before
        assert statuses(world, [first, second, third]) == [BatchStatus.COMPLETED] * 3
        oracle.check_end(world)


def test_a_batch_that_is_paused_does_not_travel():
    with as_jobs() as world:
        first, second = world.submit(4), world.submit(4)
        world.pump(QueueName.PLAN)
        pausing.pause(world.env, "acme", first.id)
        world.pump()
        assert not world.outstanding
        pausing.resume(world.env, "acme", first.id)
        world.pump()
        assert len(the_bundle(world).requests) == 8
        world.settle()
        assert statuses(world, [first, second]) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_budgets_count_what_travels_in_a_bundle():
    with as_jobs() as world:
        first, second = world.submit(3, max_tokens=10**6), world.submit(3)
        world.pump()
        assert world.batch(first).running_lines == 3
        world.answer()
        world.settle()
        assert world.batch(first).running_lines == 0
        assert statuses(world, [first, second]) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_a_tail_too_small_for_a_job_joins_its_own_batch_instead_of_waiting():
    with as_jobs() as world:
        world.submit(13)
        world.settle()
        assert all(not is_bundle(one.shard.batch_id) for one in world.backend.submissions)
        oracle.check_end(world)


def test_small_batches_that_wait_for_others_hide_nobody_behind_them():
    with as_jobs() as world:
        batch = world.submit(1)
        world.pump(QueueName.PLAN)
        small = shard_of(world, batch)
        for number in range(501):  # more than are read of the queue at once
            name = f"{batch.id}{number:03d}"  # the queue sorts by it
            other = structs.replace(small, tenant=f"small-{number}", batch_id=name)
            world.store.transact(*transitions.enqueue([other]))
        large = world.submit(6, tenant="large")
        world.pump(QueueName.PLAN)
        world.pump(QueueName.DISPATCH)
        assert [one.shard.batch_id for one in world.outstanding] == [large.id]


def test_a_process_that_dies_as_its_bundle_ends_leaves_no_requests_behind():
    with as_jobs() as world:
        world.submit(3)
        world.submit(3)
        world.pump()
        attempt = the_bundle(world)
        folder = f"batches/acme/{attempt.shard.batch_id}/"
        assert [one.key for one in world.blobs.list(folder)] == [attempt.shard.input_key]

        def die_once_it_ended(call: int, at: str, name: str) -> None:
            if not world.pool().in_flight:
                raise Crash

        with world.tap.hooked(die_once_it_ended), pytest.raises(Crash):
            world.answer(attempt)
        assert list(world.blobs.list(folder)) == []


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_bundle_outlives_its_model(is_answered):
    with as_jobs() as world:
        some = [world.submit(4), world.submit(4)]
        world.pump()
        attempt = the_bundle(world)
        world.set_env(replace(world.untapped, catalog=a_catalog(a_model("other"))))
        if is_answered:
            world.answer(attempt)
        else:
            world.fail(attempt)
        world.settle()
        ended = BatchStatus.COMPLETED
        assert statuses(world, some) == [ended] * 2
        assert all(line["error"]["message"] for one in some for line in world.errors(one))
        counts = [(one.completed, one.failed) for one in map(world.batch, some)]
        assert counts == [(4, 0) if is_answered else (0, 4)] * 2
        (pool,) = (one for one in world.store.query("pools") if one.get("ended_lines"))
        assert not any(map(pool.get, ("in_flight", "waiting_lines", "running_lines")))
        oracle.check_end(world)
