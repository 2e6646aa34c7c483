"""Every change of state is guarded: whoever comes second changes nothing."""

from typing import Any

import pytest
from msgspec.structs import replace

from backburner.domain.batch import BatchStatus, StopReason
from backburner.domain.bundle import Bundle, Member
from backburner.domain.errors import Conflict
from backburner.domain.request import Usage
from backburner.domain.shard import ShardStatus
from backburner.ports import Index, Is, Put, Update, Write
from backburner.services import records, transitions
from tests.domain.values import a_delivery, a_shard, batch
from tests.reference import ReferenceStore

WAITING = a_shard(line_count=2)
TAKEN = replace(
    WAITING, status=ShardStatus.IN_FLIGHT, attempt=1, claimed_at=1.0, look_at=5.0, lease_ends_at=9.0
)
ASIDE = replace(WAITING, status=ShardStatus.PAUSED)
DONE = replace(TAKEN, status=ShardStatus.DONE, look_at=None, lease_ends_at=None)
RETRY = replace(WAITING, id="00001-1", line_count=1)
COUNTED = replace(WAITING, is_budgeted=True)
BUNDLE = Bundle(
    shard=replace(TAKEN, batch_id="bundle_1"),
    members=(Member(batch_id="batch_1", shard_id="00001", attempt=1, line_count=2),),
)

NEW = batch(BatchStatus.VALIDATING)
RUNS = batch(is_released=False)
STOPS = batch(stopping=StopReason.EXPIRED, is_released=False)
ALL_IN = batch(open_shards=0, is_released=True)
WRITES_FILES = batch(BatchStatus.FINALIZING)

BATCH, SHARD = records.batch_key("acme", "batch_1"), records.shard_key("acme", "batch_1", "00001")
AGAIN = records.shard_key("acme", "batch_1", "00001-1")
TOGETHER = records.bundle_key("acme", "bundle_1")
POOL, SHARE = records.pool_key("p"), records.share_key("acme", "p")

PLANNED = transitions.Planned(
    total=2,
    skipped=0,
    shards=1,
    prefix="x/",
    output_file_id="o",
    error_file_id="e",
    model="m",
    pool=None,
    is_priced=True,
)
TOLD = a_delivery()


def accept() -> list[Write]:
    return transitions.accept(NEW, check_at=1.0, shard=WAITING)


def accept_claimed() -> list[Write]:
    return transitions.accept_claimed(RUNS, TAKEN, capacity=2, cap=2, check_at=1.0)


def start() -> list[Write]:
    return transitions.start(NEW, PLANNED, [WAITING], now=1.0)


def release() -> list[Write]:
    return transitions.release(RUNS, [WAITING])


def released() -> list[Write]:
    return transitions.released(RUNS)


def drop_unreleased() -> list[Write]:
    return transitions.drop_unreleased(STOPS, shards=9, lines=90)


def stop() -> list[Write]:
    return transitions.stop(
        RUNS, StopReason.EXPIRED, now=1.0, grace_ends_at=2.0, check_at=2.0, failure=None
    )


def begin_finalizing() -> list[Write]:
    return transitions.begin_finalizing(ALL_IN, now=1.0)


def end() -> list[Write]:
    ended = transitions.ended_as(WRITES_FILES, BatchStatus.COMPLETED, now=1.0)
    when = (Is("status", BatchStatus.FINALIZING),)
    return transitions.end(WRITES_FILES, ended, deliveries=[TOLD], when=when)


def claim() -> list[Write]:
    return transitions.claim(WAITING, TAKEN, capacity=2, cap=2)


def wait_again() -> list[Write]:
    return transitions.wait_again(TAKEN, replace(WAITING, attempt=1))


def watch() -> list[Write]:
    return transitions.watch(TAKEN, replace(TAKEN, output_location="s3://b/k"))


def set_aside() -> list[Write]:
    return transitions.set_aside([WAITING])


def requeue() -> list[Write]:
    return transitions.requeue([ASIDE])


def finish() -> list[Write]:
    return transitions.finish(
        TAKEN,
        DONE,
        completed=0,
        failed=1,
        usage=Usage(),
        retries=[RETRY],
        now=1.5,
        probe_below=8,
    )


def drop_waiting() -> list[Write]:
    return transitions.drop([WAITING])


def drop_taken() -> list[Write]:
    return transitions.drop([TAKEN])


def bundle() -> list[Write]:
    return transitions.bundle(BUNDLE, [WAITING], capacity=2, cap=2, running={})


def join() -> list[Write]:
    return transitions.join(BUNDLE, [COUNTED], running={"batch_1": 0})


def unbundle() -> list[Write]:
    return transitions.unbundle(BUNDLE, now=1.5, has_result=True)


#: What is there before each change.
BEFORE: dict[Any, Any] = {
    accept: (None, None),
    accept_claimed: (None, None),
    start: (NEW, None),
    release: (RUNS, None),
    released: (RUNS, None),
    drop_unreleased: (STOPS, None),
    stop: (RUNS, None),
    begin_finalizing: (ALL_IN, None),
    end: (WRITES_FILES, None),
    claim: (RUNS, WAITING),
    wait_again: (RUNS, TAKEN),
    watch: (RUNS, TAKEN),
    set_aside: (batch(paused=True), WAITING),
    requeue: (RUNS, ASIDE),
    finish: (RUNS, TAKEN),
    drop_waiting: (STOPS, WAITING),
    drop_taken: (STOPS, TAKEN),
    bundle: (RUNS, WAITING),
    join: (RUNS, COUNTED),
    unbundle: (RUNS, None),
}


def a_store(change: Any) -> Any:
    """A store with what is there before the change, and one slot of two taken."""
    store = ReferenceStore()
    found, shard = BEFORE[change]
    if found is not None:
        store.transact(Put(BATCH, records.batch_item(found, due_at=1.0)))
    if shard is not None:
        store.transact(Put(SHARD, records.shard_item(shard)))
    if change in (join, unbundle):
        store.transact(Put(TOGETHER, records.bundle_item(BUNDLE)))
    store.transact(Put(POOL, {"id": "p", "in_flight": 1}), Put(SHARE, {"in_flight": 1}))
    return store


@pytest.mark.parametrize("change", BEFORE)
def test_a_change_goes_through_where_all_is_as_it_was_seen_and_once(change):
    store = a_store(change)
    store.transact(*change())
    if change is not watch:  # it may look again as often as it likes
        with pytest.raises(Conflict):
            store.transact(*change())


@pytest.mark.parametrize(
    ("change", "key", "meanwhile"),
    [
        (accept, BATCH, {"id": "batch_1"}),
        (accept, SHARD, {"id": "00001"}),
        (accept_claimed, BATCH, {"id": "batch_1"}),
        (accept_claimed, SHARD, {"id": "00001"}),
        (accept_claimed, POOL, {"in_flight": 2}),
        (accept_claimed, SHARE, {"in_flight": 2}),
        (start, BATCH, {"status": "cancelling"}),
        (start, BATCH, {"status": "in_progress"}),
        (start, BATCH, {"stopping": "expired"}),
        (start, SHARD, {"id": "00001"}),
        (release, BATCH, {"status": "cancelling"}),
        (release, BATCH, {"stopping": "expired"}),
        (release, SHARD, {"id": "00001"}),
        (released, BATCH, {"is_released": True}),
        (released, BATCH, {"stopping": "canary"}),
        (drop_unreleased, BATCH, {"is_released": True}),
        (drop_unreleased, BATCH, {"stopping": None}),
        (drop_unreleased, BATCH, {"status": "finalizing"}),
        (drop_unreleased, BATCH, {"status": "expired"}),
        (stop, BATCH, {"status": "cancelling"}),
        (stop, BATCH, {"status": "finalizing"}),
        (stop, BATCH, {"stopping": "canary"}),
        (begin_finalizing, BATCH, {"status": "finalizing"}),
        (begin_finalizing, BATCH, {"status": "completed"}),
        (begin_finalizing, BATCH, {"open_shards": 1}),
        (end, BATCH, {"status": "completed"}),
        (end, records.key_of(TOLD), {"attempts": 1}),
        (claim, SHARD, {"status": "in_flight"}),
        (claim, SHARD, {"status": "dropped"}),
        (claim, SHARD, {"attempt": 1}),
        (claim, POOL, {"in_flight": 2}),
        (claim, SHARE, {"in_flight": 2}),
        (claim, BATCH, {"status": "cancelling"}),
        (claim, BATCH, {"stopping": "expired"}),
        (claim, BATCH, {"paused": True}),
        (wait_again, SHARD, {"status": "done"}),
        (wait_again, SHARD, {"attempt": 2}),
        (watch, SHARD, {"status": "waiting"}),
        (watch, SHARD, {"attempt": 2}),
        (set_aside, SHARD, {"status": "in_flight"}),
        (set_aside, SHARD, {"attempt": 1}),
        (set_aside, BATCH, {"paused": False}),
        (set_aside, BATCH, {"stopping": "expired"}),
        (requeue, SHARD, {"status": "dropped"}),
        (requeue, BATCH, {"paused": True}),
        (requeue, BATCH, {"stopping": "canary"}),
        (finish, SHARD, {"status": "done"}),
        (finish, SHARD, {"attempt": 2}),
        (finish, POOL, {"probes": 8}),
        (finish, AGAIN, {"id": "00001-1"}),
        (drop_waiting, SHARD, {"status": "in_flight"}),
        (drop_taken, SHARD, {"attempt": 2}),
        *((change, SHARD, {"status": "in_flight"}) for change in (bundle, join)),
        *((change, SHARD, {"attempt": 1}) for change in (bundle, join)),
        *((change, BATCH, {"status": "cancelling"}) for change in (bundle, join)),
        *((change, BATCH, {"stopping": "expired"}) for change in (bundle, join)),
        *((change, BATCH, {"paused": True}) for change in (bundle, join)),
        (bundle, TOGETHER, {"id": "00001"}),
        (bundle, POOL, {"in_flight": 2}),
        (bundle, SHARE, {"in_flight": 2}),
        (join, BATCH, {"running_lines": 1}),
        *((change, TOGETHER, {"status": "done"}) for change in (join, unbundle)),
        *((change, TOGETHER, {"attempt": 2}) for change in (join, unbundle)),
    ],
)
def test_nothing_changes_where_someone_else_was_first(change, key, meanwhile):
    store = a_store(change)
    store.transact(Update(key, set=meanwhile))
    keys = [BATCH, SHARD, AGAIN, TOGETHER, POOL, SHARE]
    before = store.get(*keys)
    with pytest.raises(Conflict):
        store.transact(*change())
    assert store.get(*keys) == before


@pytest.mark.parametrize(
    ("change", "held", "waiting", "running"),
    [
        (accept, 1, 2, 0),
        (accept_claimed, 2, 0, 2),
        (start, 1, 2, 0),
        (release, 1, 2, 0),
        (claim, 2, -2, 2),
        (wait_again, 0, 2, -2),
        (watch, 1, 0, 0),
        (set_aside, 1, -2, 0),
        (requeue, 1, 2, 0),
        (finish, 0, 1, -2),
        (drop_waiting, 1, -2, 0),
        (drop_taken, 0, 0, -2),
        (bundle, 2, -2, 2),
        (join, 1, -2, 2),
        (unbundle, 0, 0, 0),
    ],
)
def test_slots_and_lines_are_counted_where_they_go(change, held, waiting, running):
    store = a_store(change)
    store.transact(*change())
    pool, share = store.get(POOL, SHARE)
    assert (pool["in_flight"], share["in_flight"]) == (held, held)
    assert (pool.get("waiting_lines", 0), pool.get("running_lines", 0)) == (waiting, running)
    assert pool["id"] == "p"


@pytest.mark.parametrize(
    ("change", "index", "partition", "keys"),
    [
        (accept, Index.QUEUE, "p", [SHARD]),
        (accept, Index.DUE, records.DUE_BATCH, [BATCH]),
        (accept_claimed, Index.QUEUE, "p", []),
        (accept_claimed, Index.DUE, records.DUE_SHARD, [SHARD]),
        (claim, Index.QUEUE, "p", []),
        (claim, Index.DUE, records.DUE_SHARD, [SHARD]),
        (wait_again, Index.QUEUE, "p", [SHARD]),
        (wait_again, Index.DUE, records.DUE_SHARD, []),
        (set_aside, Index.QUEUE, "p", []),
        (requeue, Index.QUEUE, "p", [SHARD]),
        (finish, Index.QUEUE, "p", [AGAIN]),
        (finish, Index.DUE, records.DUE_SHARD, []),
        (drop_waiting, Index.QUEUE, "p", []),
        (drop_taken, Index.DUE, records.DUE_SHARD, []),
        (stop, Index.DUE, records.DUE_BATCH, [BATCH]),
        (bundle, Index.QUEUE, "p", []),
        (bundle, Index.DUE, records.DUE_SHARD, [TOGETHER, SHARD]),
        (join, Index.DUE, records.DUE_SHARD, [TOGETHER, SHARD]),
        (unbundle, Index.DUE, records.DUE_SHARD, []),
        (end, Index.DUE, records.DUE_BATCH, []),
        (end, Index.DUE, records.DUE_DELIVERY, [records.key_of(TOLD)]),
    ],
)
def test_what_waits_is_queued_and_what_needs_a_look_is_due(change, index, partition, keys):
    store = a_store(change)
    store.transact(*change())
    assert store.query(partition, index=index) == store.get(*keys)


def test_what_ended_and_how_long_it_took_gives_the_rate():
    store = a_store(finish)
    store.transact(*finish())
    (pool,) = store.get(POOL)
    assert (pool["ended_lines"], pool["busy_seconds"]) == (1, 0.5)


@pytest.mark.parametrize(
    ("job", "has_result", "now", "counted"),
    [
        (None, True, 3.0, {"busy_seconds": 2.0}),
        ("arn:job", True, 3.0, {"busy_seconds": 2.0, "ended_jobs": 1, "job_seconds": 2.0}),
        ("arn:job", False, 3.0, {}),
        (None, True, 0.5, {"busy_seconds": 0.0}),  # by another machine's clock
    ],
)
def test_what_a_bundle_took_is_counted_if_it_brought_something(job, has_result, now, counted):
    store = a_store(unbundle)
    ended = replace(BUNDLE, shard=replace(BUNDLE.shard, job=job))
    store.transact(*transitions.unbundle(ended, now=now, has_result=has_result))
    assert store.get(POOL)[0] == {"id": "p", "in_flight": 0, **counted}


def test_a_bundle_counts_its_requests_against_their_budget_and_is_kept_for_a_late_result():
    store, other = a_store(join), replace(COUNTED, id="00001-1", line_count=3)
    store.transact(Put(AGAIN, records.shard_item(other)))
    store.transact(*transitions.join(BUNDLE, [COUNTED, other], running={"batch_1": 0}))
    assert store.get(BATCH)[0]["running_lines"] == 5
    store.transact(*unbundle())
    (kept,) = store.get(TOGETHER)
    ended = replace(DONE, batch_id="bundle_1", ttl=9 + 86400)
    assert records.to_bundle(kept) == replace(BUNDLE, shard=ended)


def test_a_member_is_taken_with_its_bundle_and_looked_at_after_it():
    left = {"output_location": "s3://b/k", "failure_location": "s3://b/f", "job": "arn:job"}
    late = 9.0 + 600
    taken = replace(TAKEN, bundle="bundle_1", look_at=late, lease_ends_at=late)
    assert transitions.joined(replace(WAITING, **left), BUNDLE) == taken


def test_a_probe_is_counted_until_something_succeeds():
    store = a_store(finish)
    store.transact(Update(POOL, set={"probes": 3, "succeeded_at": 0.5}))
    nothing: Any = {"completed": 0, "failed": 0, "usage": Usage(), "retries": [RETRY]}
    store.transact(*transitions.finish(TAKEN, DONE, now=1.0, probe_below=8, **nothing))
    assert store.get(POOL)[0].items() >= {"probes": 4, "succeeded_at": 0.5}.items()
    store.transact(Put(SHARD, records.shard_item(TAKEN)))
    something: Any = nothing | {"completed": 1, "retries": []}
    store.transact(*transitions.finish(TAKEN, DONE, now=2.0, **something))
    (pool,) = store.get(POOL)
    assert "probes" not in pool
    assert pool["succeeded_at"] == 2.0


def test_a_batch_that_stops_is_not_paused_any_more():
    store = a_store(stop)
    store.transact(Update(BATCH, set={"paused": True}))
    store.transact(*stop())
    (found,) = store.get(BATCH)
    assert (found["stopping"], found["paused"], found["grace_ends_at"]) == ("expired", False, 2.0)
