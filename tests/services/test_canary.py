"""The canary: a bad batch stops before money is spent."""

from typing import Any

import pytest

from backburner.domain.batch import BatchStatus
from backburner.ports import QueueName
from backburner.services import batches, plan
from tests import oracle
from tests.backend import answer_with, by_name
from tests.tap import crash_after
from tests.world import World, chat


def with_canary(world: World, lines: Any = 12) -> Any:
    batch = world.submit(lines)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    return batch


def test_only_the_canary_runs_at_first(world):
    with_canary(world)
    assert [attempt.custom_ids for attempt in world.outstanding] == [
        ["acme-1", "acme-2", "acme-3", "acme-4"]
    ]


def test_the_rest_runs_once_the_canary_did_well(world):
    batch = with_canary(world)
    world.answer()
    world.pump()
    assert len(world.outstanding) == 2
    world.settle()
    assert world.batch(batch).completed == 12
    oracle.check_end(world)


@pytest.mark.parametrize("failing", [2, 4])
def test_a_canary_that_fails_badly_stops_the_batch_before_the_rest_runs(world, failing):
    batch = with_canary(world)
    world.answer(reply=by_name({f"acme-{n}": 400 for n in range(1, failing + 1)}))
    world.settle()
    after = world.batch(batch)
    assert after.status is BatchStatus.FAILED
    assert (after.completed, after.failed) == (4 - failing, 8 + failing)
    assert len(world.backend.submissions) == 1
    (finding,) = batches.findings(world.untapped, after)
    assert finding.code == "canary_failed"
    assert f"{failing} of the batch's first 4 requests failed" in finding.message
    codes = [(line["error"] or {}).get("code") for line in world.errors(batch)]
    assert codes == [None] * failing + ["canary_failed"] * 8
    oracle.check_end(world)


def test_a_canary_may_fail_a_little(world):
    batch = with_canary(world)
    world.answer(reply=by_name({"acme-1": 400}))
    world.settle()
    after = world.batch(batch)
    assert (after.status, after.completed) == (BatchStatus.COMPLETED, 11)
    oracle.check_end(world)


def test_lines_that_are_tried_again_do_not_end_the_canary(world):
    batch = with_canary(world)
    world.answer(reply=answer_with(503))
    world.pump()
    assert not world.batch(batch).canary_has_ended
    world.settle()
    assert world.batch(batch).completed == 12
    oracle.check_end(world)


def test_skipped_lines_are_none_of_the_canarys(world):
    lines = [b"bad"] * 5 + [chat(f"r{number}") for number in range(12)]
    batch = world.submit(lines, on_invalid="skip")
    world.settle()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_a_small_batch_has_no_canary(world):
    batch = with_canary(world, lines=8)
    assert world.batch(batch).is_released
    assert len(world.outstanding) == 2


def test_a_failed_canary_is_noticed_by_whoever_comes_next(world):
    """The collector died right after its transaction; then the plan message comes again."""
    batch = with_canary(world)
    world.answer(reply=answer_with(400), told=False)
    with crash_after(world.tap, "store.transact"):
        world.notify_success(world.backend.submissions[0])
    assert world.batch(batch).stopping is None
    plan.plan(world.env, "acme", batch.id)
    world.settle()
    assert world.batch(batch).status is BatchStatus.FAILED
    assert len(world.backend.submissions) == 1
    oracle.check_end(world)
