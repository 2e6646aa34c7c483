"""What each change makes of a batch, and of what is written with it."""

from typing import Any

import pytest
from msgspec.structs import replace

from backburner.domain.batch import Batch, BatchKind, BatchStatus, StopReason
from backburner.domain.errors import Conflict
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.shard import ShardStatus
from backburner.ports import Index, Is, Key, Put, Update, Write
from backburner.services import records, transitions
from tests.domain.values import a_shard, batch
from tests.reference import ReferenceStore

NEW = batch(BatchStatus.VALIDATING, total=0, planned_shards=0, open_shards=0)
RUNS = batch()
ENDED = batch(BatchStatus.COMPLETED, open_shards=0, completed_at=9.0)
SHARD = a_shard(line_count=2)
POOL, SHARE = records.pool_key("p"), records.share_key("acme", "p")


def a_store(*found: Batch) -> ReferenceStore:
    store = ReferenceStore()
    for one in found:
        store.transact(Put(key_of(one), records.batch_item(one, due_at=5.0)))
    return store


def key_of(one: Batch) -> Key:
    return records.batch_key(one.tenant, one.id)


def stored(store: ReferenceStore, one: Batch) -> Batch:
    (item,) = store.get(key_of(one))
    assert item is not None
    return records.to_batch(item)


def due(store: ReferenceStore, *, up_to: str | None = None) -> list[str]:
    found = store.query(records.DUE_BATCH, index=Index.DUE, up_to=up_to)
    return [item["id"] for item in found]


def file(name: str, size: int) -> StoredFile:
    return StoredFile(
        tenant="acme",
        id=name,
        filename=f"{name}.jsonl",
        purpose=FilePurpose.BATCH_OUTPUT,
        size=size,
        created_at=9.0,
    )


# ---------------------------------------------------------------- in


def test_a_batch_that_is_accepted_is_due_for_a_look():
    store = a_store()
    store.transact(*transitions.accept(NEW, check_at=7.0))
    assert stored(store, NEW) == NEW
    assert due(store, up_to="000000000006999/") == []
    assert due(store) == ["batch_1"]


@pytest.mark.parametrize(("waiting", "is_taken"), [(4, True), (5, False)])
def test_a_single_request_is_taken_if_fewer_of_its_tenant_wait_than_it_may_have(waiting, is_taken):
    store = a_store()
    store.transact(Put(SHARE, {"waiting_lines": waiting}))
    writes = transitions.accept(NEW, check_at=7.0, shard=SHARD, waiting_below=5)
    if not is_taken:
        with pytest.raises(Conflict):
            store.transact(*writes)
        return
    store.transact(*writes)
    assert store.get(POOL, SHARE) == [{"id": "p", "waiting_lines": 2}, {"waiting_lines": 6}]


def test_a_single_request_that_starts_at_once_takes_its_slot():
    taken = replace(SHARD, status=ShardStatus.IN_FLIGHT, attempt=1)
    store = a_store()
    store.transact(*transitions.accept_claimed(RUNS, taken, capacity=1, cap=1, check_at=7.0))
    pool = {"id": "p", "in_flight": 1, "running_lines": 2}
    assert store.get(POOL, SHARE) == [pool, {"in_flight": 1}]
    assert due(store) == ["batch_1"]


@pytest.mark.parametrize(("first", "is_released"), [([SHARD], False), ([SHARD] * 2, True)])
def test_what_planning_found_is_noted_with_the_first_shards(first, is_released):
    first = [replace(one, id=f"{number:05d}") for number, one in enumerate(first, start=1)]
    planned = transitions.Planned(
        total=9,
        skipped=3,
        shards=2,
        prefix="plans/1/",
        output_file_id="file_o",
        error_file_id="file_e",
        model="mistral",
        pool="p",
        is_priced=True,
        tells_progress=True,
    )
    store = a_store(NEW)
    store.transact(*transitions.start(NEW, planned, first, now=3.0))
    assert stored(store, NEW) == replace(
        NEW,
        status=BatchStatus.IN_PROGRESS,
        in_progress_at=3.0,
        total=9,
        failed=3,
        skipped=3,
        planned_shards=2,
        plan_prefix="plans/1/",
        open_shards=2,
        is_released=is_released,
        output_file_id="file_o",
        error_file_id="file_e",
        model="mistral",
        pool="p",
        is_priced=True,
        tells_progress=True,
    )
    assert store.get(POOL)[0] == {"id": "p", "waiting_lines": 2 * len(first)}


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize(
    ("seen", "reason", "changes"),
    [
        (RUNS, StopReason.EXPIRED, {}),
        (RUNS, StopReason.CANARY, {}),
        (
            RUNS,
            StopReason.CANCELLED,
            {"status": BatchStatus.CANCELLING, "cancelling_at": 3.0},
        ),
        (
            NEW,
            StopReason.CANCELLED,
            {"status": BatchStatus.CANCELLING, "cancelling_at": 3.0},
        ),
        (
            NEW,
            StopReason.EXPIRED,
            {"status": BatchStatus.IN_PROGRESS, "in_progress_at": 3.0},
        ),
        (
            batch(stopping=StopReason.BUDGET, grace_ends_at=1.0),
            StopReason.CANCELLED,
            {"status": BatchStatus.CANCELLING, "cancelling_at": 3.0},
        ),
    ],
)
def test_a_batch_that_stops_says_why_and_until_when_it_waits(seen, reason, changes):
    seen = replace(seen, paused=True)
    store = a_store(seen)
    writes = transitions.stop(
        seen, reason, now=3.0, grace_ends_at=4.0, check_at=1.0, failure="Too bad."
    )
    store.transact(*writes)
    settings: dict[str, Any] = {"paused": False, "grace_ends_at": 4.0, "failure": "Too bad."}
    assert stored(store, seen) == replace(seen, stopping=reason, **settings | changes)
    assert due(store, up_to="000000000001000/~") == ["batch_1"]


@pytest.mark.parametrize(
    ("stopping", "reason"),
    [
        (StopReason.BUDGET, StopReason.EXPIRED),
        (StopReason.EXPIRED, StopReason.CANCELLED),
        (StopReason.CANARY, StopReason.CANCELLED),
    ],
)
def test_only_what_stops_for_its_budget_may_still_be_cancelled(stopping, reason):
    seen = batch(stopping=stopping)
    writes = transitions.stop(seen, reason, now=3.0, grace_ends_at=4.0, check_at=1.0, failure=None)
    with pytest.raises(Conflict):
        a_store(seen).transact(*writes)


def test_shards_that_never_came_into_the_queue_end_with_their_batch():
    seen = batch(stopping=StopReason.EXPIRED, failed=1)
    store = a_store(seen)
    store.transact(*transitions.drop_unreleased(seen, shards=9, lines=90))
    changes = {"is_released": True, "open_shards": 1, "failed": 91, "dropped": 90}
    assert stored(store, seen) == replace(seen, **changes)


@pytest.mark.parametrize("paused", [True, False])
@pytest.mark.parametrize(
    ("meanwhile", "may"),
    [
        ({}, True),
        ({"status": "validating"}, True),
        ({"status": "cancelling"}, False),
        ({"status": "finalizing"}, False),
        ({"stopping": "expired"}, False),
    ],
)
def test_only_a_batch_that_runs_and_does_not_stop_is_paused_or_goes_on(paused, meanwhile, may):
    store = a_store(batch(paused=not paused))
    store.transact(Update(key_of(RUNS), set=meanwhile))
    if not may:
        with pytest.raises(Conflict):
            store.transact(*transitions.pause(RUNS, paused=paused))
        return
    store.transact(*transitions.pause(RUNS, paused=paused))
    assert stored(store, RUNS).paused is paused


# ---------------------------------------------------------------- the end


def test_finalizing_begins_at_an_instant_and_ends_a_pause():
    seen = batch(open_shards=0, paused=True)
    store = a_store(seen)
    store.transact(*transitions.begin_finalizing(seen, now=3.0))
    changes = {"status": BatchStatus.FINALIZING, "finalizing_at": 3.0, "paused": False}
    assert stored(store, seen) == replace(seen, **changes)


@pytest.mark.parametrize(
    ("status", "instant"),
    [
        (BatchStatus.COMPLETED, "completed_at"),
        (BatchStatus.FAILED, "failed_at"),
        (BatchStatus.EXPIRED, "expired_at"),
        (BatchStatus.CANCELLED, "cancelled_at"),
    ],
)
def test_each_end_has_its_instant(status, instant):
    ended = transitions.ended_as(batch(paused=True), status, now=9.0, failed=2)
    assert ended == batch(status, failed=2, **{instant: 9.0})


def test_an_end_is_written_with_its_files_and_what_they_take_up():
    seen = batch(BatchStatus.FINALIZING)
    ended = transitions.ended_as(seen, BatchStatus.COMPLETED, now=9.0, output_file_id="file_o")
    store = a_store(seen)
    files = [file("file_o", 30), file("file_e", 12)]
    when = (Is("status", BatchStatus.FINALIZING),)
    store.transact(Update(key_of(seen), set={"paused": True}))  # at the last moment
    store.transact(*transitions.end(seen, ended, files=iter(files), when=when))
    assert stored(store, seen) == ended
    assert due(store) == []
    items = store.get(*(records.file_key("acme", one.id) for one in files))
    assert [records.to_file(item) for item in items if item is not None] == files
    assert store.get(records.usage_key("acme")) == [{"stored_bytes": 42}]


def test_an_end_writes_no_more_than_has_changed():
    """What others counted meanwhile stays."""
    seen = batch(BatchStatus.FINALIZING)
    ended = transitions.ended_as(seen, BatchStatus.COMPLETED, now=9.0)
    store = a_store(seen)
    store.transact(Update(key_of(seen), add={"input_tokens": 7}))
    (write,) = transitions.end(seen, ended, when=())
    store.transact(write)
    assert stored(store, seen) == replace(ended, input_tokens=7)


@pytest.mark.parametrize(
    ("stopping", "status"),
    [
        (None, BatchStatus.COMPLETED),
        (StopReason.BUDGET, BatchStatus.COMPLETED),
        (StopReason.CANARY, BatchStatus.FAILED),
        (StopReason.EXPIRED, BatchStatus.EXPIRED),
        (StopReason.CANCELLED, BatchStatus.CANCELLED),
    ],
)
def test_where_a_batch_ends_is_decided_by_why_it_stopped(stopping, status):
    assert transitions.terminal_status(batch(stopping=stopping)) is status


# ---------------------------------------------------------------- afterwards


@pytest.mark.parametrize("before", [(), ("batch_0",)])
def test_a_batch_learns_of_its_retry_and_changes_in_nothing_else(before):
    first = replace(ENDED, retries=before, retried_by=before[-1] if before else None)
    again = batch(BatchStatus.VALIDATING, id="batch_2", retry_of="batch_1")
    store = a_store(first)
    store.transact(*transitions.retry(first, again, check_at=7.0))
    assert stored(store, again) == again
    assert stored(store, first) == replace(
        first, retries=(*before, "batch_2"), retried_by="batch_2"
    )


@pytest.mark.parametrize(
    ("seen", "now"),
    [
        (ENDED, replace(ENDED, retried_by="batch_3")),
        (replace(ENDED, retried_by="batch_3"), replace(ENDED, retried_by="batch_4")),
        (ENDED, RUNS),
    ],
    ids=["another was first", "another came between", "it still runs"],
)
def test_of_a_batch_that_has_ended_one_retry_at_a_time_is_taken_in(seen, now):
    again = batch(BatchStatus.VALIDATING, id="batch_2")
    store = a_store(now)
    with pytest.raises(Conflict):
        store.transact(*transitions.retry(seen, again, check_at=7.0))
    assert store.get(key_of(again)) == [None]


@pytest.mark.parametrize(
    ("meanwhile", "may"),
    [({}, True), ({"status": "failed"}, False), ({"open_shards": 1}, False)],
)
def test_a_batch_is_forgotten_as_it_was_seen_and_with_no_shard_open(meanwhile, may):
    seen = replace(ENDED, kind=BatchKind.RESPONSE)
    store, other = a_store(seen), Key("acme/elsewhere", "one")
    store.transact(Put(other, {"id": "one"}), Update(key_of(seen), set=meanwhile))
    writes: list[Write] = transitions.forget(seen, [other])
    if may:
        store.transact(*writes)
    else:
        with pytest.raises(Conflict):
            store.transact(*writes)
    gone = [item is None for item in store.get(key_of(seen), other)]
    assert gone == [may, may]
