"""The same history on the reference model, SQLite and DynamoDB: nobody can tell them apart."""

from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
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
    Store,
    Update,
)
from tests.contract.conftest import STORES
from tests.effort import IS_LONG, tried

EXAMPLES = tried(30, long=1000)
ISOLATION = count()

SORTS = ["a", "a#1", "b", "é", "\uffff", "😀"]
PARTITIONS = ["p", "q"]
#: Sums of these are exact, in binary as in decimal.
NUMBERS = st.sampled_from([0, 1, -1, 3, 2**40, 0.5, -1.5, 2.0, 1e12])
TEXTS = st.sampled_from(["x", "y", "naïve 😀"])
VALUES = st.one_of(
    NUMBERS,
    TEXTS,
    st.booleans(),
    st.binary(max_size=3),
    st.sampled_from([[], [1, 2.0, "x", None], {"deep": [True, {"er": 0.5}]}, {}]),
)
ATTRIBUTES: dict[str, Any] = {
    "n": NUMBERS,
    "m": NUMBERS,
    "status": TEXTS,
    "any": VALUES,
    "queue_key": st.sampled_from(PARTITIONS),
    "queue_sort": st.sampled_from(SORTS),
    "due_key": st.sampled_from(PARTITIONS),
    "due_sort": st.sampled_from(SORTS),
}
NAMES = st.sampled_from(sorted(ATTRIBUTES))
ITEMS = st.fixed_dictionaries({}, optional=ATTRIBUTES)
CHANGES = st.fixed_dictionaries(
    {}, optional={name: st.none() | values for name, values in ATTRIBUTES.items() if name != "m"}
)
ADDED = st.fixed_dictionaries({}, optional={"n": NUMBERS, "m": NUMBERS, "status": NUMBERS})
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans())
CONDITIONS = st.one_of(
    st.builds(Is, NAMES, SCALARS),
    st.builds(IsIn, NAMES, st.lists(NUMBERS | TEXTS, min_size=1, max_size=3).map(tuple)),
    st.builds(Missing, NAMES),
    st.builds(Below, NAMES, NUMBERS),
    st.just(Absent()),
)
#: Mostly none, so that most transactions go through.
WHENS = st.one_of(*[st.just(())] * 3, st.lists(CONDITIONS, max_size=2).map(tuple))
KEYS = st.builds(Key, st.sampled_from(PARTITIONS), st.sampled_from(SORTS))
#: Now and then a key that can't be one.
ANY_KEYS = st.one_of(*[KEYS] * 12, st.builds(Key, st.just("p"), st.sampled_from(["", "x" * 1025])))
WRITES = st.one_of(
    st.builds(Put, ANY_KEYS, ITEMS, WHENS),
    st.builds(Update, ANY_KEYS, set=CHANGES, add=st.just({}) | ADDED, when=WHENS),
    st.builds(Check, KEYS, WHENS),
    st.builds(Delete, KEYS, WHENS),
)
TRANSACTIONS = st.lists(WRITES, min_size=1, max_size=4)
QUERIES = st.fixed_dictionaries(
    {
        "partition": st.sampled_from(PARTITIONS),
        "index": st.sampled_from([None, *Index]),
        "limit": st.integers(0, 6),
        "newest_first": st.booleans(),
    },
    optional={
        "prefix": st.sampled_from(["", "a", "a#", "\uffff"]),
        "after": st.sampled_from([*SORTS, "", "a#", "c"]),
        "up_to": st.sampled_from([*SORTS, "", "a#", "c"]),
    },
)
HISTORIES = st.lists(TRANSACTIONS | QUERIES, min_size=1, max_size=8)


@pytest.fixture
def stores(tmp_path):
    with ExitStack() as stack:
        yield {name: stack.enter_context(make(tmp_path)) for name, make in STORES.items()}


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not IS_LONG,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(HISTORIES)
def test_one_history_is_the_same_on_all_stores(stores, tally, history):
    tally("histories of transactions on every store", 1)
    partitions = {name: f"{name}{next(ISOLATION)}/" for name in PARTITIONS}
    for event in history:
        if isinstance(event, dict):
            query = {**event, "partition": partitions[event["partition"]]}
            assert_equal({name: read(store, query) for name, store in stores.items()})
        else:
            writes = [isolated(write, partitions) for write in event]
            problems = stores["memory"].problems(*writes)
            for name, store in stores.items():
                refusal = told(store, writes)
                is_allowed = refusal in {type(one) for one in problems} if problems else not refusal
                assert is_allowed, f"{name} says {refusal}, and could say {problems}"
    assert_equal({name: contents(store, partitions.values()) for name, store in stores.items()})


def isolated(write: Any, partitions: dict[str, str]) -> Any:
    """The same write in partitions of its own: all examples share the stores."""
    fields = {name: getattr(write, name) for name in type(write).__slots__}
    fields["key"] = Key(partitions[write.key.partition], write.key.sort)
    for name in ("item", "set"):
        if name in fields:
            fields[name] = {
                attribute: partitions[value] if attribute.endswith("_key") and value else value
                for attribute, value in fields[name].items()
            }
    return type(write)(**fields)


def told(store: Store, writes: list[Any]) -> type[Exception] | None:
    """How the store refused, or None: it did not."""
    try:
        store.transact(*writes)
    except (Conflict, ValueError) as error:
        return ValueError if isinstance(error, ValueError) else Conflict
    return None


def read(store: Store, query: dict[str, Any]) -> list[str]:
    """Of an index only the places: items that share one come in any order."""
    items = store.query(**query)
    if query["index"] is None:
        return [exact(item) for item in items]
    return [item[f"{query['index']}_sort"] for item in items]


def contents(store: Store, partitions: Any) -> list[list[str]]:
    return [
        sorted(exact(item) for item in store.query(partition, index=index, limit=1000))
        for partition in partitions
        for index in (None, *Index)
    ]


def exact(item: Any) -> str:
    """An item with its types: 1 is not 1.0, nor True."""
    return repr(sorted(item.items()))


def assert_equal(found: dict[str, Any]) -> None:
    for name, one in found.items():
        assert one == found["memory"], f"{name} differs from the reference model"
