"""Jobs that ended: their backend tells, or is asked."""

from dataclasses import replace

import pytest
from msgspec import structs

from backburner.domain.batch import Batch, BatchKind, BatchStatus, StopReason
from backburner.domain.catalog import Jobs, Model
from backburner.domain.errors import BackendError
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.ports import AttemptState, Look, QueueName
from backburner.services import batches, looks
from tests import oracle
from tests.backend import ManualBackend, succeed
from tests.world import World, a_catalog, a_model, a_world_in_memory, chat, jsonl

JOBS = Jobs(model_id="vendor.model-v1:0", timeout_seconds=86400.0)


@pytest.fixture
def world():
    with a_world_in_memory(catalog=a_catalog(a_model(jobs=JOBS))) as made:
        yield made


def in_flight(world: World) -> Shard:
    world.submit([chat("a"), chat("b")])
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    (attempt,) = world.outstanding
    return attempt.shard


def batch_of(world: World, shard: Shard) -> Batch:
    return batches.find(world.env, shard.tenant, shard.batch_id)


def shards(world: World, shard: Shard) -> list[Shard]:
    return batches.shards(world.env, batch_of(world, shard))


def see(world: World, look: Look) -> None:
    """Have the backend say the same whenever it is asked."""

    class Seen(type(world.backend)):  # type: ignore[misc]
        def look(self, shard: Shard) -> Look:
            return look

    world.backend.__class__ = Seen


class Elsewhere(ManualBackend):
    """A backend that knows nothing of what runs on another."""

    def look(self, shard: Shard) -> Look:
        return Look(state=AttemptState.UNKNOWN)


def deploy(world: World, model: Model) -> None:
    """Have another catalog from now on, with a model on another backend."""
    backends = {**world.untapped.backends, "elsewhere": Elsewhere(world.blobs, world.store)}
    world.set_env(replace(world.untapped, catalog=a_catalog(model), backends=backends))


def status(world: World, shard: Shard) -> ShardStatus:
    return next(one.status for one in shards(world, shard) if one.id == shard.id)


def test_a_jobs_lease_is_as_long_as_the_job_may_take(world):
    shard = in_flight(world)
    assert shard.lease_ends_at == world.clock.now() + JOBS.lease_seconds


def test_the_end_of_a_job_that_was_told_is_taken_in_once(world):
    shard = in_flight(world)
    (attempt,) = world.outstanding
    world.answer(attempt, told=False)
    for _ in range(2):
        looks.ended(world.env, "manual", str(shard.ref))
    world.settle()
    assert batch_of(world, shard).status is BatchStatus.COMPLETED
    assert len(world.backend.submissions) == 1
    oracle.check_end(world)


@pytest.mark.parametrize("job", ["somebody-elses", "acme/batch_9/00001/1"])
def test_jobs_that_are_not_ours_are_left_alone(world, job):
    shard = in_flight(world)
    looks.ended(world.env, "manual", job)
    looks.ended(world.env, "another_backend", str(shard.ref))
    assert status(world, shard) is ShardStatus.IN_FLIGHT


def test_a_job_that_the_backend_never_had_is_lost_long_before_its_lease_ends(world):
    shard = in_flight(world)
    see(world, Look(state=AttemptState.ABSENT))
    looks.look(world.env, shard.ref)
    assert status(world, shard) is ShardStatus.IN_FLIGHT
    world.clock.advance(600)
    looks.look(world.env, shard.ref)
    assert status(world, shard) is ShardStatus.WAITING
    world.pump()  # nobody but the look has said that it waits again
    assert [one.shard.attempt for one in world.backend.submissions] == [1, 2]


@pytest.mark.parametrize(("is_final", "is_tried_again"), [(False, True), (True, False)])
def test_a_job_that_failed_is_tried_again_unless_it_would_fail_again(
    world, is_final, is_tried_again
):
    shard = in_flight(world)
    see(world, Look(state=AttemptState.FAILED, reason="The input is bad.", is_final=is_final))
    looks.look(world.env, shard.ref)
    waiting = [one for one in shards(world, shard) if one.is_open]
    assert bool(waiting) is is_tried_again
    world.settle()
    errors = [line["error"] for line in world.errors(batch_of(world, shard))]
    told = {(error["code"], error["message"]) for error in errors}
    assert told == (set() if is_tried_again else {("backend_refused", "The input is bad.")})


def test_a_backend_that_can_not_say_changes_nothing(world):
    shard = in_flight(world)

    class Mute(type(world.backend)):  # type: ignore[misc]
        def look(self, shard: Shard) -> Look:
            raise BackendError("not now")

        def attempt_of(self, job: str) -> AttemptRef | None:
            raise BackendError("not now")

    world.backend.__class__ = Mute
    looks.look(world.env, shard.ref)
    with pytest.raises(BackendError):  # the event is told again
        looks.ended(world.env, "manual", "job")
    assert status(world, shard) is ShardStatus.IN_FLIGHT


def test_jobs_of_a_cancelled_batch_are_stopped_at_once_and_what_they_finished_is_kept(world):
    shard = in_flight(world)
    (attempt,) = world.outstanding
    batches.cancel(world.env, shard.tenant, shard.batch_id, kind=BatchKind.FILE)
    assert [one.ref for one in world.backend.stopped] == [shard.ref]
    world.backend.write_result(attempt, jsonl([succeed(attempt.requests[0])]))
    looks.ended(world.env, "manual", str(shard.ref))
    world.settle()
    batch = batch_of(world, shard)
    assert (batch.status, batch.completed, batch.failed) == (BatchStatus.CANCELLED, 1, 1)


def test_jobs_that_used_up_a_budget_go_on_until_the_deadline_and_are_stopped_then(world):
    batch = world.submit([chat("a"), chat("b")], max_tokens=10)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    (attempt,) = world.outstanding
    batches.stop(world.env, world.batch(batch), StopReason.BUDGET)
    assert world.backend.stopped == []
    world.advance(batch.expires_at - world.clock.now() + 1)
    world.reap()
    assert {one.ref for one in world.backend.stopped} == {attempt.shard.ref}
    world.answer(attempt, told=False)
    looks.ended(world.env, "manual", str(attempt.shard.ref))
    world.settle()
    assert world.batch(batch).completed == 2


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_job_is_looked_at_where_it_runs_though_the_catalog_changed(world, is_kept):
    shard = in_flight(world)
    (attempt,) = world.outstanding
    moved = a_model(backend="elsewhere") if is_kept else a_model("another", backend="elsewhere")
    deploy(world, moved)
    world.answer(attempt, told=False)
    looks.ended(world.env, "manual", str(shard.ref))
    assert batch_of(world, shard).completed == 2


def test_a_job_is_stopped_where_it_runs_though_the_catalog_changed(world):
    world.backend.has_jobs = True
    shard = in_flight(world)
    deploy(world, a_model(backend="elsewhere"))
    batches.cancel(world.env, shard.tenant, shard.batch_id, kind=BatchKind.FILE)
    assert {one.ref for one in world.backend.stopped} == {shard.ref}


def test_an_attempt_of_before_is_not_looked_at(world):
    shard = in_flight(world)
    see(world, Look(state=AttemptState.FAILED))
    looks.look(world.env, structs.replace(shard, attempt=7).ref)
    assert status(world, shard) is ShardStatus.IN_FLIGHT
