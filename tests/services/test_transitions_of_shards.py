"""What each change makes of a shard, and what is counted of it in its pool, share and batch."""

from typing import Any

import pytest
from msgspec.structs import replace

from backburner.domain.batch import StopReason
from backburner.domain.errors import Conflict
from backburner.domain.request import Usage
from backburner.domain.shard import Shard, ShardStatus
from backburner.ports import Index, Key, Put, Update
from backburner.services import records, transitions
from tests.domain.values import a_shard, batch
from tests.reference import ReferenceStore

WAITING = a_shard(line_count=3)
TAKEN = replace(
    WAITING, status=ShardStatus.IN_FLIGHT, attempt=1, claimed_at=2.0, look_at=5.0, lease_ends_at=9.0
)
ASIDE = replace(WAITING, status=ShardStatus.PAUSED)
DONE = replace(TAKEN, status=ShardStatus.DONE, look_at=None, lease_ends_at=None)
RETRY = replace(WAITING, id="00001-1", line_count=1)
BATCH = records.batch_key("acme", "batch_1")
POOL, SHARE = records.pool_key("p"), records.share_key("acme", "p")
OTHER_POOL, OTHER_SHARE = records.pool_key("q"), records.share_key("acme", "q")


def key_of(shard: Shard) -> Key:
    return records.shard_key(shard.tenant, shard.batch_id, shard.id)


def a_store(*shards: Shard, **of_batch: Any) -> ReferenceStore:
    store = ReferenceStore()
    store.transact(Put(BATCH, records.batch_item(batch(**of_batch), due_at=1.0)))
    for shard in shards:
        store.transact(Put(key_of(shard), records.shard_item(shard)))
    return store


def stored(store: ReferenceStore, shard: Shard) -> Shard:
    (item,) = store.get(key_of(shard))
    assert item is not None
    return records.to_shard(item)


def counts(store: ReferenceStore, key: Key = POOL) -> dict[str, Any]:
    """What is counted in an item, but for zeros."""
    (item,) = store.get(key)
    return {name: value for name, value in (item or {}).items() if value}


def finish(shard: Shard = TAKEN, done: Shard = DONE, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "completed": 0,
        "failed": 0,
        "usage": Usage(),
        "retries": [],
        "now": 6.0,
    }
    return transitions.finish(shard, done, **settings | changes)


# ---------------------------------------------------------------- its end


def test_what_came_of_a_shard_is_counted_in_its_batch():
    store = a_store(TAKEN, completed=1, failed=1, open_shards=4)
    usage = Usage(input_tokens=30, output_tokens=20)
    store.transact(*finish(completed=2, failed=1, usage=usage, cost_nanos=7))
    (item,) = store.get(BATCH)
    assert item is not None
    assert records.to_batch(item) == batch(
        completed=3, failed=2, open_shards=3, input_tokens=30, output_tokens=20, cost_nanos=7
    )
    assert stored(store, TAKEN) == DONE


def test_a_success_tells_of_the_whole_pool_and_ends_its_probes():
    store = a_store(TAKEN)
    store.transact(Put(POOL, {"id": "p", "in_flight": 2, "running_lines": 5, "probes": 3}))
    store.transact(Put(SHARE, {"in_flight": 2}))
    store.transact(*finish(completed=2, failed=1))
    assert counts(store) == {
        "id": "p",
        "in_flight": 1,
        "running_lines": 2,
        "ended_lines": 3,
        "busy_seconds": 4.0,
        "succeeded_at": 6.0,
    }
    assert counts(store, SHARE) == {"in_flight": 1}


@pytest.mark.parametrize(
    ("changes", "completed", "seconds"),
    [
        ({}, 1, 4.0),
        ({"claimed_at": None}, 1, 0.0),
        ({"claimed_at": 7.0}, 1, 0.0),  # by another machine's clock
        ({"bundle": "bundle_1"}, 1, 0.0),  # whose own end is measured
        ({}, 0, 4.0),
    ],
)
def test_how_long_an_attempt_took_is_counted_where_it_had_a_slot(changes, completed, seconds):
    taken = replace(TAKEN, **changes)
    store = a_store(taken)
    store.transact(*finish(taken, completed=completed, failed=1 - completed))
    found = counts(store)
    assert (found["ended_lines"], found.get("busy_seconds", 0.0)) == (1, seconds)
    assert found.get("in_flight", 0) == (0 if taken.bundle else -1)


@pytest.mark.parametrize(
    ("job", "completed", "told"),
    [
        ("arn:job", 1, {"ended_jobs": 1, "job_seconds": 4.0}),
        ("arn:job", 0, {}),
        (None, 1, {}),
    ],
)
def test_a_job_tells_how_long_jobs_take_if_it_brought_something(job, completed, told):
    taken = replace(TAKEN, job=job)
    store = a_store(taken)
    store.transact(*finish(taken, completed=completed, failed=1))
    found = counts(store)
    assert {name: found[name] for name in ("ended_jobs", "job_seconds") if name in found} == told


@pytest.mark.parametrize(
    ("pools", "here", "there", "more"),
    [([], 0, 0, -1), (["p"], 1, 0, 0), (["p", "p"], 2, 0, 1), (["p", "q"], 1, 1, 1)],
)
def test_retries_are_queued_in_the_place_of_the_shard_where_they_are_to_run(
    pools, here, there, more
):
    again = [replace(RETRY, id=f"00001-{n}p", pool=pool) for n, pool in enumerate(pools, start=2)]
    store = a_store(TAKEN)
    store.transact(*finish(failed=1, retries=again))
    for shard in again:
        assert stored(store, shard) == shard
        assert store.query(shard.pool, index=Index.QUEUE, limit=9)
    for keys, lines in (((POOL, SHARE), here), ((OTHER_POOL, OTHER_SHARE), there)):
        assert [counts(store, key).get("waiting_lines", 0) for key in keys] == [lines, lines]
    assert counts(store, BATCH)["open_shards"] == 10 + more


@pytest.mark.parametrize(
    ("seen", "batch_before", "batch_after"),
    [
        (replace(TAKEN, is_budgeted=True), {"running_lines": 8}, {"running_lines": 5}),
        (TAKEN, {"running_lines": 8}, {"running_lines": 8}),
        (ASIDE, {"paused_shards": 2}, {"paused_shards": 1}),
        (replace(WAITING, is_budgeted=True), {"running_lines": 8}, {"running_lines": 8}),
    ],
    ids=["budget", "no budget", "paused", "waiting"],
)
def test_a_late_result_of_a_shard_leaves_the_state_that_it_is_in(seen, batch_before, batch_after):
    store = a_store(seen, **batch_before)
    done = replace(seen, status=ShardStatus.DONE, look_at=None, lease_ends_at=None)
    store.transact(*finish(seen, done, completed=3))
    (item,) = store.get(BATCH)
    assert item is not None
    assert records.to_batch(item) == batch(completed=3, open_shards=9, **batch_after)


@pytest.mark.parametrize(
    ("seen", "pool", "share"),
    [
        (WAITING, {"waiting_lines": -3}, {"waiting_lines": -3}),
        (ASIDE, {}, {}),
        (TAKEN, {"in_flight": -1, "running_lines": -3}, {"in_flight": -1}),
        (replace(TAKEN, bundle="bundle_1"), {"running_lines": -3}, {}),
    ],
    ids=["waiting", "paused", "in flight", "in a bundle"],
)
def test_a_shard_that_is_dropped_leaves_what_it_held(seen, pool, share):
    other = replace(seen, id="00002", line_count=3)
    store = a_store(seen, other, stopping=StopReason.EXPIRED)
    store.transact(*transitions.drop([seen, other]))
    twice = [{name: 2 * count for name, count in one.items()} for one in (pool, share)]
    assert [counts(store), counts(store, SHARE)] == twice
    kept = {"status": ShardStatus.DROPPED, "look_at": None, "lease_ends_at": None}
    assert stored(store, seen) == replace(seen, **kept, claimed_at=None)
    (item,) = store.get(BATCH)
    assert item is not None
    assert records.to_batch(item) == batch(
        stopping=StopReason.EXPIRED,
        open_shards=8,
        failed=6,
        dropped=6,
        paused_shards=-2 if seen is ASIDE else 0,
    )


def test_the_writes_that_end_a_single_request_stand_for_its_counts():
    ending = [Update(BATCH, set={"status": "completed"})]
    assert finish(completed=1, ending=ending)[-1] is ending[0]
    assert [write.key for write in finish(completed=1, ending=ending)].count(BATCH) == 1


def test_what_a_shard_asked_is_forgotten_once_its_outcomes_stand():
    taken = replace(TAKEN, input_inline=b"{}\n")
    store = a_store(taken)
    store.transact(*transitions.watch(taken, replace(taken, output_location="s3://b/k")))
    assert stored(store, taken).input_inline == b"{}\n"
    store.transact(*finish(taken, replace(DONE, result_inline=b"[]"), completed=3))
    after = stored(store, taken)
    assert (after.input_inline, after.result_inline) == (None, b"[]")


# ---------------------------------------------------------------- its way through the queue


@pytest.mark.parametrize("is_budgeted", [True, False])
def test_a_claim_counts_what_runs_against_a_budget_if_there_is_one(is_budgeted):
    seen = replace(WAITING, is_budgeted=is_budgeted)
    taken = replace(TAKEN, is_budgeted=is_budgeted)
    store = a_store(seen, running_lines=5)
    store.transact(*transitions.claim(seen, taken, capacity=1, cap=1, running_lines=5))
    assert counts(store, BATCH)["running_lines"] == (8 if is_budgeted else 5)
    assert counts(store) == {"in_flight": 1, "waiting_lines": -3, "running_lines": 3}
    assert counts(store, SHARE) == {"in_flight": 1, "waiting_lines": -3}
    store.transact(*transitions.wait_again(taken, replace(taken.waiting(), failed_at=4.0)))
    assert counts(store, BATCH)["running_lines"] == 5
    assert counts(store) == counts(store, SHARE) == {}
    assert stored(store, seen) == replace(seen, attempt=1, failed_at=4.0)


def test_a_claim_of_what_has_a_budget_insists_on_what_was_seen_in_flight():
    seen, taken = replace(WAITING, is_budgeted=True), replace(TAKEN, is_budgeted=True)
    store = a_store(seen, running_lines=6)
    with pytest.raises(Conflict):
        store.transact(*transitions.claim(seen, taken, capacity=1, cap=1, running_lines=5))


def test_shards_of_several_pools_are_queued_and_counted_in_each():
    some = [
        WAITING,
        replace(WAITING, id="00002", line_count=2),
        replace(WAITING, id="00003", pool="q", line_count=4),
    ]
    store = a_store()
    store.transact(*transitions.release(batch(), some))
    assert [stored(store, one) for one in some] == some
    found = [counts(store, key) for key in (POOL, SHARE, OTHER_POOL, OTHER_SHARE)]
    assert found == [
        {"id": "p", "waiting_lines": 5},
        {"waiting_lines": 5},
        {"id": "q", "waiting_lines": 4},
        {"waiting_lines": 4},
    ]


def test_what_is_paused_leaves_the_queue_of_each_pool_and_comes_back():
    some = [WAITING, replace(WAITING, id="00002", pool="q", line_count=2)]
    store = a_store(*some, paused=True)
    store.transact(*transitions.set_aside(some))
    keys = (POOL, SHARE, OTHER_POOL, OTHER_SHARE)
    assert [counts(store, key) for key in keys] == [
        {"waiting_lines": -lines} for lines in (3, 3, 2, 2)
    ]
    assert counts(store, BATCH)["paused_shards"] == 2
    store.transact(Update(BATCH, set={"paused": False}))
    store.transact(*transitions.requeue([stored(store, one) for one in some]))
    assert [counts(store, key) for key in keys] == [{}, {}, {}, {}]
    assert [stored(store, one) for one in some] == some
    assert "paused_shards" not in counts(store, BATCH)


def test_a_shard_that_moves_takes_its_lines_along():
    moved = replace(WAITING, pool="q")
    store = a_store(WAITING)
    store.transact(*transitions.rehome(WAITING, moved))
    assert stored(store, WAITING) == moved
    assert [counts(store, key) for key in (POOL, SHARE, OTHER_POOL, OTHER_SHARE)] == [
        {"waiting_lines": -3},
        {"waiting_lines": -3},
        {"id": "q", "waiting_lines": 3},
        {"waiting_lines": 3},
    ]
    queued = [store.query(pool, index=Index.QUEUE, limit=9) for pool in ("p", "q")]
    assert [len(items) for items in queued] == [0, 1]


def test_a_shard_that_was_claimed_meanwhile_does_not_move():
    store = a_store(TAKEN)
    with pytest.raises(Conflict):
        store.transact(*transitions.rehome(WAITING, replace(WAITING, pool="q")))


@pytest.mark.parametrize("changes", [{"completed": 1}, {"failed": 1}])
def test_counting_does_not_make_a_batch_that_is_gone(changes):
    store = ReferenceStore()
    store.transact(Put(key_of(TAKEN), records.shard_item(TAKEN)))
    with pytest.raises(Conflict):
        store.transact(*finish(**changes))
    assert store.get(BATCH) == [None]
