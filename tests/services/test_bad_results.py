"""A model that answers badly, or dies of a request: whoever is not to blame comes out."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.shard import Cut, ShardStatus
from backburner.ports import QueueName
from backburner.services import batches
from tests import oracle
from tests.backend import Submission, by_name, succeed
from tests.tap import Crash, Hook, PortError, fault_at
from tests.world import LIMITS, World, a_catalog, a_model, a_world_in_memory, jsonl

#: What a server does to an attempt.
Act = Callable[[World, Submission], None]

NO_CANARY = replace(LIMITS, canary_lines=10**6, canary_from_lines=10**6)
MAX_ATTEMPTS = LIMITS.retry.max_attempts
MAX_ISOLATED = LIMITS.retry.max_isolated_attempts
MAX_PROBES = LIMITS.retry.max_probes


def one_shard(lines: int, **limits: Any) -> Any:
    """A world in which so many lines are one shard."""
    catalog = a_catalog(a_model(cut=Cut(lines=lines, bytes=10**7, tokens=10**7)))
    return a_world_in_memory(catalog=catalog, limits=replace(NO_CANARY, **limits))


def die(world: World, attempt: Submission) -> None:
    world.fail(attempt)


def vanish(world: World, attempt: Submission) -> None:
    world.lose(attempt)


def say(data: bytes) -> Act:
    return lambda world, attempt: world.answer(attempt, data=data)


def answer_each_with(status: int) -> Act:
    def act(world: World, attempt: Submission) -> None:
        body = {"error": {"message": "The engine is dead."}}
        lines = [one | {"status_code": status, "body": body} for one in attempt.requests]
        world.answer(attempt, data=jsonl(lines))

    return act


def serve(world: World, spoils: Act, poison: Iterable[str], *, minutes: int = 600) -> None:
    """Let a server be at work that spoils every attempt in which one of these requests is."""
    names = set(poison)
    for _ in range(minutes):
        world.pump()
        while world.outstanding:
            attempt = world.outstanding[0]
            if names & set(attempt.custom_ids):
                spoils(world, attempt)
            else:
                world.answer(attempt)
            world.pump()
        if world.is_quiet:
            return
        world.advance(60)
        world.reap()


def failed(world: World, batch: Batch) -> dict[str, str | None]:
    """Reasons by the names of the requests that failed."""
    return {
        line["custom_id"]: line["error"]["code"] if line["error"] else None
        for line in world.errors(batch)
    }


def attempts_of_lines(world: World) -> Counter[str]:
    return Counter(name for one in world.backend.submissions for name in one.custom_ids)


# ---------------------------------------------------------------- the line that is to blame


@pytest.mark.parametrize(
    ("lines", "bad"), [(1, 1), (2, 1), (2, 2), (3, 2), (7, 7), (8, 1), (33, 17), (64, 64)]
)
def test_a_request_that_kills_its_server_fails_alone(lines, bad):
    with one_shard(lines) as world:
        batch = world.submit(lines)
        serve(world, die, [f"acme-{bad}"])
        after = world.batch(batch)
        assert (after.status, after.completed) == (BatchStatus.COMPLETED, lines - 1)
        assert failed(world, batch) == {f"acme-{bad}": "backend_failed"}
        halvings = math.ceil(math.log2(lines))
        alone = MAX_ISOLATED if lines > 1 else MAX_ATTEMPTS
        assert len(world.backend.submissions) <= 1 + 2 * halvings + alone
        assert max(attempts_of_lines(world).values()) <= 1 + halvings + alone
        oracle.check_end(world)


@pytest.mark.parametrize(
    ("spoils", "code"),
    [
        (die, "backend_failed"),
        (vanish, "attempt_lost"),
        (say(b""), "missing_result"),
        (say(b"<html>Bad Gateway</html>"), "missing_result"),
        (say(b'{"error":{"message":"CUDA out of memory"}}\n'), "missing_result"),
        (say(b'{"line":1,"status_code":200,"body":'), "missing_result"),
        (say(b"\x00\xff" * 1000), "missing_result"),
        (answer_each_with(500), None),
        (answer_each_with(503), None),
    ],
)
def test_it_does_not_matter_how_the_server_fails(spoils, code):
    with one_shard(6) as world:
        batch = world.submit(6)
        serve(world, spoils, ["acme-4"])
        assert failed(world, batch) == {"acme-4": code}
        assert world.batch(batch).completed == 5
        oracle.check_end(world)


@pytest.mark.parametrize("bad", [{1, 2}, {1, 64}, {5, 22, 23, 41}, set(range(1, 65, 9))])
def test_several_bad_requests_fail_and_nobody_else(bad):
    with one_shard(64) as world:
        batch = world.submit(64)
        names = [f"acme-{number}" for number in sorted(bad)]
        serve(world, die, names)
        assert failed(world, batch) == dict.fromkeys(names, "backend_failed")
        assert world.batch(batch).completed == 64 - len(bad)
        oracle.check_end(world)


def test_a_bad_request_among_the_first_does_not_stop_the_batch(world):
    batch = world.submit(12)
    serve(world, die, ["acme-2"])
    after = world.batch(batch)
    assert (after.status, after.completed) == (BatchStatus.COMPLETED, 11)
    assert failed(world, batch) == {"acme-2": "backend_failed"}
    oracle.check_end(world)


def test_an_attempt_that_failed_once_is_repeated_whole(world):
    batch = world.submit(4)
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.fail()
    world.settle()
    assert [len(one.custom_ids) for one in world.backend.submissions] == [4, 4]
    assert world.batch(batch).completed == 4
    oracle.check_end(world)


def test_halves_begin_anew_with_the_shortest_pause():
    with one_shard(4) as world:
        batch = world.submit(4)
        for _ in range(2):
            world.pump(QueueName.PLAN, QueueName.DISPATCH)
            world.fail()
            world.advance(10)
        halves = world.shards(batch)[-2:]
        assert [(half.id, half.attempt) for half in halves] == [("00001-2p", 0), ("00001-3p", 0)]
        pauses = [half.not_before - half.failed_at for half in halves]
        assert all(2.5 <= pause <= 5 for pause in pauses)
        world.settle()
        oracle.check_end(world)


def test_finished_lines_are_in_no_half():
    with one_shard(8) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        some = [succeed(one) for one in world.outstanding[0].requests if one["line"] % 2]
        world.answer(data=jsonl(some))
        serve(world, die, ["acme-6"])
        assert failed(world, batch) == {"acme-6": "backend_failed"}
        once = {name: count for name, count in attempts_of_lines(world).items() if count == 1}
        assert set(once) == {"acme-1", "acme-3", "acme-5", "acme-7"}
        oracle.check_end(world)


def test_lines_that_fail_where_others_succeed_are_not_halved():
    with one_shard(8) as world:
        batch = world.submit(8)
        world.settle(by_name({f"acme-{number}": 500 for number in (2, 3, 5, 7)}))
        assert [len(one.custom_ids) for one in world.backend.submissions] == [8, 4, 4]
        assert world.batch(batch).completed == 4
        oracle.check_end(world)


def test_a_single_request_that_kills_its_server_fails_after_the_last_attempt(world):
    response = world.respond("one")
    serve(world, die, ["one"])
    after = world.batch(response)
    assert (after.kind, after.status) == (BatchKind.RESPONSE, BatchStatus.FAILED)
    assert len(world.backend.submissions) == MAX_ATTEMPTS
    oracle.check_end(world)


def test_the_batch_of_another_tenant_is_not_held_up(world):
    poisoned = world.submit(4, tenant="acme")
    other = world.submit(40, tenant="zeta")
    serve(world, die, ["acme-3"])
    assert failed(world, poisoned) == {"acme-3": "backend_failed"}
    assert world.batch(other).completed == 40
    assert max(attempts_of_lines(world)[f"zeta-{number}"] for number in range(1, 41)) == 1
    oracle.check_end(world)


# ---------------------------------------------------------------- nothing works at all


@pytest.mark.parametrize("spoils", [die, say(b""), answer_each_with(500)])
def test_an_endpoint_that_is_down_is_not_asked_for_more_and_more(spoils):
    """Halving is for finding one bad line: where all fail, there is none to be found."""
    shards = 25
    with a_world_in_memory(limits=NO_CANARY) as world:
        batch = world.submit(4 * shards)
        serve(world, spoils, [f"acme-{number}" for number in range(1, 4 * shards + 1)])
        after = world.batch(batch)
        assert (after.status, after.failed) == (BatchStatus.COMPLETED, 4 * shards)
        most = shards * MAX_ATTEMPTS + MAX_PROBES * (2 * MAX_ATTEMPTS - 1)
        assert shards * MAX_ATTEMPTS <= len(world.backend.submissions) <= most
        oracle.check_end(world)


def test_an_endpoint_that_has_recovered_is_probed_anew():
    with one_shard(8) as world:
        first = world.submit(8, tenant="acme")
        serve(world, die, [f"acme-{number}" for number in range(1, 9)])
        assert world.pool().probes > 0
        second = world.submit(8, tenant="zeta")
        serve(world, die, ["zeta-5"])
        assert world.batch(first).failed == 8
        assert failed(world, second) == {"zeta-5": "backend_failed"}
        assert world.pool().probes == 0
        oracle.check_end(world)


def test_what_never_comes_back_expires_in_time():
    with one_shard(8) as world:
        batch = world.submit(8, window="15m")
        serve(world, vanish, [f"acme-{number}" for number in range(1, 9)])
        after = world.batch(batch)
        assert after.status is BatchStatus.EXPIRED
        assert set(failed(world, batch).values()) <= {"batch_expired", "attempt_lost"}
        oracle.check_end(world)


# ---------------------------------------------------------------- halves, and everybody else


def halved(world: World, lines: int = 8) -> Batch:
    """A batch whose one shard has failed twice, and whose halves are in flight."""
    batch = world.submit(lines)
    for _ in range(2):
        world.advance(60)
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        world.fail()
    world.advance(60)
    world.pump(QueueName.DISPATCH)
    assert [len(one.custom_ids) for one in world.outstanding] == [lines // 2] * 2
    return batch


def test_a_result_that_comes_after_its_shard_was_halved_changes_nothing():
    with one_shard(8) as world:
        batch = halved(world)
        before = world.batch(batch)
        world.answer(world.backend.submissions[1])
        assert world.batch(batch) == before
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_told_twice_of_a_failure_a_shard_is_halved_once():
    with one_shard(8) as world:
        batch = halved(world)
        for attempt in world.backend.submissions[:2] * 2:
            world.notify_error(attempt)
        assert len(world.shards(batch)) == 4
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def fail_twice(world: World, hook: Hook | None) -> tuple[Batch, list[str]]:
    """Have a shard halved under the hook's eyes; returns the calls that this took."""
    batch = world.submit(4)
    for is_told in (True, False):
        world.advance(60)
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        attempt = world.outstanding[0]
        world.fail(attempt, told=is_told)
    with world.tap.hooked(hook):
        with suppress(Crash, PortError):
            world.notify_error(attempt)
        calls = list(world.tap.calls)
    world.notify_error(attempt)  # whoever tells of it tries again
    return batch, calls


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [Crash, PortError])
def test_whatever_breaks_while_a_shard_is_halved_it_is_halved_once(when, fault):
    with one_shard(4, inline_bytes=300) as world:
        _, calls = fail_twice(world, None)
    assert "store.transact" in calls
    for number in range(len(calls)):
        with one_shard(4, inline_bytes=300) as world:
            batch, _ = fail_twice(world, fault_at(number, when, fault))
            serve(world, die, ["acme-2"])
            assert failed(world, batch) == {"acme-2": "backend_failed"}
            assert world.batch(batch).completed == 3
            oracle.check_end(world, tidy=False)


@pytest.mark.parametrize("end", ["cancel", "expire"])
def test_a_batch_may_end_while_its_halves_run(end):
    with one_shard(8) as world:
        batch = halved(world)
        world.answer(world.outstanding[0])
        if end == "cancel":
            batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)
        else:
            world.advance(86400)
            world.reap()
        world.fail(world.outstanding[0])
        world.settle()
        after = world.batch(batch)
        assert (after.completed, after.failed) == (4, 4)
        assert after.is_terminal
        oracle.check_end(world)


def test_halves_too_large_for_an_item_are_objects_and_gone_in_the_end():
    with one_shard(8, inline_bytes=300) as world:
        batch = halved(world)
        halves = [one for one in world.shards(batch) if one.status is ShardStatus.IN_FLIGHT]
        assert [one.id for one in halves] == ["00001-2p", "00001-3p"]
        assert all(one.input_key is not None for one in halves)
        serve(world, die, ["acme-8"])
        assert failed(world, batch) == {"acme-8": "backend_failed"}
        oracle.check_end(world)


# ---------------------------------------------------------------- always a bit wrong


def too_few(attempt: Submission) -> list[Any]:
    return [succeed(one) for one in attempt.requests[:-1]]


def twice(attempt: Submission) -> list[Any]:
    return [succeed(one) for one in attempt.requests for _ in range(2)]


def too_many(attempt: Submission) -> list[Any]:
    return [*map(succeed, attempt.requests), succeed(attempt.requests[0] | {"line": 999})]


def backwards(attempt: Submission) -> list[Any]:
    return [succeed(one) for one in reversed(attempt.requests)]


def unnumbered(attempt: Submission) -> list[Any]:
    return [
        {name: part for name, part in succeed(one).items() if name != "line"}
        for one in attempt.requests
    ]


def errors_called_successes(attempt: Submission) -> list[Any]:
    """As some proxies do; the field is null in answers that are well."""
    lines = []
    for one in attempt.requests:
        said = {"message": "CUDA out of memory"} if one["line"] == 3 else None
        line = succeed(one)
        line["body"] |= {"error": said}
        lines.append(line)
    return lines


def every_other_is_garbage(attempt: Submission) -> list[Any]:
    return [
        succeed(one) if place % 2 else b"Traceback (most recent call last):"
        for place, one in enumerate(attempt.requests)
    ]


@pytest.mark.parametrize(
    ("reply", "completed", "code"),
    [
        (too_few, 7, "missing_result"),
        (twice, 8, None),
        (too_many, 8, None),
        (backwards, 8, None),
        (unnumbered, 0, "missing_result"),
        (every_other_is_garbage, 7, "missing_result"),
        (errors_called_successes, 7, "invalid_result"),
    ],
)
def test_a_server_that_is_always_wrong_costs_the_lines_that_it_is_wrong_about(
    reply, completed, code
):
    with one_shard(8) as world:
        batch = world.submit(8)
        names = [f"acme-{number}" for number in range(1, 9)]
        serve(world, lambda w, attempt: w.answer(attempt, data=jsonl(reply(attempt))), names)
        after = world.batch(batch)
        assert (after.completed, after.failed) == (completed, 8 - completed)
        assert set(failed(world, batch).values()) == ({code} if code else set())
        said = [line["response"]["body"]["choices"][0] for line in world.output(batch)]
        assert len(said) == completed
        assert "Traceback" not in json.dumps(world.errors(batch))
        oracle.check_end(world)
