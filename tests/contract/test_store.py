"""What every Store promises."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from backburner.domain.errors import Conflict
from backburner.ports import (
    Absent,
    Below,
    Check,
    Delete,
    Index,
    Is,
    IsIn,
    Key,
    Missing,
    Put,
    Update,
)

BATCH = Key("tenant#acme", "batch#1")
OTHER = Key("tenant#acme", "batch#2")


# ---------------------------------------------------------------- reading and writing


def test_items_are_read_in_the_order_of_their_keys(store):
    store.transact(Put(BATCH, {"n": 1}), Put(OTHER, {"n": 2}))
    assert store.get(OTHER, Key("tenant#acme", "none"), BATCH) == [{"n": 2}, None, {"n": 1}]
    assert store.get(BATCH, BATCH) == [{"n": 1}, {"n": 1}]
    assert store.get() == []


def test_values_come_back_as_they_were(store):
    item = {
        "whole": 2**53,
        "negative": -1,
        "fraction": 0.1,
        "instant": 1_750_000_000.123456,
        "round": 1_750_000_000.0,
        "large": 1e20,
        "small": -1e-20,
        "yes": True,
        "no": False,
        "text": "naïve 😀 \0 \n",
        "digits": "1",
        "empty": "",
        "bytes": bytes(range(256)),
        "list": [1, "two", True, [b"x"]],
        "dict": {"a": {"b": [0.5, None]}},
        "nothing": [],
    }
    store.transact(Put(BATCH, item))
    (found,) = store.get(BATCH)
    assert found == item
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in item.items()
    }


def test_a_number_stays_what_it_is(store):
    store.transact(Put(BATCH, {"n": 1.0, "list": [1.0, 1, {"one": 1.0}]}))
    assert repr(store.get(BATCH)[0]["list"]) == "[1.0, 1, {'one': 1.0}]"
    for change, shown in [
        (Update(BATCH, add={"n": 1}), "2.0"),
        (Update(BATCH, set={"n": 2}), "2"),
        (Update(BATCH, add={"n": 0.5}), "2.5"),
        (Update(BATCH, add={"n": 0.5}), "3.0"),
        (Update(BATCH, set={"n": None}), "None"),
        (Update(BATCH, add={"n": 3}), "3"),
        (Update(BATCH, set={"n": 4.0}), "4.0"),
        (Put(BATCH, {"n": 5}), "5"),
    ]:
        store.transact(change)
        assert repr(store.get(BATCH)[0].get("n")) == shown


def test_what_can_be_no_key_names_nothing(store):
    store.transact(Put(BATCH, {}))
    assert store.get(Key("", "s"), BATCH, Key("p", ""), Key("p", "x" * 1025)) == [
        None,
        {},
        None,
        None,
    ]
    assert store.query("") == store.query("x" * 2049) == []


def test_an_item_without_attributes_is_an_item(store):
    store.transact(Put(BATCH, {}))
    assert store.get(BATCH) == [{}]


def test_none_is_not_stored(store):
    store.transact(Put(BATCH, {"name": "a", "failure": None}))
    assert store.get(BATCH) == [{"name": "a"}]
    store.transact(Check(BATCH, (Missing("failure"),)))


def test_what_is_read_is_the_readers_own(store):
    store.transact(Put(BATCH, {"tags": ["a"]}))
    store.get(BATCH)[0]["tags"].append("b")
    assert store.get(BATCH) == [{"tags": ["a"]}]


def test_a_put_replaces_the_whole_item(store):
    store.transact(Put(BATCH, {"status": "validating", "total": 3}))
    store.transact(Put(BATCH, {"status": "failed"}))
    assert store.get(BATCH) == [{"status": "failed"}]


def test_an_update_changes_only_what_it_names(store):
    store.transact(Put(BATCH, {"status": "validating", "total": 3, "paused": True}))
    store.transact(Update(BATCH, set={"status": "in_progress", "paused": None, "gone": None}))
    assert store.get(BATCH) == [{"status": "in_progress", "total": 3}]


def test_an_update_makes_the_item_if_there_is_none(store):
    store.transact(Update(BATCH, set={"status": "validating"}, add={"total": 3}))
    store.transact(Update(OTHER, set={"failure": None}))
    assert store.get(BATCH, OTHER) == [{"status": "validating", "total": 3}, {}]


def test_counts_go_up_and_down_from_zero(store):
    for step in (3, -1, 0):
        store.transact(Update(BATCH, add={"in_flight": step}))
    store.transact(Update(BATCH, add={"seconds": 0.25}))
    store.transact(Update(BATCH, add={"seconds": 1}))
    assert store.get(BATCH) == [{"in_flight": 2, "seconds": 1.25}]


def test_nothing_can_be_added_to_a_text(store):
    store.transact(Put(BATCH, {"name": "a"}))
    with pytest.raises(ValueError, match="name"):
        store.transact(Put(OTHER, {}), Update(BATCH, add={"name": 1}))
    assert store.get(BATCH, OTHER) == [{"name": "a"}, None]


def test_an_attribute_is_not_both_set_and_added_to(store):
    with pytest.raises(ValueError, match="total"):
        store.transact(Update(BATCH, set={"total": 1}, add={"total": 1}))


def test_deleting_what_is_not_there_is_no_error(store):
    store.transact(Put(BATCH, {"n": 1}))
    store.transact(Delete(BATCH), Delete(OTHER))
    store.transact(Delete(BATCH))
    assert store.get(BATCH) == [None]


# ---------------------------------------------------------------- conditions

ITEM = {"status": "failed", "n": 3, "half": 0.5, "yes": True, "one": 1, "zero": 0, "blob": b"x"}
CONDITIONS = [
    (Is("status", "failed"), ITEM, True),
    (Is("status", "fail"), ITEM, False),
    (Is("n", 3), ITEM, True),
    (Is("n", 3.0), ITEM, True),
    (Is("n", "3"), ITEM, False),
    (Is("half", 0.5), ITEM, True),
    (Is("yes", value=True), ITEM, True),
    (Is("yes", value=False), ITEM, False),
    (Is("yes", 1), ITEM, False),
    (Is("one", value=True), ITEM, False),
    (Is("zero", value=False), ITEM, False),
    (Is("none", ""), ITEM, False),
    (Is("status", "failed"), None, False),
    (IsIn("status", ("expired", "failed")), ITEM, True),
    (IsIn("status", ("expired",)), ITEM, False),
    (IsIn("n", (1, 3)), ITEM, True),
    (IsIn("n", ("1", "3")), ITEM, False),
    (IsIn("yes", (1,)), ITEM, False),
    (IsIn("none", ("a",)), ITEM, False),
    (IsIn("status", ("failed",)), None, False),
    (Missing("none"), ITEM, True),
    (Missing("status"), ITEM, False),
    (Missing("zero"), ITEM, False),
    (Missing("status"), None, True),
    (Below("n", 4), ITEM, True),
    (Below("n", 3), ITEM, False),
    (Below("n", 3.1), ITEM, True),
    (Below("n", 2), ITEM, False),
    (Below("half", 1), ITEM, True),
    (Below("none", 1), ITEM, True),
    (Below("none", 0), ITEM, False),
    (Below("status", 10), ITEM, False),
    (Below("yes", 10), ITEM, False),
    (Below("n", 1), None, True),
    (Below("n", 0), None, False),
    (Absent(), None, True),
    (Absent(), ITEM, False),
    (Absent(), {}, False),
    (Missing("status"), {}, True),
]


@pytest.mark.parametrize(("condition", "item", "holds"), CONDITIONS)
def test_a_write_happens_only_if_its_condition_holds(store, condition, item, holds):
    writes = {
        "put": Put(BATCH, {"written": 1}, (condition,)),
        "update": Update(BATCH, set={"written": 1}, when=(condition,)),
        "check": Check(BATCH, (condition,)),
        "delete": Delete(BATCH, (condition,)),
    }
    after = {
        "put": {"written": 1},
        "update": {**(item or {}), "written": 1},
        "check": item,
        "delete": None,
    }
    for kind, write in writes.items():
        store.transact(Delete(BATCH) if item is None else Put(BATCH, item))
        if holds:
            store.transact(write)
            assert store.get(BATCH) == [after[kind]]
        else:
            with pytest.raises(Conflict):
                store.transact(write)
            assert store.get(BATCH) == [item]


def test_all_conditions_of_a_write_must_hold(store):
    store.transact(Put(BATCH, {"status": "in_progress", "n": 1}))
    with pytest.raises(Conflict):
        store.transact(Update(BATCH, add={"n": 1}, when=(Is("status", "in_progress"), Is("n", 2))))
    store.transact(Update(BATCH, add={"n": 1}, when=(Is("status", "in_progress"), Is("n", 1))))
    assert store.get(BATCH)[0]["n"] == 2


@pytest.mark.parametrize("place", range(4))
def test_one_failing_condition_leaves_everything_as_it_was(store, place):
    keys = [Key(f"partition#{n}", "item") for n in range(3)]
    entry = {"queue_key": "pool", "queue_sort": "1"}
    store.transact(Put(keys[1], {"n": 1, **entry}), Put(keys[2], {"n": 2}))
    writes = [
        Put(keys[0], {"n": 0, **entry}),
        Update(keys[1], set={"queue_key": None}, add={"n": 1}),
        Delete(keys[2]),
    ]
    writes.insert(place, Check(Key("slots", "pool"), (Is("free", 1),)))
    with pytest.raises(Conflict):
        store.transact(*writes)
    assert store.get(*keys) == [None, {"n": 1, **entry}, {"n": 2}]
    assert store.query("pool", index=Index.QUEUE) == [{"n": 1, **entry}]


def test_conditions_see_the_state_before_the_transaction(store):
    shard, slots = Key("shards", "1"), Key("slots", "pool")
    store.transact(Put(slots, {"in_flight": 0}))
    store.transact(
        Put(shard, {"status": "waiting"}, (Absent(),)),
        Update(slots, add={"in_flight": 1}, when=(Below("in_flight", 1),)),
    )
    with pytest.raises(Conflict):
        store.transact(
            Update(shard, set={"status": "done"}, when=(Is("status", "done"),)),
            Update(slots, add={"in_flight": -1}, when=(Is("in_flight", 0),)),
        )
    assert store.get(shard, slots) == [{"status": "waiting"}, {"in_flight": 1}]


# ---------------------------------------------------------------- bounds


def test_a_transaction_has_at_most_100_writes(store):
    writes = [Put(Key("many", f"{n:03}"), {"n": n}) for n in range(101)]
    with pytest.raises(ValueError, match="100"):
        store.transact(*writes)
    assert store.query("many") == []
    store.transact(*writes[:100])
    assert len(store.query("many", limit=200)) == 100


def test_a_transaction_writes_each_key_once(store):
    with pytest.raises(ValueError, match="once"):
        store.transact(Put(BATCH, {"n": 1}), Check(BATCH, (Absent(),)))
    assert store.get(BATCH) == [None]


def test_a_transaction_of_nothing_is_no_error(store):
    store.transact()


KEYS = [Key("", "s"), Key("p", ""), Key("x" * 2049, "s"), Key("p", "x" * 1025), Key("p", "é" * 513)]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_neither_empty_nor_too_long(store, key):
    with pytest.raises(ValueError, match="key"):
        store.transact(Put(key, {}))
    store.transact(Put(Key("x" * 2048, "é" * 512), {}))


@pytest.mark.parametrize("value", ["", 1, 1.5, True, ["a"], "x" * 1025])
@pytest.mark.parametrize("other", [{}, {"due_key": "all"}])
def test_the_attributes_of_an_index_are_keys_too(store, value, other):
    with pytest.raises(ValueError, match="key"):
        store.transact(Put(BATCH, {**other, "due_sort": value}))


def test_an_item_is_not_over_400_kilobytes(store):
    with pytest.raises(ValueError, match="at most"):
        store.transact(Put(BATCH, {"body": b"x" * 410_000}))
    store.transact(Put(BATCH, {"body": b"x" * 350_000}))


# ---------------------------------------------------------------- many at once


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Call the work on so many threads, all starting together."""
    start = Barrier(number)

    def run(n):
        start.wait()
        return work(n)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_a_bounded_count_is_never_exceeded(store):
    slots = Key("slots", "pool")

    def acquire(n):
        taken = 0
        for _ in range(5):
            try:
                store.transact(
                    Update(slots, add={"in_flight": 1}, when=(Below("in_flight", 40),)),
                    Put(Key("shards", f"{n}#{taken}"), {}, (Absent(),)),
                )
                taken += 1
            except Conflict:
                pass
        return taken

    taken = sum(at_once(64, acquire))
    assert taken == 40
    assert store.get(slots) == [{"in_flight": 40}]
    assert len(store.query("shards")) == 40


def test_of_many_exactly_one_wins_a_transition(store):
    store.transact(Put(BATCH, {"status": "in_progress"}))

    def finalize(n):
        try:
            store.transact(
                Update(
                    BATCH,
                    set={"status": "finalizing", "by": n},
                    when=(Is("status", "in_progress"),),
                )
            )
        except Conflict:
            return None
        return n

    (winner,) = [n for n in at_once(32, finalize) if n is not None]
    assert store.get(BATCH) == [{"status": "finalizing", "by": winner}]


def test_no_count_is_lost(store):
    at_once(32, lambda n: [store.transact(Update(BATCH, add={"done": 1})) for _ in range(10)])
    assert store.get(BATCH) == [{"done": 320}]
