"""Budgets: what is in flight is counted, unfinished lines are told, and the rest is kept."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain import budget
from backburner.domain.batch import Batch, BatchStatus, StopReason
from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Usage
from backburner.ports import QueueName
from backburner.services import batches, pausing
from backburner.wire import objects
from tests import oracle
from tests.backend import answer_with, succeed
from tests.domain.values import batch as a_batch
from tests.world import LIMITS, World, a_catalog, a_model, a_world_in_memory, chat

#: Of a request that `succeed` answers: 3 tokens read, 2 written.
LINE_TOKENS = 5
PRICED = a_catalog(
    a_model(input_price=1.0, output_price=3.5), a_model("ministral", endpoint="another")
)


@pytest.fixture
def world():
    with a_world_in_memory(catalog=PRICED) as world:
        yield world
        oracle.check_step(world)


def codes(world: World, batch: Batch) -> list[Any]:
    return [(line["error"] or {}).get("code") for line in world.errors(batch)]


def test_a_batch_that_used_up_its_tokens_completes_with_what_it_has(world):
    batch = world.submit(20, max_tokens=8 * LINE_TOKENS)
    world.settle()
    after = world.batch(batch)
    assert (after.status, after.completed, after.failed) == (BatchStatus.COMPLETED, 8, 12)
    assert after.input_tokens + after.output_tokens == 8 * LINE_TOKENS
    assert codes(world, batch) == ["budget_exceeded"] * 12
    oracle.check_end(world)


def test_the_cost_is_that_of_the_models_prices(world):
    batch = world.submit(4)
    world.settle()
    after = world.batch(batch)
    assert (after.is_priced, after.cost_nanos) == (True, 4 * (3 * 1000 + 2 * 3500))


def test_a_batch_that_used_up_its_dollars_completes_with_what_it_has(world):
    batch = world.submit(20, max_cost_usd="0.00008")
    world.settle()
    after = world.batch(batch)
    assert (after.completed, after.cost_nanos, after.max_cost_nanos) == (8, 80_000, 80_000)
    assert codes(world, batch) == ["budget_exceeded"] * 12
    oracle.check_end(world)


def test_no_more_is_in_flight_than_the_budget_has_room_for(world):
    batch = world.submit(20, max_tokens=11 * LINE_TOKENS)
    world.pump()
    world.answer()  # the canary of 4
    world.pump()
    assert len(world.outstanding) == 1  # 8 would fit, 12 would not
    assert world.batch(batch).running_lines == 4
    world.answer()
    world.pump()
    assert len(world.outstanding) == 1  # 12 do not fit, but there is something left
    world.answer()
    world.pump()
    assert world.outstanding == []
    world.settle()
    after = world.batch(batch)
    assert (after.completed, after.running_lines) == (12, 0)  # overshot by one shard's last line
    oracle.check_end(world)


def test_one_shard_runs_alone_until_it_is_known_what_a_line_takes(world):
    world.submit(8, max_tokens=1000)
    world.pump()
    assert len(world.outstanding) == 1
    world.answer()
    world.pump()
    world.settle()
    oracle.check_end(world)


def test_what_another_models_shard_left_no_room_for_is_started_when_that_has_ended(world):
    batch = world.submit([chat("a"), chat("b", model="ministral")], max_tokens=1000)
    world.pump()
    for _ in range(2):
        assert len(world.outstanding) == 1
        world.answer()
        world.pump()
    assert world.batch(batch).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_a_batch_that_used_up_its_budget_with_its_last_requests_is_not_incomplete():
    with a_world_in_memory(catalog=a_catalog(a_model(slots=2))) as world:
        batch = world.submit(12, max_tokens=13 * LINE_TOKENS)
        world.pump()
        world.answer()
        world.pump()
        first, _ = world.outstanding
        dear = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
        world.answer(first, lambda one: dearer(one, dear))
        stopped = world.batch(batch)
        assert objects.batch_object(stopped)["x_incomplete_reason"] == "budget_exceeded"
        world.settle()
        after = world.batch(batch)
        assert (after.stopping, after.completed) == (StopReason.BUDGET, 12)
        assert objects.batch_object(after)["x_incomplete_reason"] is None
        oracle.check_end(world)


def test_what_is_in_flight_when_the_budget_ends_is_waited_for():
    limits, catalog = replace(LIMITS, grace_seconds=60.0), a_catalog(a_model(slots=3))
    with a_world_in_memory(limits=limits, catalog=catalog) as world:
        batch = world.submit(20, max_tokens=13 * LINE_TOKENS)
        world.pump()
        world.answer()
        world.pump()
        first, last = world.outstanding
        dear = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
        world.answer(first, lambda one: dearer(one, dear))
        world.tick(3)  # longer than the grace of a cancelled batch
        assert world.batch(batch).status is BatchStatus.IN_PROGRESS
        world.answer(last)
        world.settle()
        after = world.batch(batch)
        assert (after.status, after.completed) == (BatchStatus.COMPLETED, 12)
        oracle.check_end(world)


def dearer(request: dict[str, Any], usage: dict[str, int]) -> dict[str, Any]:
    answer = succeed(request)
    answer["body"]["usage"] = usage
    return answer


def test_a_batch_that_stops_for_its_budget_can_be_cancelled():
    limits, catalog = replace(LIMITS, grace_seconds=60.0), a_catalog(a_model(slots=3))
    with a_world_in_memory(limits=limits, catalog=catalog) as world:
        batch = world.submit(20, max_tokens=13 * LINE_TOKENS)
        world.pump()
        world.answer()
        world.pump()
        dear = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
        world.answer(world.outstanding[0], lambda one: dearer(one, dear))
        assert world.batch(batch).stopping is StopReason.BUDGET
        cancelled = batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)
        assert cancelled.status is BatchStatus.CANCELLING
        world.tick(3)  # what is in flight is waited for as long as that of any cancelled batch
        assert world.batch(batch).status is BatchStatus.CANCELLED
        oracle.check_end(world)


def test_a_budget_that_is_never_reached_changes_nothing(world):
    batch = world.submit(20, max_tokens=10**6, max_cost_usd=5)
    world.pump()
    world.answer(reply=answer_with(500))
    world.settle()
    after = world.batch(batch)
    assert (after.status, after.completed, after.stopping) == (BatchStatus.COMPLETED, 20, None)
    oracle.check_end(world)


def test_a_batch_with_a_budget_is_paused_lost_and_expires_like_any_other(world):
    batch = world.submit(20, max_tokens=10**6, window="15m")
    world.pump()
    world.lose()
    pausing.pause(world.env, "acme", batch.id)
    world.tick(6)
    pausing.resume(world.env, "acme", batch.id)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.tick(30)
    after = world.batch(batch)
    assert (after.status, after.running_lines) == (BatchStatus.EXPIRED, 0)
    oracle.check_end(world)


def test_the_cost_of_a_model_without_a_price_can_not_be_limited(world):
    lines = [chat("a"), chat("b", model="ministral")]
    batch = world.submit(lines, max_cost_usd=1)
    world.settle()
    (finding,) = batches.findings(world.untapped, world.batch(batch))
    assert (finding.line, finding.code) == (2, "no_price")
    tokens = world.submit(lines, max_tokens=100)
    world.settle()
    assert (world.batch(tokens).completed, world.batch(tokens).is_priced) == (2, False)


def test_what_was_left_runs_with_a_budget_of_its_own(world):
    first = world.submit(20, max_tokens=8 * LINE_TOKENS)
    world.settle()
    again = world.retry(first, max_tokens=1000)
    world.settle()
    assert world.batch(again).completed == 12
    assert len(world.merged(again)) == 20
    oracle.check_end(world)


@pytest.mark.parametrize(
    ("given", "nanos"),
    [
        (None, None),
        (1, 10**9),
        (0.5, 5 * 10**8),
        ("12.25", 12_250_000_000),
        ("1e-9", 1),
        (10**6, 10**15),
    ],
)
def test_dollars_come_as_numbers_or_text(given, nanos):
    assert budget.checked_cost(given) == nanos


@pytest.mark.parametrize(
    "given", [0, -1, "", "x", "nan", "inf", "-inf", 1e9, True, [1], {}, "1e-10", float("nan")]
)
def test_other_dollars_are_refused_with_the_limits(given):
    with pytest.raises(InvalidRequest, match="above 0 and up to 1000000") as caught:
        budget.checked_cost(given)
    assert caught.value.param == "x_max_cost_usd"


@pytest.mark.parametrize(
    ("given", "tokens"), [(None, None), (1, 1), ("500", 500), (str(10**15), 10**15)]
)
def test_tokens_come_as_integers_or_text(given, tokens):
    assert budget.checked_tokens(given) == tokens


@pytest.mark.parametrize(
    "given", [0, -1, 1.5, "", "1.5", "²", True, [1], 10**16, "9" * 40, f"{1:017}"]
)
def test_other_tokens_are_refused_with_the_limits(given):
    with pytest.raises(InvalidRequest, match="integer from 1") as caught:
        budget.checked_tokens(given)
    assert caught.value.param == "x_max_tokens"


@pytest.mark.parametrize(
    ("used", "ended", "running", "lines", "has_room"),
    [
        (0, 0, 0, 500, True),  # the first always
        (0, 0, 5, 5, False),  # nobody knows what it takes
        (50, 10, 0, 500, True),  # alone
        (50, 10, 5, 5, True),
        (50, 10, 5, 6, False),
        (100, 10, 0, 1, False),
        (0, 10, 50, 50, True),
    ],
)
def test_room_is_judged_by_what_lines_have_taken_so_far(used, ended, running, lines, has_room):
    found = a_batch(
        max_tokens=100, input_tokens=used, completed=ended, running_lines=running
    ).spending
    assert budget.has_room(found, lines) is has_room


def test_a_model_has_a_price_of_both_or_of_none():
    assert a_model(input_price=0.0, output_price=0.0).has_price
    assert not a_model(input_price=1.0).has_price
    assert (
        a_model(input_price=0.15, output_price=0.6).cost_nanos(
            Usage(input_tokens=1_000_000, output_tokens=1000)
        )
        == 150_600_000
    )
