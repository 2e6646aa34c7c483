"""Transactions over the items of a database, as many together as wait for the same commit."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec.msgpack

from backburner.adapters.sort_keys import check_entry, check_key
from backburner.domain.errors import Conflict
from backburner.ports import (
    Absent,
    Below,
    Condition,
    Delete,
    Is,
    IsIn,
    Item,
    Key,
    Missing,
    Put,
    Update,
    Write,
)
from backburner_local.adapters.recent import Recent

#: Most bytes of an item: DynamoDB's limit (developer guide, "Limits").
MAX_ITEM_BYTES = 400 * 1024
#: SQLite's integers have 64 bits.
_INTEGERS = range(-(1 << 63), 1 << 63)

#: Most keys that one statement reads, and most items that one writes; powers of two. After each
#: statement the interpreter is handed over and back, so that few large ones are cheaper.
_AT_ONCE = 64

_GET = "SELECT body FROM items WHERE partition = ? AND sort = ?"
#: A join, and in this order: SQLite would go through all items for those whose keys are IN a list.
_GET_SOME = """SELECT partition, sort, body FROM (VALUES {}) AS sought CROSS JOIN items
    ON partition = sought.column1 AND sort = sought.column2"""
_PUT_ROWS = "REPLACE INTO items VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM items WHERE partition = ? AND sort = ?"
#: Statements by how many keys they read, or items they write: so few that all stay prepared.
_SIZES = [1 << power for power in range(_AT_ONCE.bit_length())]
_GETS = {size: _GET_SOME.format(", ".join(["(?, ?)"] * size)) for size in _SIZES}
_PUTS = {size: _PUT_ROWS + ", ".join([_ROW] * size) for size in _SIZES}

_encode = msgspec.msgpack.Encoder().encode
decode: Callable[[bytes], dict[str, Any]] = msgspec.msgpack.Decoder().decode

#: A row of the table, and where in it the item's body is.
Row = tuple[Any, ...]
_BODY = 2
#: A write, and of an item that is put, its attributes and its row.
Prepared = tuple[Write, dict[str, Any] | None, Row | None]


def prepare(writes: Sequence[Write]) -> list[Prepared]:
    """Do beforehand what needs no database; raises ValueError for what no store could do."""
    for write in writes:
        check_key(*write.key)
    return [_prepared(write) for write in writes]


def _prepared(write: Write) -> Prepared:
    if not isinstance(write, Put):
        return write, None, None
    item = {name: value for name, value in write.item.items() if value is not None}
    return write, item, _row(write.key, item)


class Transactions:
    """Applies transactions, each to what those before it left: a `Joint` of the database."""

    def __init__(self, recent: Recent) -> None:
        """Prepare.

        Args:
            recent: told of what is committed, and asked for what was.
        """
        self._recent = recent
        #: Of the database's transaction that goes on.
        self._group: _Group | None = None

    def __call__(
        self, connection: sqlite3.Connection, works: Sequence[Sequence[Prepared]]
    ) -> list[Exception | None]:
        group = self._group = self._group or self._begun(connection)
        # What a write does not depend on is not read.
        group.load(
            {
                write.key
                for transaction in works
                for write, *_ in transaction
                if write.when or isinstance(write, Update)
            }
        )
        outcomes = [group.apply(transaction) for transaction in works]
        group.write()
        return outcomes

    def commits(self) -> None:
        if self._group is not None:
            self._recent.commits(self._group.written)

    def ended(self, *, is_committed: bool) -> None:
        if self._group is not None:
            self._recent.committed(
                {
                    key: row[_BODY] if row is not None and is_committed else None
                    for key, row in self._group.written.items()
                }
            )
        self._group = None

    def forget_all(self) -> None:
        """Something else changed the table within the transaction."""
        self._recent.forget_all()
        self._group = None

    def _begun(self, connection: sqlite3.Connection) -> "_Group":
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        self._recent.begin(version)
        return _Group(connection, self._recent)


def load(connection: sqlite3.Connection, keys: Sequence[Key]) -> list[dict[str, Any] | None]:
    """The items of the keys, in their order."""
    if len(keys) == 1:
        row = connection.execute(_GET, keys[0]).fetchone()
        return [None if row is None else decode(row[0])]
    found: dict[tuple[str, str], bytes] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        size = 1 << (len(some) - 1).bit_length()
        values = [text for key in some for text in key]
        values += values[-2:] * (size - len(some))  # the last is read again
        for partition, sort, body in connection.execute(_GETS[size], values).fetchall():
            found[partition, sort] = body
    return [None if (body := found.get(key)) is None else decode(body) for key in keys]


class _Group:
    """The items that a group of transactions is about: as they were read, then as they become."""

    def __init__(self, connection: sqlite3.Connection, recent: Recent) -> None:
        self._connection = connection
        self._recent = recent
        self._items: dict[Key, dict[str, Any] | None] = {}
        #: The rows that are not yet in the table; None: it is to have none.
        self._rows: dict[Key, Row | None] = {}
        #: Those that are in it by now.
        self.written: dict[Key, Row | None] = {}

    def load(self, keys: set[Key]) -> None:
        left = []
        for key in keys - self._items.keys():
            body = self._recent.body(key)
            if body is None:
                left.append(key)
            else:
                self._items[key] = decode(body)
        if left:
            self._items.update(zip(left, load(self._connection, left), strict=True))

    def apply(self, transaction: Sequence[Prepared]) -> Exception | None:
        """Judge all conditions, and only then change anything; returns why nothing was changed."""
        changed: list[tuple[Key, dict[str, Any] | None, Row | None]] = []
        try:
            for write, put, row in transaction:
                before = self._items.get(write.key)
                for condition in write.when:
                    if not holds(condition, before):
                        return Conflict(f"{condition} does not hold for {write.key}.")
                match write:
                    case Put():
                        changed.append((write.key, put, row))
                    case Update():
                        item = _updated(write, before)
                        changed.append((write.key, item, _row(write.key, item)))
                    case Delete():
                        changed.append((write.key, None, None))
        except Exception as error:  # noqa: BLE001 - it is the one transaction that can't be done
            return error
        for key, after, row in changed:
            self._items[key] = after
            self._rows[key] = row
        return None

    def write(self) -> None:
        """Bring the table to what was applied."""
        rows = [row for row in self._rows.values() if row is not None]
        start = 0
        while left := len(rows) - start:
            size = min(_AT_ONCE, 1 << (left.bit_length() - 1))
            values = [value for row in rows[start : start + size] for value in row]
            self._connection.execute(_PUTS[size], values)
            start += size
        for key, row in self._rows.items():
            if row is None:
                self._connection.execute(_DELETE, key)
        self.written |= self._rows
        self._rows = {}


def _updated(update: Update, before: dict[str, Any] | None) -> dict[str, Any]:
    item = {} if before is None else before.copy()
    for name, value in update.set.items():
        if name in update.add:
            raise ValueError(f"'{name}' is both set and added to.")
        if value is None:
            item.pop(name, None)
        else:
            item[name] = value
    for name, step in update.add.items():
        number = item.get(name, 0)
        if not _is_number(number):
            raise ValueError(f"'{name}' is not a number, so nothing can be added to it.")
        item[name] = number + step
    return item


def _row(key: Key, item: dict[str, Any]) -> Row:
    body = _encode(item)
    if len(body) > MAX_ITEM_BYTES:
        raise ValueError(f"An item of {len(body)} bytes; at most {MAX_ITEM_BYTES}.")
    ttl = item.get("ttl")
    if isinstance(ttl, int) and ttl not in _INTEGERS:
        raise ValueError(f"A ttl of {ttl}.")
    return (
        *key,
        body,
        *_entry(item.get("queue_key"), item.get("queue_sort")),
        *_entry(item.get("due_key"), item.get("due_sort")),
        ttl if isinstance(ttl, int) else None,
    )


def _entry(partition: Any, sort: Any) -> tuple[str | None, str | None]:
    """Columns of an item in a sparse index, or none unless it has both attributes."""
    check_entry(partition, sort)
    return (None, None) if partition is None or sort is None else (partition, sort)


# ---------------------------------------------------------------- conditions


def holds(condition: Condition, item: Item | None) -> bool:
    """Whether the condition holds for the item, or for there being none."""
    match condition:
        case Absent():
            return item is None
        case Missing(name):
            return item is None or name not in item
        case Below(name, limit):
            number = 0 if item is None else item.get(name, 0)
            return _is_number(number) and number < limit
        case Is(name, value):
            return item is not None and name in item and _equal(item[name], value)
        case IsIn(name, values):
            return (
                item is not None
                and name in item
                and any(_equal(item[name], value) for value in values)
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(stored: object, value: object) -> bool:
    """Whether two values are equal; numbers by value, and True is not a number."""
    return stored == value and isinstance(stored, bool) == isinstance(value, bool)
