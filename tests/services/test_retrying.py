"""Running again what failed: only that, never twice at once, and never what has succeeded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import InvalidRequest, NotFound, StateConflict
from backburner.ports import QueueName, Update
from backburner.services import batches, files, records, retrying
from tests import oracle
from tests.backend import by_name
from tests.world import World, a_world_in_memory, chat


@pytest.fixture
def world():
    with a_world_in_memory() as world:
        yield world
        oracle.check_step(world)


def some_failed(world: World, count: int = 6, *failed: int, **options: Any) -> Batch:
    """A batch that has ended, in which these lines failed."""
    batch = world.submit(count, **options)
    world.settle(by_name({f"acme-{number}": 400 for number in failed or (2, 5)}))
    return world.batch(batch)


@contextmanager
def refused(words: str, *, about: str = "id") -> Iterator[None]:
    """What is done here is refused in these words, and says which field is to blame."""
    with pytest.raises(StateConflict, match=words) as caught:
        yield
    assert caught.value.param == about


def names(lines: list[dict[str, Any]]) -> list[str]:
    return [line["custom_id"] for line in lines]


def test_only_what_failed_runs_again_and_all_answers_are_in_one_file(world):
    first = some_failed(world)
    again = world.retry(first)
    assert (again.retry_of, world.batch(first).retried_by) == (first.id, again.id)
    world.settle()
    after = world.batch(again)
    assert (after.status, after.total, after.completed) == (BatchStatus.COMPLETED, 2, 2)
    assert names(world.output(again)) == ["acme-2", "acme-5"]
    assert names(world.merged(again)) == [f"acme-{n}" for n in range(1, 7)]
    (file,) = [one for one in all_files(world) if one.id == after.merged_file_id]
    assert file.line_count == 6
    oracle.check_end(world)


def all_files(world: World) -> list[Any]:
    return files.page(world.untapped, "acme", after=None, limit=99)[0]


def test_what_ended_stays_as_it_was(world):
    first = some_failed(world)
    told = len(world.told)
    world.retry(first)
    after = world.batch(first)
    assert replace(after, retried_by=None, retries=()) == first
    assert len(world.told) == told


def test_a_second_retry_while_one_runs_is_the_same(world):
    first = some_failed(world)
    again = world.retry(first)
    assert world.retry(first).id == again.id
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    assert world.retry(first).id == again.id
    world.settle()
    oracle.check_end(world)


def test_a_retry_of_some_requests_is_not_what_who_asks_for_all_gets(world):
    first = some_failed(world)
    again = world.retry(first, "acme-2")
    with refused(f"{again.id} retries the batch already", about="request_ids"):
        world.retry(first)


def test_a_retry_of_a_retry_runs_what_is_left(world):
    first = some_failed(world, 6, 1, 2, 5)
    one = world.retry(first)
    world.settle(by_name({"acme-2": 400}))
    two = world.retry(world.batch(one))
    assert two.retry_of == first.id
    world.settle()
    assert names(world.output(two)) == ["acme-2"]
    assert names(world.merged(two)) == [f"acme-{n}" for n in range(1, 7)]
    assert world.batch(first).retries == (one.id, two.id)
    oracle.check_end(world)


def test_only_the_requests_that_are_named_run_and_the_others_may_run_later(world):
    first = some_failed(world, 6, 1, 2, 5)
    one = world.retry(first, "acme-5", "acme-1")
    assert world.retry(first, "acme-1", "acme-5").id == one.id
    with refused("retries the batch already", about="request_ids"):
        world.retry(first, "acme-2")
    world.settle()
    assert names(world.output(one)) == ["acme-1", "acme-5"]
    two = world.retry(first)
    world.settle()
    assert names(world.output(two)) == ["acme-2"]
    oracle.check_end(world)


def test_what_was_cancelled_or_expired_runs_again(world):
    cancelled, expired = world.submit(20), world.submit(20, tenant="zeta", window="15m")
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    for _ in range(2):
        world.answer()
    batches.cancel(world.env, "acme", cancelled.id, kind=BatchKind.FILE)
    world.tick(30)
    for batch in (cancelled, expired):
        before = world.batch(batch)
        assert (before.completed, before.failed) == (4, 16)
        again = world.retry(before)
        world.settle()
        assert world.batch(again).completed == 16
        assert len(world.merged(again)) == 20
    oracle.check_end(world)


def test_no_canary_stops_a_retry_whose_first_requests_fail_again(world):
    failing = {f"acme-{n}": 400 for n in range(1, 9)}
    first = world.submit(20)
    world.settle(by_name(failing))
    assert world.batch(first).status is BatchStatus.FAILED  # by the canary
    again = world.retry(first)
    world.settle(by_name(failing))
    after = world.batch(again)
    assert (after.status, after.total, after.completed) == (BatchStatus.COMPLETED, 20, 12)
    oracle.check_end(world)


def test_a_retry_may_be_paused_cancelled_and_retried(world):
    first = some_failed(world)
    one = world.retry(first)
    batches.cancel(world.env, "acme", one.id, kind=BatchKind.FILE)
    world.settle()
    two = world.retry(first)
    world.settle()
    assert world.batch(two).completed == 2
    oracle.check_end(world)


def test_bad_lines_of_the_first_batch_stay_out_of_their_way(world):
    lines = [chat("a"), b"no JSON", chat("b"), chat("a")]
    first = world.submit(lines, on_invalid="skip")
    world.settle(by_name({"b": 400}))
    again = world.retry(first)
    world.settle()
    after = world.batch(again)
    assert (after.total, after.completed, after.skipped) == (3, 1, 2)
    assert names(world.merged(again)) == ["a", "b"]


def test_requests_that_did_not_fail_are_named_as_such(world):
    first = some_failed(world)
    again = world.retry(first, "acme-1", "acme-2", "nobody")
    world.settle()
    assert world.batch(again).status is BatchStatus.FAILED
    found = batches.findings(world.untapped, world.batch(again))
    assert [one.message for one in found] == [
        "No request 'acme-1' of the batch is left to retry.",
        "No request 'nobody' of the batch is left to retry.",
    ]
    assert {one.param for one in found} == {"request_ids"}
    good = world.retry(first, "acme-2")
    world.settle()
    assert world.batch(good).completed == 1
    oracle.check_end(world)


def test_without_an_earlier_output_there_is_no_merged_file(world):
    first = some_failed(world)
    again = world.retry(first)
    files.delete(world.untapped, "acme", world.batch(first).output_file_id or "")
    world.settle()
    after = world.batch(again)
    assert (after.completed, after.merged_file_id) == (2, None)


def test_a_retry_whose_errors_were_deleted_meanwhile_fails_and_says_so(world):
    first = some_failed(world)
    again = world.retry(first)
    files.delete(world.untapped, "acme", world.batch(first).error_file_id or "")
    world.settle()
    (finding,) = batches.findings(world.untapped, world.batch(again))
    assert finding.message == "A result file of the batch that is retried was deleted."


@pytest.mark.parametrize("name", ["input_file_id", "error_file_id"])
def test_a_batch_whose_files_are_gone_is_not_retried(world, name):
    first = some_failed(world)
    files.delete(world.untapped, "acme", getattr(first, name))
    with refused("is gone"):
        world.retry(first)


def test_a_batch_that_ended_before_it_was_planned_is_submitted_again(world):
    cancelled, bad = world.submit(2), world.submit([b"no json"])
    batches.cancel(world.env, "acme", cancelled.id, kind=BatchKind.FILE)
    world.settle()
    for batch in (cancelled, bad):
        with refused("ended before it was planned"):
            world.retry(batch)


def test_a_batch_that_runs_or_has_no_failures_is_not_retried(world):
    running = world.submit(2)
    with refused("it is validating"):
        world.retry(running)
    world.settle()
    with refused("Nothing is left to retry"):
        world.retry(running)
    first = some_failed(world)
    world.retry(first)
    world.settle()
    with refused("Nothing is left to retry"):
        world.retry(first)


def test_a_batch_is_retried_so_often_and_no_more(world):
    first = some_failed(world, 1, 1)
    for _ in range(retrying.MAX_RETRIES):
        world.retry(first)
        world.settle(by_name({"acme-1": 400}))
    with refused("retried 16 times already"):
        world.retry(first)


@pytest.mark.parametrize("given", [[], "acme-1", [1], {}, 7])
def test_request_ids_are_a_list_of_names(world, given):
    first = some_failed(world)
    with pytest.raises(InvalidRequest, match="'request_ids' must be a list") as caught:
        retrying.retry(world.env, "acme", first.id, retrying.NewRetry(request_ids=given))
    assert caught.value.param == "request_ids"


def test_the_window_is_the_first_batchs_unless_another_is_given(world):
    first = some_failed(world, window="2h")
    again = world.retry(first, completion_window="PT15M")
    assert again.expires_at - again.created_at == 900
    batches.cancel(world.env, "acme", again.id, kind=BatchKind.FILE)
    world.settle()
    assert world.retry(first).completion_window == "2h"


def test_a_retry_is_asked_for_what_the_first_batch_was(world):
    """All else, such as counts and files, is its own."""
    options: dict[str, Any] = {
        "metadata": {"name": "nightly"},
        "priority": 7,
        "output_expires_seconds": 9e5,
    }
    first = some_failed(world, **options, on_invalid="skip", max_tokens=10**6, is_inline=True)
    world.advance(60)
    again = world.retry(first)
    now = world.clock.now()
    assert again == Batch(
        tenant="acme",
        id=again.id,
        status=BatchStatus.VALIDATING,
        dialect=first.dialect,
        route=first.route,
        input_file_id=first.input_file_id,
        input_key=first.input_key,
        is_inline=True,
        completion_window="24h",
        metadata={"name": "nightly"},
        on_invalid="skip",
        priority=7,
        output_expires_seconds=9e5,
        max_tokens=10**6,
        created_at=now,
        expires_at=now + 86400,
        ttl=first.ttl and first.ttl + 60,
        retry_of=first.id,
    )


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("max_tokens", 5 * 10**5, 5 * 10**5), ("max_tokens", None, 10**6)],
)
def test_a_retry_may_have_a_budget_of_its_own(world, name, value, kept):
    first = some_failed(world, max_tokens=10**6)
    assert world.retry(first, **{name: value}).max_tokens == kept


def test_another_tenants_batch_is_not_found(world):
    first = some_failed(world)
    with pytest.raises(NotFound):
        world.retry(replace(first, tenant="zeta"))


def test_lost_results_of_a_retry_are_told_as_such(world):
    first = some_failed(world)
    again = world.retry(first)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer()
    (shard,) = world.shards(again)
    world.pump(QueueName.DISPATCH)
    lost = {"result_inline": None, "result_key": "gone", "input_inline": None, "input_key": "gone"}
    world.store.store.transact(Update(records.shard_key("acme", again.id, shard.id), set=lost))
    world.advance(24 * 3600)
    world.settle()
    after = world.batch(again)
    assert (after.status, after.failed) == (BatchStatus.COMPLETED, 2)
    assert [line["error"]["code"] for line in world.errors(again)] == ["result_lost"] * 2
    assert names(world.errors(again)) == ["acme-2", "acme-5"]
