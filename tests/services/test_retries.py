"""What is tried again of a shard, as which shards, and with which lines."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from backburner.domain.batch import STOPPED, StopReason
from backburner.domain.catalog import Jobs
from backburner.domain.request import Outcome
from backburner.domain.retry import Sorted
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Put, Update
from backburner.services import records, retries
from backburner.services.retries import Verdict
from tests.domain.values import a_shard, batch
from tests.world import LIMITS, MemoryWorld, a_catalog, a_model, a_world_in_memory

MODEL = a_model()
AS_JOBS = a_model("jobs", endpoint="", jobs=Jobs(model_id="vendor.model"))


@pytest.fixture
def world() -> Iterator[MemoryWorld]:
    with a_world_in_memory(catalog=a_catalog(MODEL, AS_JOBS)) as made:
        yield made


def tried(lines: int = 3, **changes: Any) -> Shard:
    settings: dict[str, Any] = {
        "status": ShardStatus.IN_FLIGHT,
        "pool": MODEL.pool,
        "line_count": lines,
        "last_line": lines,
        "tokens": 10 * lines,
        "attempt": 1,
        "claimed_at": 2.0,
    }
    made: Shard = a_shard(**settings | changes)
    return made


def requests(*lines: int) -> list[bytes]:
    return [b'{"line":%d,"custom_id":"r%d","body":{}}' % (line, line) for line in lines]


def outcome(line: int, status: int = 0, code: str | None = None) -> Outcome:
    return Outcome(line=line, custom_id=f"r{line}", status_code=status, code=code)


def verdict(*again: int, final: tuple[int, ...] = (), **changes: Any) -> Verdict:
    parted = Sorted(
        final=tuple(outcome(line, 200) for line in final),
        retry=tuple(outcome(line, 500) for line in again),
    )
    return Verdict(parted=parted, **changes)


def lost(count: int) -> list[Outcome]:
    return [outcome(line, code="backend_failed") for line in range(1, count + 1)]


# ---------------------------------------------------------------- what is decided


def test_what_failed_as_a_whole_is_halved_and_nothing_of_it_has_ended(world):
    shard, found = tried(attempt=2, failed_at=1.0), lost(3)
    parted = Sorted(final=(), retry=tuple(found))
    probe = Verdict(parted=parted, is_halved=True, is_probe=True)
    assert retries.judge(world.untapped, shard, found) == probe
    pool = {"id": MODEL.pool, "succeeded_at": 5.0, "probes": LIMITS.retry.max_probes}
    world.store.transact(Put(records.pool_key(MODEL.pool), pool))
    well = Verdict(parted=parted, is_halved=True)
    assert retries.judge(world.untapped, shard, found) == well


@pytest.mark.parametrize(
    ("changes", "is_final"),
    [
        ({"attempt": 1}, False),
        ({"attempt": 3, "failed_at": 1.0}, True),
        ({"attempt": 2, "failed_at": 1.0, "job": "arn:job"}, False),
        ({"attempt": 2, "failed_at": 1.0, "model": "jobs", "pool": AS_JOBS.pool}, False),
        ({"attempt": 3, "failed_at": 1.0, "job": "arn:job"}, True),
    ],
)
def test_what_can_not_be_halved_is_tried_whole_until_the_last_attempt(world, changes, is_final):
    shard = tried(**changes)
    full = {"id": shard.pool, "probes": LIMITS.retry.max_probes}
    world.store.transact(Put(records.pool_key(shard.pool), full))
    store_batch(world)
    found = lost(3)
    kept = Sorted(final=tuple(found) if is_final else (), retry=() if is_final else tuple(found))
    assert retries.judge(world.untapped, shard, found) == Verdict(parted=kept)


def store_batch(world: MemoryWorld, **changes: Any) -> None:
    key = records.batch_key("acme", "batch_1")
    world.store.transact(Put(key, records.batch_item(batch(), due_at=1.0)))
    world.store.transact(Update(key, set=changes))


@pytest.mark.parametrize("stopping", [None, *StopReason])
def test_of_a_jobs_last_attempt_what_was_not_run_says_why_its_batch_stopped(world, stopping):
    store_batch(world, stopping=stopping)
    shard = tried(attempt=3, failed_at=1.0, job="arn:job")
    found = [outcome(1, 200), outcome(2, 500), outcome(3, code="missing_result")]
    parted = retries.judge(world.untapped, shard, found).parted
    assert parted.retry == ()
    assert parted.final[:2] == tuple(found[:2])
    (unrun,) = parted.final[2:]
    assert (unrun.line, unrun.custom_id) == (3, "r3")
    told = (unrun.code, unrun.message)
    assert told == (STOPPED[stopping][1:] if stopping else ("missing_result", None))


def test_of_a_batch_that_is_gone_nobody_says_why_it_stopped(world):
    shard = tried(attempt=3, failed_at=1.0, job="arn:job")
    assert retries.judge(world.untapped, shard, lost(3)).parted.final == tuple(lost(3))


@pytest.mark.parametrize(
    ("changes", "probes", "is_repeated"),
    [
        ({"attempt": 1}, 0, True),
        ({"attempt": 2, "failed_at": 1.0}, 0, False),  # it is halved
        ({"attempt": 2, "failed_at": 1.0}, 8, True),
        ({"attempt": 3, "failed_at": 1.0}, 8, False),
        ({"attempt": 2, "failed_at": 1.0, "job": "arn:job"}, 0, True),
        ({"attempt": 3, "failed_at": 1.0, "job": "arn:job"}, 0, False),
    ],
)
def test_a_lost_attempt_is_repeated_as_it_is_or_not(world, changes, probes, is_repeated):
    pool = {"id": MODEL.pool, "probes": probes}
    world.store.transact(Put(records.pool_key(MODEL.pool), pool))
    assert retries.is_repeated(world.untapped, tried(**changes)) is is_repeated


# ---------------------------------------------------------------- as which shards


def test_only_lines_that_have_not_ended_are_tried_again_and_after_a_pause(world):
    shard = tried(input_inline=b"all", result_inline=b"[]", succeeded=1, failed=1, job="arn:job")
    lines = requests(1, 2, 3)
    (again,) = retries.shards(world.untapped, shard, lines, verdict(1, 3, final=(2,)))
    now = world.clock.now()
    data = b"".join(line + b"\n" for line in (lines[0], lines[2]))
    assert 2.5 <= again.not_before - now <= 5.0
    assert again == a_shard(
        id="00001-1",
        pool=MODEL.pool,
        first_line=1,
        last_line=3,
        line_count=2,
        tokens=20,
        size=len(data),
        attempt=1,
        is_rest=True,
        failed_at=now,
        not_before=again.not_before,
        input_inline=data,
    )


@pytest.mark.parametrize(
    ("was_rest", "final", "is_rest"), [(False, (), False), (True, (), True), (False, (3,), True)]
)
def test_a_rest_is_what_is_left_once_other_lines_have_ended(world, was_rest, final, is_rest):
    shard = tried(is_rest=was_rest)
    (again,) = retries.shards(world.untapped, shard, requests(1, 2, 3), verdict(1, 2, final=final))
    assert again.is_rest is is_rest


def test_where_all_has_ended_nothing_is_tried_again(world):
    assert retries.shards(world.untapped, tried(), requests(1, 2, 3), verdict(final=(1,))) == ()


def test_halves_are_pieces_with_attempts_of_their_own(world):
    shard = tried(5, piece=3, id="00001-3p", attempt=2, tokens=51)
    halves = retries.shards(
        world.untapped, shard, requests(1, 2, 5, 8, 9), verdict(1, 2, 5, 8, 9, is_halved=True)
    )
    assert [(one.id, one.piece, one.attempt) for one in halves] == [
        ("00001-6p", 6, 0),
        ("00001-7p", 7, 0),
    ]
    assert [(one.first_line, one.last_line, one.line_count) for one in halves] == [
        (1, 5, 3),
        (8, 9, 2),
    ]
    assert [one.tokens for one in halves] == [math.ceil(51 * 3 / 5), math.ceil(51 * 2 / 5)]
    assert [one.status for one in halves] == [ShardStatus.WAITING] * 2


def test_a_raw_request_is_tried_again_as_it_is(world):
    shard = tried(1, content_type="image/png", input_key="there", result_key="here", failed=1)
    (again,) = retries.shards(world.untapped, shard, [], verdict(1))
    assert again == replace(
        shard.waiting(),
        id="00001-1",
        failed_at=world.clock.now(),
        not_before=again.not_before,
        result_key=None,
        failed=None,
    )
    assert retries.shards(world.untapped, shard, [], verdict(final=(1,))) == ()


@pytest.mark.parametrize("size", [0, 1])
def test_requests_that_are_too_large_for_a_record_are_an_object(world, size):
    limit = world.untapped.limits.inline_bytes
    (line,) = requests(1)
    line += b" " * (limit - len(line) - 1 + size)
    (again,) = retries.shards(world.untapped, tried(1, input_key="old"), [line], verdict(1))
    if not size:
        assert (again.input_inline, again.input_key) == (line + b"\n", None)
        return
    assert again.input_inline is None
    assert again.input_key is not None
    assert again.input_key.startswith("batches/acme/batch_1/inputs/00001-1-")
    assert world.blobs.get(again.input_key) == line + b"\n"


def test_an_object_is_named_by_what_is_in_it(world):
    one, same, other = (
        retries.put(world.untapped, tried(), "results/00001", data) for data in (b"a", b"a", b"b")
    )
    assert one == same != other
    assert one.startswith("batches/acme/batch_1/results/00001-")
    assert one.endswith(".jsonl")
    assert world.blobs.get(one) == b"a"
