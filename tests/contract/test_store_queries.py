"""What every Store promises of its queries and its sparse indexes."""

from collections.abc import Sequence
from typing import Any

import pytest

from backburner.ports import Delete, Index, Item, Key, Put, Update


def names(items: Sequence[Item]) -> list[Any]:
    return [item["name"] for item in items]


# ---------------------------------------------------------------- queries

#: In the order of their bytes, which is not that of UTF-16.
SORTS = ["A", "a", "a#1", "a#10", "a#2", "a$", "b", "é", "\ud7ff", "\ue000", "\uffff", "😀"]
LONG = "a" + "é" * 2000
QUERIES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, SORTS),
    ({"newest_first": True}, SORTS[::-1]),
    ({"limit": 2}, SORTS[:2]),
    ({"limit": 2, "newest_first": True}, SORTS[:-3:-1]),
    ({"prefix": "a#"}, ["a#1", "a#10", "a#2"]),
    ({"prefix": "a#1"}, ["a#1", "a#10"]),
    ({"prefix": "z"}, []),
    ({"prefix": "\ud7ff"}, ["\ud7ff"]),
    ({"prefix": "\uffff"}, ["\uffff"]),
    ({"prefix": "😀"}, ["😀"]),
    ({"after": "a#10"}, SORTS[4:]),
    ({"after": "a#11"}, SORTS[4:]),
    ({"after": "a#10", "newest_first": True}, ["a#1", "a", "A"]),
    ({"after": "😀"}, []),
    ({"up_to": "a#10"}, SORTS[:4]),
    ({"up_to": "a#11"}, SORTS[:4]),
    ({"up_to": "é", "newest_first": True}, ["😀", "\uffff", "\ue000", "\ud7ff", "é"]),
    ({"after": "a", "up_to": "b"}, SORTS[2:7]),
    ({"after": "b", "up_to": "a"}, []),
    ({"after": ""}, SORTS),
    ({"after": "", "newest_first": True}, []),
    ({"up_to": ""}, []),
    ({"up_to": "", "newest_first": True}, SORTS[::-1]),
    # Longer than any key may be.
    ({"after": LONG}, SORTS[6:]),
    ({"after": LONG, "newest_first": True}, SORTS[5::-1]),
    ({"after": "a", "up_to": LONG}, SORTS[2:6]),
    ({"after": LONG, "up_to": "b"}, ["b"]),
    ({"prefix": LONG}, []),
    ({"after": "a", "up_to": "a"}, []),
    ({"prefix": "a#", "after": "a#1"}, ["a#10", "a#2"]),
    ({"prefix": "a#", "after": "a"}, ["a#1", "a#10", "a#2"]),
    ({"prefix": "a#", "after": "b"}, []),
    ({"prefix": "a#", "up_to": "a#10"}, ["a#1", "a#10"]),
    ({"prefix": "a#", "up_to": "z"}, ["a#1", "a#10", "a#2"]),
    ({"prefix": "a#", "newest_first": True, "after": "a#2"}, ["a#10", "a#1"]),
    ({"prefix": "a#", "newest_first": True, "up_to": "a#10"}, ["a#2", "a#10"]),
    ({"prefix": "a#", "newest_first": True, "limit": 1}, ["a#2"]),
]


@pytest.mark.parametrize("index", [None, Index.QUEUE, Index.DUE])
def test_a_query_reads_a_run_of_sort_keys(store, index):
    for n, name in enumerate(sorted(SORTS, key=lambda sort: sort.encode()[::-1])):
        item = {"name": name}
        if index:
            item |= {f"{index}_key": "p", f"{index}_sort": name}
        store.transact(
            Put(Key("elsewhere", f"{n}") if index else Key("p", name), item),
            Put(Key("p2", name), {"name": "of another partition"}),
        )
    for arguments, expected in QUERIES:
        assert names(store.query("p", index=index, **arguments)) == expected, arguments


def test_pages_follow_each_other_without_gaps(store):
    store.transact(*[Put(Key("p", f"{n:03}"), {"name": f"{n:03}"}) for n in range(25)])
    read: list[str] = []
    while page := names(store.query("p", after=read[-1] if read else None, limit=10)):
        read += page
    assert read == [f"{n:03}" for n in range(25)]


# ---------------------------------------------------------------- sparse indexes


def test_an_item_is_in_an_index_only_with_both_attributes(store):
    store.transact(
        Put(Key("p", "1"), {"name": "both", "queue_key": "pool", "queue_sort": "1"}),
        Put(Key("p", "2"), {"name": "key", "queue_key": "pool"}),
        Put(Key("p", "3"), {"name": "sort", "queue_sort": "1"}),
        Put(Key("p", "4"), {"name": "other", "due_key": "pool", "due_sort": "1"}),
    )
    assert names(store.query("pool", index=Index.QUEUE)) == ["both"]
    assert names(store.query("pool", index=Index.DUE)) == ["other"]


def test_removing_an_attribute_takes_the_item_out_of_the_index(store):
    shard = Key("p", "shard")
    store.transact(Put(shard, {"name": "s", "queue_key": "pool", "queue_sort": "1"}))
    store.transact(Update(shard, set={"queue_key": None}))
    assert store.query("pool", index=Index.QUEUE) == []
    store.transact(Update(shard, set={"queue_key": "pool"}))
    assert names(store.query("pool", index=Index.QUEUE)) == ["s"]
    store.transact(Update(shard, set={"queue_sort": "2", "queue_key": "pool2"}))
    assert store.query("pool", index=Index.QUEUE) == []
    assert names(store.query("pool2", index=Index.QUEUE, after="1")) == ["s"]
    store.transact(Put(shard, {"name": "s"}))
    assert store.query("pool2", index=Index.QUEUE) == []


def test_a_deleted_item_is_in_no_index(store):
    batch = Key("tenant#acme", "batch#1")
    store.transact(Put(batch, {"due_key": "all", "due_sort": "1"}))
    store.transact(Delete(batch))
    assert store.query("all", index=Index.DUE) == []


def test_items_of_one_place_in_an_index_are_all_there(store):
    store.transact(
        *[
            Put(Key(f"p{n}", "s"), {"name": n, "due_key": "all", "due_sort": "same"})
            for n in range(5)
        ]
    )
    assert sorted(names(store.query("all", index=Index.DUE))) == [0, 1, 2, 3, 4]
