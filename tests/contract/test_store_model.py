"""A Store behaves as a dict of dicts would, whatever is done to it."""

from collections.abc import Iterable
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from tests.effort import tried

SORTS = ["a", "a#1", "b", "\uffff", "😀"]
TEXTS = st.sampled_from(["x", "y"])
NUMBERS = st.one_of(st.integers(-2, 2), st.sampled_from([0.5, 1.5]))
ATTRIBUTES = {
    "n": NUMBERS,
    "status": TEXTS,
    "flag": st.booleans(),
    "queue_key": TEXTS,
    "queue_sort": st.sampled_from(SORTS),
    "due_key": TEXTS,
    "due_sort": st.sampled_from(SORTS),
}
ITEMS = st.fixed_dictionaries({}, optional=ATTRIBUTES)
CHANGES = st.fixed_dictionaries(
    {}, optional={name: st.none() | values for name, values in ATTRIBUTES.items() if name != "n"}
)
CONDITIONS = st.one_of(
    st.builds(Is, st.just("status"), TEXTS),
    st.builds(Is, st.just("n"), NUMBERS),
    st.builds(Is, st.just("flag"), st.booleans()),
    st.builds(IsIn, st.just("n"), st.tuples(st.integers(-2, 2), st.integers(-2, 2))),
    st.builds(Missing, st.sampled_from(sorted(ATTRIBUTES))),
    st.builds(Below, st.just("n"), NUMBERS),
    st.just(Absent()),
)
#: Mostly none, so that most transactions go through.
WHENS = st.one_of(st.just(()), st.just(()), st.lists(CONDITIONS, max_size=2).map(tuple))
KEYS = st.builds(Key, st.just("p"), st.sampled_from(SORTS))
WRITES = st.one_of(
    st.builds(Put, KEYS, ITEMS, WHENS),
    st.builds(Update, KEYS, set=CHANGES, add=st.just({}) | st.builds(dict, n=NUMBERS), when=WHENS),
    st.builds(Check, KEYS, WHENS),
    st.builds(Delete, KEYS, WHENS),
)
TRANSACTIONS = st.lists(WRITES, min_size=1, max_size=4, unique_by=lambda write: write.key)
QUERIES = st.fixed_dictionaries(
    {"limit": st.integers(1, 6), "newest_first": st.booleans()},
    optional={
        "prefix": st.sampled_from(["", "a", "a#", "\uffff"]),
        "after": st.sampled_from([*SORTS, "a#", "c"]),
        "up_to": st.sampled_from([*SORTS, "a#", "c"]),
    },
)
ISOLATION = count()


def in_partition(partition: str, given: Any) -> Any:
    """The same, in a partition of its own: all examples share one store."""
    if isinstance(given, Put | Update | Check | Delete):
        changed: dict[str, Any] = {"key": Key(partition, given.key.sort)}
        for name in ("item", "set"):
            if hasattr(given, name):
                changed[name] = {
                    attribute: partition + value if attribute.endswith("_key") and value else value
                    for attribute, value in getattr(given, name).items()
                }
        fields = {name: getattr(given, name) for name in type(given).__slots__}
        return type(given)(**{**fields, **changed})
    return given


def holds(condition: Any, item: Any) -> bool:
    match condition:
        case Absent():
            return item is None
        case Missing(name):
            return name not in (item or {})
        case Below(name, limit):
            return bool((item or {}).get(name, 0) < limit)
        case Is(name, value):
            return name in (item or {}) and bool(item[name] == value)
        case IsIn(name, values):
            return name in (item or {}) and item[name] in values
    raise AssertionError(condition)


def apply(model: dict[str, Any], writes: list[Any]) -> dict[str, Any] | None:
    """The model after the writes, or None: a condition does not hold."""
    after = dict(model)
    for write in writes:
        item = model.get(write.key.sort)
        if not all(holds(condition, item) for condition in write.when):
            return None
        match write:
            case Put():
                after[write.key.sort] = dict(write.item)
            case Update():
                changed: dict[str, Any] = {**(item or {}), **write.set}
                for name, step in write.add.items():
                    changed[name] = changed.get(name, 0) + step
                after[write.key.sort] = {k: v for k, v in changed.items() if v is not None}
            case Delete():
                after.pop(write.key.sort, None)
    return after


def select(
    entries: Iterable[tuple[str, Any]],
    *,
    limit: int,
    newest_first: bool,
    prefix: str = "",
    after: str | None = None,
    up_to: str | None = None,
) -> list[tuple[str, Any]]:
    """Sort keys and items of a run, in the order of reading."""

    def is_beyond(sort: str, bound: str) -> bool:
        left, right = sort.encode(), bound.encode()
        return left < right if newest_first else left > right

    chosen = [
        (sort, item)
        for sort, item in entries
        if sort.startswith(prefix)
        and (after is None or is_beyond(sort, after))
        and (up_to is None or not is_beyond(sort, up_to))
    ]
    chosen.sort(key=lambda entry: entry[0].encode(), reverse=newest_first)
    return chosen[:limit]


@settings(
    max_examples=tried(15, long=100),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(TRANSACTIONS, max_size=6), st.lists(QUERIES, min_size=1, max_size=3))
def test_a_store_is_a_dict_with_transactions(store, transactions, queries):
    partition = f"p{next(ISOLATION)}#"
    model: dict[str, Any] = {}
    for transaction in transactions:
        writes = [in_partition(partition, write) for write in transaction]
        after = apply(model, writes)
        try:
            store.transact(*writes)
        except Conflict:
            assert after is None
        else:
            assert after is not None
            model = after
        found = store.get(*(Key(partition, sort) for sort in SORTS))
        assert found == [model.get(sort) for sort in SORTS]
    for query in queries:
        expected = [item for _, item in select(model.items(), **query)]
        assert store.query(partition, **query) == expected
        for index in Index:
            key, sort = f"{index}_key", f"{index}_sort"
            entries = [
                (item[sort], item)
                for item in model.values()
                if item.get(key) == f"{partition}x" and sort in item
            ]
            expected = [item[sort] for _, item in select(entries, **query)]
            read = store.query(f"{partition}x", index=index, **query)
            assert [item[sort] for item in read] == expected
