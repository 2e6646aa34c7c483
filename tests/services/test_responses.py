"""Single requests: at once where a slot is free, and in turn where none is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.errors import BackendRefused, BackendThrottled, NotFound
from backburner.domain.request import Request
from backburner.domain.shard import ShardStatus, shard_id
from backburner.ports import Item, Key, QueueName, Store
from backburner.services import batches, records, results, singles
from backburner.services.files import batch_id_of, result_id
from tests import oracle
from tests.backend import answer_with
from tests.tap import Crash, fault_at, meanwhile_at
from tests.world import World, a_world_in_memory


def status(world: World, batch: Batch) -> Any:
    return world.batch(batch).status


def test_a_request_starts_at_once_where_a_slot_is_free(world):
    batch = world.respond()
    assert len(world.outstanding) == 1
    assert sum(world.queue.counts(name).waiting for name in QueueName) == 0
    world.answer()
    assert status(world, batch) is BatchStatus.COMPLETED
    world.settle()
    oracle.check_end(world)


def test_a_request_waits_where_no_slot_is_free(world):
    world.submit(8)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    batch = world.respond()
    assert [shard.status for shard in world.shards(batch)] == [ShardStatus.WAITING]
    world.settle()
    assert status(world, batch) is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_a_slot_that_is_freed_while_a_request_is_taken_in_is_not_left_idle(world):
    for name in ("first", "second"):
        world.respond(name)
    world.pump()

    def free_one(call: int, at: str, name: str) -> None:
        if (at, name) == ("after", "store.transact") and len(world.outstanding) == 2:
            with world.tap.hooked(None):
                world.answer()

    with world.tap.hooked(free_one):
        world.respond("third")
    # Of two looks at the queue, the one that the freed slot asked for may come too early.
    assert world.queue.counts(QueueName.DISPATCH).waiting == 2
    world.settle()
    oracle.check_end(world)


def test_of_two_requests_that_see_the_last_free_slot_one_tries_for_it(world):
    world.respond("first")
    written: list[int] = []

    def take_in_another() -> None:
        world.respond("other")
        written.append(world.tap.calls.count("store.transact"))

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, take_in_another)):
        batch = world.respond("second")
    assert written == [1]
    assert [shard.status for shard in world.shards(batch)] == [ShardStatus.IN_FLIGHT]
    world.settle()
    oracle.check_end(world)


def test_a_request_that_was_refused_leaves_its_slot_to_the_next(world):
    world.respond("first")
    with pytest.raises(Crash), world.tap.hooked(fault_at(1, "before")):
        world.respond("second")
    batch = world.respond("third")
    assert [shard.status for shard in world.shards(batch)] == [ShardStatus.IN_FLIGHT]


def test_a_request_wakes_an_endpoint_that_sleeps(world):
    world.backend.instance_count = 0
    world.respond()
    assert world.backend.wakes == [1]
    world.settle()
    oracle.check_end(world)


def test_a_request_that_fails_for_good_has_its_error(world):
    batch = world.respond()
    world.settle(answer_with(422))
    after = world.batch(batch)
    assert (after.status, after.failed) == (BatchStatus.FAILED, 1)
    outcome = results.single(world.untapped, after)
    assert outcome is not None
    assert outcome.status_code == 422
    oracle.check_end(world)


def test_a_request_is_tried_again_like_any_other(world):
    batch = world.respond()
    world.answer(reply=answer_with(500))
    assert results.single(world.untapped, world.batch(batch)) is None
    world.settle()
    assert status(world, batch) is BatchStatus.COMPLETED
    assert len(world.backend.submissions) == 2
    oracle.check_end(world)


def test_a_request_that_is_tried_once_is_found_by_its_name(world):
    batch = world.respond()
    world.answer()
    calls = len(world.tap.calls)
    outcome = results.single(world.env, world.batch(batch))
    assert outcome is not None
    assert outcome.is_success
    assert world.tap.calls[calls:] == ["store.get"]


def test_a_request_is_found_with_its_shard_in_one_read(world):
    batch = world.respond()
    world.answer()
    calls = len(world.tap.calls)
    found, shards = batches.find_single(world.env, "acme", batch.id, kind=BatchKind.RESPONSE)
    assert world.tap.calls[calls:] == ["store.get"]
    outcome = results.single(world.env, found, shards)
    assert outcome is not None
    assert outcome.is_success


class _ShardsOfBefore:
    """A store that shows of several items the first as it is, and the others as they were."""

    def __init__(self, store: Store, keys: Sequence[Key]) -> None:
        self._store = store
        self._before = dict(zip(keys, store.get(*keys), strict=True))

    def get(self, *keys: Key) -> list[Item | None]:
        now = dict(zip(keys, self._store.get(*keys), strict=True))
        return [now[keys[0]], *((now | self._before)[key] for key in keys[1:])]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_request_that_ends_while_it_is_read_has_its_outcome(world):
    batch = world.respond()
    key = records.shard_key(batch.tenant, batch.id, shard_id(1))
    env = replace(world.untapped, store=_ShardsOfBefore(world.untapped.store, [key]))
    world.answer()
    found, shards = batches.find_single(env, "acme", batch.id, kind=BatchKind.RESPONSE)
    assert found.is_terminal
    assert [shard.status for shard in shards] == [ShardStatus.DONE]


def test_a_request_that_is_tried_again_is_found_among_its_shards(world):
    batch = world.respond()
    world.answer(reply=answer_with(500))
    assert [shard.id for shard in batches.shards(world.env, batch)] == ["00001", "00001-1"]
    world.settle()
    found, shards = batches.find_single(world.env, "acme", batch.id, kind=BatchKind.RESPONSE)
    outcome = results.single(world.env, found, shards)
    assert outcome is not None
    assert outcome.is_success


def test_a_request_that_is_cancelled_gives_its_slot_back_at_once(world):
    batch = world.respond()
    batches.cancel(world.env, "acme", batch.id, kind=BatchKind.RESPONSE)
    assert world.pool().in_flight == 0
    world.settle()
    assert status(world, batch) is BatchStatus.CANCELLED
    oracle.check_end(world)


def test_a_request_that_waits_can_be_cancelled(world):
    world.submit(8)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    batch = world.respond()
    batches.cancel(world.env, "acme", batch.id, kind=BatchKind.RESPONSE)
    world.settle()
    assert status(world, batch) is BatchStatus.CANCELLED
    assert "one" not in [name for one in world.backend.submissions for name in one.custom_ids]
    oracle.check_end(world)


def test_a_request_that_nobody_answers_expires(world):
    batch = world.respond(window="15m")
    for _ in range(20):
        for attempt in world.outstanding:
            world.lose(attempt)
        world.tick()
    assert world.batch(batch).is_terminal
    oracle.check_end(world)


@pytest.mark.parametrize("error", [BackendThrottled(), BackendRefused("No.")])
def test_a_backend_that_does_not_take_it_does_not_lose_it(world, error):
    world.backend.fail_next(error)
    batch = world.respond()
    world.settle()
    expected = BatchStatus.FAILED if isinstance(error, BackendRefused) else BatchStatus.COMPLETED
    assert status(world, batch) is expected
    oracle.check_end(world)


def test_a_large_request_is_kept_as_an_object():
    with a_world_in_memory() as world:
        batch = world.respond("x" * 9000)
        assert world.batch(batch).input_key is not None
        world.settle()
        assert status(world, batch) is BatchStatus.COMPLETED
        oracle.check_end(world)


def test_a_model_that_nobody_has_is_refused(world):
    request = Request(line=1, custom_id="x", model="nobody", route="/v1/responses", body=b"{}")
    new = singles.NewSingle(kind=BatchKind.RESPONSE, request=request, original=b"{}")
    with pytest.raises(NotFound, match="nobody") as caught:
        singles.submit_single(world.env, "acme", new)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_a_response_is_no_batch_and_a_batch_no_response(world):
    single, batch = world.respond(), world.submit(1)
    with pytest.raises(NotFound):
        batches.find(world.env, "acme", single.id, kind=BatchKind.FILE)
    with pytest.raises(NotFound):
        batches.find(world.env, "acme", batch.id, kind=BatchKind.RESPONSE)


def test_ids_of_result_files_tell_their_batch():
    assert batch_id_of(result_id("batch_1", "output")) == ("batch_1", "output")
    assert batch_id_of(result_id("batch_1", "errors")) == ("batch_1", "errors")
    for other in ("file_1", "file-1-input", "x-1-output", ""):
        assert batch_id_of(other) is None
