"""Batches that run as transform jobs, from file to files: nothing is lost, or run twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import functions.on_job.app
from backburner.adapters.transform import SageMakerTransform
from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.catalog import Jobs
from backburner.domain.shard import Cut, ShardStatus
from backburner.services import batches
from tests.contract.test_transform import Stage
from tests.emulators.conftest import wait_until
from tests.world import LIMITS, Context, World, a_catalog, a_model, chat

pytestmark = pytest.mark.slow


class TransformWorld(World):
    """A world whose one model runs as transform jobs of the emulated service."""

    def __init__(self, stage: Stage, object_lines: int) -> None:
        self.stage = stage
        self._heard = 0
        jobs = Jobs(model_id="mistral", instance_type="ml.g5.2xlarge", object_lines=object_lines)
        model = a_model(
            backend="sagemaker_transform", jobs=jobs, cut=Cut(lines=50, bytes=99_999, tokens=99_999)
        )
        limits = replace(LIMITS, canary_from_lines=1000)
        super().__init__(stage.root, limits=limits, catalog=a_catalog(model))
        backend = SageMakerTransform(stage.clients, self.blobs, self.clock)
        self.set_env(replace(self.untapped, backends={"sagemaker_transform": backend}))

    def listen(self) -> None:
        """Hand the events that came to the function that they are for."""
        events = self.stage.events[self._heard :]
        self._heard += len(events)
        for event in events:
            functions.on_job.app.handler(event, Context())

    def finish(self, batch: Batch, step: Callable[[], object]) -> Batch:
        """Step until the batch has ended."""

        def is_over() -> bool:
            step()
            self.pump()
            return self.batch(batch).is_terminal

        wait_until(is_over, 60, "the end of the batch")
        return self.batch(batch)


@pytest.fixture
def world(tmp_path) -> Iterator[Callable[..., TransformWorld]]:
    made: list[TransformWorld] = []

    def start(object_lines: int = 4, **knobs: Any) -> TransformWorld:
        root = tmp_path / "buckets"
        stage = Stage(root, **knobs)
        stage.root = tmp_path
        made.append(TransformWorld(stage, object_lines))
        return made[-1]

    yield start
    for one in made:
        one.close()
        one.stage.emulator.stop()


def ran(world: TransformWorld) -> Counter[str]:
    return Counter((world.stage.root / "buckets" / "seen").read_text().split())


def names(count: int) -> list[str]:
    return [f"line-{number}" for number in range(1, count + 1)]


def test_what_an_object_lost_is_tried_again_and_nothing_else_is(world):
    here = world()
    lines = [chat(name) for name in names(11)]
    lines.insert(5, chat("break"))
    batch = here.submit(lines)
    here.pump()

    def step() -> None:
        here.listen()
        here.clock.advance(10)  # pauses between attempts
        here.report_backlog()

    ended = here.finish(batch, step)
    assert ended.status is BatchStatus.COMPLETED
    assert (ended.completed, ended.failed) == (11, 1)
    assert [one["custom_id"] for one in here.output(batch)] == names(11)
    (failed,) = here.errors(batch)
    assert failed["custom_id"] == "break"
    assert ran(here) == dict.fromkeys(names(11), 1)


def test_a_batch_whose_events_are_all_lost_ends_by_looking(world):
    here = world(lose_event_every_nth=1)
    batch = here.submit([chat(name) for name in names(6)])
    here.pump()
    assert here.finish(batch, here.tick).completed == 6
    assert ran(here) == dict.fromkeys(names(6), 1)


def test_events_that_come_twice_change_nothing(world):
    here = world(duplicate_event_every_nth=1)
    batch = here.submit([chat(name) for name in names(6)])
    here.pump()
    assert here.finish(batch, here.listen).completed == 6
    wait_until(lambda: len(here.stage.events) == 4)
    here.listen()
    assert here.batch(batch).completed == 6
    assert ran(here) == dict.fromkeys(names(6), 1)


def test_a_batch_that_is_cancelled_keeps_what_its_job_had_finished(world):
    here = world(object_lines=1, stopped_job_keeps="finished_objects")
    batch = here.submit([chat("done"), *(chat(f"slow-{number}") for number in range(12))])
    here.pump()
    (shard,) = here.shards(batch)
    assert shard.status is ShardStatus.IN_FLIGHT
    out = f"batches/acme/{batch.id}/jobs/transform/out/"
    wait_until(lambda: list(here.blobs.list(out)))
    batches.cancel(here.env, "acme", batch.id, kind=BatchKind.FILE)
    ended = here.finish(batch, here.listen)
    assert ended.status is BatchStatus.CANCELLED
    assert ended.completed >= 1
    assert ended.completed + ended.failed == 13
    assert max(ran(here).values()) == 1
