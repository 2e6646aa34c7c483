"""Taking results in: whatever the backend says, every line has one outcome."""

import tracemalloc
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from backburner.domain.batch import BatchStatus
from backburner.domain.errors import BackendThrottled
from backburner.domain.shard import ShardStatus
from backburner.ports import Delete, QueueName
from backburner.services import collect, records, transitions
from backburner.wire.openai import OpenAIDialect
from backburner.wire.shard import JsonlShards
from tests import oracle
from tests.backend import answer_with, by_name, succeed
from tests.tap import meanwhile, meanwhile_at
from tests.world import CHAT, LIMITS, World, a_catalog, a_model, a_world_in_memory, chat, jsonl


def in_flight(world: World, lines: Any = 4, **options: Any) -> Any:
    batch = world.submit(lines, **options)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    return batch


def attempts_of_lines(world: World) -> Any:
    """How often each line was asked of the backend."""
    return Counter(name for one in world.backend.submissions for name in one.custom_ids)


def test_a_good_result_completes_the_batch(world):
    batch = in_flight(world)
    world.settle()
    after = world.batch(batch)
    assert after.status is BatchStatus.COMPLETED
    assert (after.completed, after.input_tokens, after.output_tokens) == (4, 12, 8)
    oracle.check_end(world)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_only_lines_that_may_fare_better_are_tried_again(world, status):
    batch = in_flight(world)
    while world.outstanding:
        first = world.outstanding[0].shard.attempt == 1
        world.answer(reply=by_name({"acme-2": status, "acme-4": 400}) if first else None)
    world.settle()
    assert attempts_of_lines(world) == {"acme-1": 1, "acme-2": 2, "acme-3": 1, "acme-4": 1}
    assert [line["custom_id"] for line in world.errors(batch)] == ["acme-4"]
    oracle.check_end(world)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_the_request_is_to_blame_for_is_final(world, status):
    batch = in_flight(world, 2)
    world.settle(answer_with(status))
    assert set(attempts_of_lines(world).values()) == {1}
    assert [line["response"]["status_code"] for line in world.errors(batch)] == [status] * 2
    oracle.check_end(world)


def test_a_line_fails_with_its_last_error_after_the_last_attempt(world):
    batch = in_flight(world, 2)
    world.settle(by_name({"acme-1": 503}))
    assert attempts_of_lines(world) == {"acme-1": 3, "acme-2": 1}
    (line,) = world.errors(batch)
    assert line["response"]["status_code"] == 503
    assert world.batch(batch).status is BatchStatus.COMPLETED
    oracle.check_end(world)


def test_pauses_between_attempts_grow(world):
    in_flight(world, 1)
    pauses = []
    while world.outstanding:
        world.answer(reply=answer_with(500))
        began = world.clock.now()
        while not world.outstanding and world.clock.now() < began + 60:
            world.advance(1)
            world.pump()
        pauses.append(world.clock.now() - began)
    assert 2.5 <= pauses[0] <= 6
    assert 5 <= pauses[1] <= 11
    assert len(world.backend.submissions) == 3


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (b"", 4),
        (b"<html>Bad Gateway</html>", 4),
        (b"\x00\xff" * 100, 4),
        (b"null\n[]\n1\n" + b'{"line":1}\n', 4),
        (b'{"line":1,"status_code":200,"body":"text"}\n', 4),
        (b'{"line":1,"status_code":99,"body":{}}\n', 4),
        (b'{"line":1,"status_code":600,"body":{}}\n', 4),
        (b'{"line":1,"status_code":200,"body":{"a":"\xff"}}\n', 4),
        (b'{"line":1,"status_code":200,"body":' + b"[" * 100_000 + b"\n", 4),
        (b'{"line":1,"status_code":200,"body":{"a":NaN}}\n', 4),
        (b'{"line":99,"status_code":200,"body":{}}\n', 4),
        (b'{"line":-1,"status_code":200,"body":{}}\n', 4),
    ],
)
def test_garbage_is_a_missing_result_and_tried_again(data, missing):
    with a_world_in_memory() as world:
        batch = in_flight(world)
        assert len(world.outstanding) == 1
        world.answer(data=data)
        (retry,) = [one for one in world.shards(batch) if one.status is ShardStatus.WAITING]
        assert retry.line_count == missing
        world.settle()
        assert world.batch(batch).completed == 4
        oracle.check_end(world)


def test_lines_that_never_come_back_fail_as_missing(world):
    batch = in_flight(world, 2)
    world.settle(by_name({"acme-2": None}))
    (line,) = world.errors(batch)
    assert line["error"]["code"] == "missing_result"
    oracle.check_end(world)


def test_too_many_lines_and_lines_of_others_change_nothing(world):
    batch = in_flight(world, 2)
    attempt = world.outstanding[0]
    mine = [succeed(request) for request in attempt.requests]
    strange = answer_with(500)(attempt.requests[0]) or b""
    world.answer(data=jsonl([*mine, strange, succeed(attempt.requests[1] | {"line": 77})]))
    world.settle()
    assert world.batch(batch).completed == 2
    oracle.check_end(world)


def test_results_may_come_in_any_order(world):
    batch = in_flight(world)
    attempt = world.outstanding[0]
    world.answer(data=jsonl(map(succeed, reversed(attempt.requests))))
    world.settle()
    assert [line["custom_id"] for line in world.output(batch)] == [
        "acme-1",
        "acme-2",
        "acme-3",
        "acme-4",
    ]


def test_a_truncated_result_costs_only_the_lines_that_were_cut_off(world):
    batch = in_flight(world)
    data = jsonl(map(succeed, world.outstanding[0].requests))
    world.answer(data=data[: int(len(data) * 0.6)])
    world.settle()
    assert attempts_of_lines(world) == {"acme-1": 1, "acme-2": 1, "acme-3": 2, "acme-4": 2}
    assert world.batch(batch).completed == 4
    oracle.check_end(world)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "none",
        {"prompt_tokens": None, "completion_tokens": 1},
        {"prompt_tokens": -5, "completion_tokens": 1},
        {"prompt_tokens": 10**30, "completion_tokens": 10**30},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": [1]},
    ],
)
def test_a_usage_that_makes_no_sense_does_not_cost_the_answer(world, usage):
    batch = in_flight(world, 1)

    def reply(request: Any) -> Any:
        result = succeed(request)
        result["body"]["usage"] = usage
        return result

    world.settle(reply)
    after = world.batch(batch)
    assert len(world.backend.submissions) == 1
    assert after.completed == 1
    assert (after.input_tokens, after.output_tokens) == (0, 0)
    oracle.check_end(world)


@pytest.mark.parametrize("tell", [World.notify_success, World.notify_error])
def test_a_batch_that_ends_while_a_second_result_is_taken_in_is_no_error(tell):
    """Its objects are removed under the eyes of whoever is told of the result again."""
    with a_world_in_memory(limits=replace(LIMITS, inline_bytes=0)) as world:
        batch = in_flight(world, 2)
        attempt = world.outstanding[0]

        def end() -> None:
            world.answer(attempt)
            world.pump()
            assert world.batch(batch).is_terminal

        hook = meanwhile(1, world.tap, end)  # after the shard was found open
        with world.tap.hooked(hook):
            tell(world, attempt)
        world.settle()
        assert world.batch(batch).completed == 2
        oracle.check_end(world)


@pytest.mark.parametrize("lines", [1, 2])
def test_a_result_does_not_make_a_batch_whose_record_is_gone(lines):
    with a_world_in_memory() as world:
        batch = in_flight(world, lines) if lines > 1 else world.respond("one")
        key = records.batch_key(batch.tenant, batch.id)
        world.store.store.transact(Delete(key))
        world.answer()
        assert world.store.get(key) == [None]


def test_a_result_that_was_announced_but_is_not_there_is_tried_again(world):
    batch = in_flight(world, 2)
    attempt = world.outstanding[0]
    world.lose(attempt)
    world.notify_success(attempt)
    world.settle()
    assert attempts_of_lines(world) == {"acme-1": 2, "acme-2": 2}
    assert world.batch(batch).completed == 2
    oracle.check_end(world)


@pytest.mark.parametrize("told", [True, False])
def test_a_result_that_is_too_large_stands_as_far_as_it_is_read(told):
    with a_world_in_memory(limits=replace(LIMITS, result_bytes=2000)) as world:
        batch = in_flight(world, 4)
        first, *others = map(succeed, world.outstanding[0].requests)
        world.answer(data=jsonl([first, b" " * 2000, *others]), told=told)
        world.settle()
        assert [line["custom_id"] for line in world.output(batch)] == ["acme-1"]
        errors = [line["error"] for line in world.errors(batch)]
        assert [error["code"] for error in errors] == ["result_too_large"] * 3
        assert "2000 bytes" in errors[0]["message"]
        assert len(world.backend.submissions) == 1
        assert list(world.blobs.list("async/")) == []
        oracle.check_end(world)


@pytest.mark.parametrize("size", [0, 1])
def test_a_result_may_be_as_large_as_the_limit(size):
    with a_world_in_memory(limits=replace(LIMITS, result_bytes=2000 - size)) as world:
        batch = in_flight(world, 2)
        data = jsonl(map(succeed, world.outstanding[0].requests))
        world.answer(data=b" " * (1999 - len(data)) + b"\n" + data)
        world.settle()
        assert world.batch(batch).completed == (1 if size else 2)
        oracle.check_end(world)


@pytest.mark.long
def test_a_result_is_read_without_copies_of_the_whole(world):
    in_flight(world, 2)
    attempt = world.outstanding[0]
    data = jsonl([b"\n" * 400_000, *map(succeed, attempt.requests)])
    tracemalloc.start()
    world.answer(attempt, data=data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(data) / 2  # small beside it, the rest of the world
    world.settle()
    oracle.check_end(world)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "files/acme/precious",
        "batches/acme/precious",
        "async/output/precious",
        "async/output/acme/{batch}/00001-a2.out",
        "async/output/acme/{batch}/00001-a11.out",
        "async/output/other/{batch}/00001-a1.out",
    ],
)
def test_an_object_that_is_not_the_attempts_own_is_neither_read_nor_removed(world, key):
    batch = in_flight(world, 2)
    attempt = world.outstanding[0]
    key = key.format(batch=batch.id)
    data = jsonl(map(succeed, attempt.requests))
    if key:
        world.blobs.put(key, data)
    collect.collect_result(world.env, attempt.shard.ref, result_key=key)
    assert not key or world.blobs.get(key) == data
    assert world.batch(batch).completed == 0
    (retry,) = [one for one in world.shards(batch) if one.status is ShardStatus.WAITING]
    assert retry.line_count == 2
    attempt.is_told = True
    world.blobs.delete(key)
    world.settle()
    collect.collect_result(world.env, attempt.shard.ref, result_key=key)
    oracle.check_end(world)


def test_a_place_that_the_backend_named_is_the_attempts_own(world):
    batch = in_flight(world, 2)
    attempt = world.outstanding[0]
    (shard,) = world.shards(batch)
    named = structs.replace(shard, output_location=world.blobs.uri("async/output/named.out"))
    world.untapped.store.transact(*transitions.watch(shard, named))
    world.blobs.put("async/output/named.out", jsonl(map(succeed, attempt.requests)))
    attempt.is_told = True
    collect.collect_result(world.env, shard.ref, result_key="async/output/named.out")
    (done,) = world.shards(batch)
    assert (done.output_location, done.failure_location) == (None, None)
    world.settle()
    assert world.batch(batch).completed == 2
    assert list(world.blobs.list("async/")) == []
    oracle.check_end(world)


def test_what_a_model_brings_that_has_left_the_catalog_stands_and_costs_nothing(world):
    batch = in_flight(world)
    world.set_env(replace(world.untapped, catalog=a_catalog(a_model("another"))))
    world.answer()
    after = world.batch(batch)
    assert (after.completed, after.input_tokens, after.cost_nanos) == (4, 12, 0)


def test_an_attempt_that_failed_as_a_whole_is_tried_again(world):
    batch = in_flight(world, 2)
    world.fail()
    world.settle()
    assert world.batch(batch).completed == 2
    oracle.check_end(world)


def test_an_attempt_that_always_fails_ends_with_an_error_a_line(world):
    batch = in_flight(world, 2)
    while world.outstanding:
        world.fail()
        world.advance(60)
        world.pump()
    errors = [(line["error"]["code"], line["error"]["message"]) for line in world.errors(batch)]
    assert errors == [("backend_failed", "The model's server failed to answer.")] * 2
    assert "123456789012" not in str(world.errors(batch))
    oracle.check_end(world)


@pytest.mark.parametrize("times", [2, 10])
def test_notifications_that_come_again_change_nothing(world, times):
    batch = in_flight(world)
    attempt = world.outstanding[0]
    world.answer(attempt, by_name({"acme-1": 500}))
    before = world.batch(batch)
    for _ in range(times):
        world.notify_success(attempt)
        world.notify_error(attempt)
    assert world.batch(batch) == before
    world.settle()
    world.advance(86400)
    world.notify_success(attempt)
    oracle.check_end(world)


def test_a_result_that_comes_after_the_end_leaves_nothing_behind(world):
    in_flight(world, 1)
    attempt = world.outstanding[0]
    world.answer(attempt)
    world.settle()
    world.answer(attempt)  # the service had queued it twice
    assert list(world.blobs.list("async/output/")) == []
    oracle.check_end(world)


def test_the_first_result_of_any_attempt_wins(world):
    batch = in_flight(world, 2)
    first = world.outstanding[0]
    world.lose(first)
    world.tick(5)
    (second,) = world.outstanding
    assert second.shard.attempt == 2
    world.answer(first)
    world.settle(answer_with(500))
    assert world.batch(batch).completed == 2
    oracle.check_end(world)


def test_a_result_that_is_taken_in_while_its_lease_ends_is_not_paid_for_again(world):
    batch = in_flight(world, 2)
    (attempt,) = world.outstanding

    def end_the_lease() -> None:
        waiting = structs.replace(attempt.shard.waiting(), failed_at=world.clock.now())
        world.untapped.store.transact(*transitions.wait_again(attempt.shard, waiting))

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, end_the_lease)):
        world.answer()
    assert world.batch(batch).completed == 2
    world.settle()
    assert len(world.backend.submissions) == 1
    oracle.check_end(world)


def test_the_failure_of_an_attempt_that_was_given_up_does_not_end_the_next(world):
    batch = in_flight(world, 2)
    first = world.outstanding[0]
    world.lose(first)
    world.tick(5)
    world.notify_error(first)
    world.notify_success(first)  # with no object
    (shard,) = world.shards(batch)
    assert (shard.status, shard.attempt) == (ShardStatus.IN_FLIGHT, 2)
    world.settle()
    assert len(world.backend.submissions) == 2
    oracle.check_end(world)


@pytest.mark.parametrize("has_result", [True, False])
def test_a_retry_that_seemed_throttled_may_have_started_all_the_same(world, has_result):
    """The service's first answer was lost; the client's second call was throttled."""
    batch = in_flight(world, 2)
    world.backend.fail_next(BackendThrottled(), is_taken=True)
    world.answer(reply=by_name({"acme-1": 500}))
    world.advance(10)
    world.pump(QueueName.DISPATCH)
    (attempt,) = world.outstanding
    if has_result:
        world.answer(attempt, answer_with(500))
    else:
        world.fail(attempt)
    world.settle()
    assert world.batch(batch).completed == 2
    assert attempts_of_lines(world) == {"acme-1": 3, "acme-2": 1}
    oracle.check_end(world)


def test_outcomes_and_retries_too_large_for_an_item_are_kept_as_objects(world):
    batch = in_flight(world, [chat(f"r{n}", user="u" * 9000) for n in range(4)])

    def large(request: Any) -> Any:
        answer = succeed(request)
        answer["body"]["padding"] = "p" * 9000
        return answer

    world.answer(reply=by_name({"r1": 500, "r2": 500}, large))
    done, retry = world.shards(batch)
    assert done.result_key is not None
    assert retry.input_key is not None
    world.settle(large)
    assert world.batch(batch).completed == 4
    oracle.check_end(world)


@pytest.mark.parametrize(("room", "is_inline"), [(0, True), (-1, False)])
def test_a_retry_is_kept_in_its_item_up_to_the_limit(room, is_inline):
    size = len(JsonlShards().encode(OpenAIDialect().parse(1, jsonl([chat("r1")]), route=CHAT)))
    limits = replace(LIMITS, inline_bytes=size + len(b"\n") + room)
    with a_world_in_memory(limits=limits) as world:
        batch = in_flight(world, [chat("r1")])
        world.answer(reply=answer_with(500))
        retry = world.shards(batch)[-1]
        assert (retry.input_inline is not None, retry.input_key is None) == (is_inline, is_inline)
        world.settle()
        oracle.check_end(world)


def test_a_stranger_is_ignored(world):
    batch = in_flight(world, 2)
    attempt = world.outstanding[0]
    for name in ("", "x", "a/b/c/d", "acme/b/00001/²", "acme/none/00001/1", f"acme/{batch.id}/9/1"):
        stranger = type(attempt)(_Named(attempt.shard, name), [])
        world.notify_error(stranger)
    assert world.batch(batch) == batch or world.batch(batch).open_shards == 1
    world.settle()
    oracle.check_end(world)


class _Named:
    """A shard whose attempt is called otherwise."""

    def __init__(self, shard: Any, name: Any) -> None:
        self._shard = shard
        self.ref = name

    def __getattr__(self, name: Any) -> Any:
        return getattr(self._shard, name)
