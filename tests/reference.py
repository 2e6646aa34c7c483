"""The reference model of the Store port: what it promises, in plain dicts.

It is written to be read beside `ports/store.py`, not to be fast. The contract suite runs over it,
and a store is right if it can't be told from it: tests/contract/test_store_differential.py.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from backburner.domain.errors import Conflict
from backburner.ports import (
    MAX_WRITES,
    Absent,
    Below,
    Check,
    Condition,
    Delete,
    Index,
    Is,
    IsIn,
    Item,
    Key,
    Missing,
    Put,
    Update,
    Write,
)

MAX_PARTITION_BYTES, MAX_SORT_BYTES = 2048, 1024
MAX_ITEM_BYTES = 400 * 1024

#: Partition and sort key of an item.
_Place = tuple[str, str]


class ReferenceStore:
    """Items by partition and sort key; a transaction makes new ones, and swaps them in at once."""

    def __init__(self) -> None:
        self.partitions: dict[str, dict[str, dict[str, Any]]] = {}
        self._lock = threading.RLock()

    # ------------------------------------------------------------ reading

    def get(self, *keys: Key) -> list[Item | None]:
        with self._lock:
            found = [self._find(key) for key in keys]
            return [None if item is None else _own(item) for item in found]

    def query(
        self,
        partition: str,
        *,
        index: Index | None = None,
        prefix: str = "",
        after: str | None = None,
        up_to: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Item]:
        with self._lock:
            # Texts rank by code points, which is the order of their bytes in UTF-8.
            entries = sorted(self._entries(partition, index), reverse=newest_first)
            run = [
                place
                for at, place in entries
                if at.startswith(prefix)
                and (after is None or _comes_first(after, at, newest_first))
                and (up_to is None or not _comes_first(up_to, at, newest_first))
            ]
            return [_own(self.partitions[one][sort]) for one, sort in run[: max(0, limit)]]

    def _entries(
        self, partition: str, index: Index | None
    ) -> Iterator[tuple[str, tuple[str, str]]]:
        """Sort key of each item of the table's or the index's partition, and where the item is."""
        if index is None:
            for sort in self.partitions.get(partition, {}):
                yield sort, (partition, sort)
            return
        key_name, sort_name = f"{index}_key", f"{index}_sort"
        for one, items in self.partitions.items():
            for sort, item in items.items():
                if item.get(key_name) == partition and sort_name in item:
                    yield item[sort_name], (one, sort)

    def _find(self, key: Key) -> dict[str, Any] | None:
        return self.partitions.get(key.partition, {}).get(key.sort)

    # ------------------------------------------------------------ writing

    def transact(self, *writes: Write) -> None:
        with self._lock:
            problems, after = self._judged(writes)
            if problems:
                raise problems[0]
            for write, item in zip(writes, after, strict=True):
                items = self.partitions.setdefault(write.key.partition, {})
                items.pop(write.key.sort, None)
                if item is not None:
                    items[write.key.sort] = item

    def problems(self, *writes: Write) -> list[Exception]:
        """All that is wrong with a transaction; which of it a store tells is the store's choice."""
        return self._judged(writes)[0]

    def _judged(
        self, writes: Sequence[Write]
    ) -> tuple[list[Exception], list[dict[str, Any] | None]]:
        """What is wrong, and what is there after each write."""
        problems: list[Exception] = []
        after: list[dict[str, Any] | None] = []
        if len(writes) > MAX_WRITES:
            problems.append(ValueError(f"{len(writes)} writes; at most {MAX_WRITES}."))
        if len({write.key for write in writes}) < len(writes):
            problems.append(ValueError("A transaction may write each key only once."))
        for write in writes:
            before = self._find(write.key)
            for condition in write.when:
                if not holds(condition, before):
                    problems.append(Conflict(f"{condition} does not hold for {write.key}."))
            try:
                _check_key(write.key.partition, write.key.sort)
                after.append(_after(write, before))
                _check_item(after[-1])
            except ValueError as error:
                problems.append(error)
        return problems, after


def _comes_first(one: str, other: str, newest_first: bool) -> bool:  # noqa: FBT001
    return one > other if newest_first else one < other


def _after(write: Write, before: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is there after the write; raises ValueError if there can be no such thing."""
    match write:
        case Put():
            return _stored(write.item)
        case Update():
            return _updated(write, before or {})
        case Delete():
            return None
        case Check():
            return before


def _updated(update: Update, before: dict[str, Any]) -> dict[str, Any]:
    if both := update.set.keys() & update.add.keys():
        raise ValueError(f"{both} are both set and added to.")
    after = _stored({**before, **update.set})
    for name, step in update.add.items():
        if not _is_number(after.get(name, 0)):
            raise ValueError(f"'{name}' is not a number, so nothing can be added to it.")
        after[name] = after.get(name, 0) + step
    return after


# ---------------------------------------------------------------- conditions


def holds(condition: Condition, item: Item | None) -> bool:
    """Whether the condition holds for the item, or for there being none."""
    there = item or {}
    match condition:
        case Absent():
            return item is None
        case Missing(name):
            return name not in there
        case Below(name, limit):
            number = there.get(name, 0)
            return _is_number(number) and bool(number < limit)
        case Is(name, value):
            return name in there and _is_equal(there[name], value)
        case IsIn(name, values):
            return name in there and any(_is_equal(there[name], value) for value in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_equal(one: object, other: object) -> bool:
    """Numbers are equal by value; True is no number."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


# ---------------------------------------------------------------- items


def _own(item: Item) -> dict[str, Any]:
    """A deep copy; a list stands for a tuple, and a text for a text's enum."""
    copied: dict[str, Any] = msgspec.to_builtins(item, builtin_types=(bytes,))
    return copied


def _stored(item: Item) -> dict[str, Any]:
    """The store's own copy: without attributes that are None."""
    return _own({name: value for name, value in item.items() if value is not None})


def _check_item(item: Item | None) -> None:
    """Raise ValueError if no store could keep it."""
    if item is None:
        return
    # As text no item is smaller than a quarter of itself; most need no counting.
    if len(repr(item)) > MAX_ITEM_BYTES // 4 and (size := _size(item)) > MAX_ITEM_BYTES:
        raise ValueError(f"An item of {size} bytes; at most {MAX_ITEM_BYTES}.")
    for value in item.values():
        if not isinstance(value, str):  # as most are
            _check_number(value)
    for index in Index:
        _check_key(item.get(f"{index}_key", "-"), item.get(f"{index}_sort", "-"))


def _check_number(value: Any) -> None:
    """Raise ValueError for a number beyond those of the port, wherever it stands."""
    if isinstance(value, float):
        is_kept = value == 0.0 or 1e-130 <= abs(value) < 1e126
    elif isinstance(value, int):
        is_kept = abs(value) < 10**38
    elif isinstance(value, dict | list):
        is_kept = True
        for inner in value.values() if isinstance(value, dict) else value:
            _check_number(inner)
    else:
        return
    if not is_kept:
        raise ValueError(f"{value} is beyond the numbers that are kept.")


def _check_key(partition: object, sort: object) -> None:
    for text, limit in ((partition, MAX_PARTITION_BYTES), (sort, MAX_SORT_BYTES)):
        if not isinstance(text, str) or not 0 < len(text.encode()) <= limit:
            raise ValueError(f"No text of a key, which has 1 to {limit} bytes: {str(text)[:100]!r}")


def _size(value: Any) -> int:
    """About as many bytes as DynamoDB counts (developer guide, "Item sizes and formats")."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, dict):
        return 3 + sum([len(name) + 1 + _size(inner) for name, inner in value.items()])
    if isinstance(value, list | tuple):
        return 3 + sum([1 + _size(inner) for inner in value])
    return 8
