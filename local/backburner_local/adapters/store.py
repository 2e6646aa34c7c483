"""The store in SQLite: one table of items, with a sparse index for each Index."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec.msgpack

from backburner.adapters.sort_keys import Span, check_entry, check_key
from backburner.domain.errors import Conflict
from backburner.domain.request import Instant
from backburner.ports import (
    MAX_WRITES,
    Absent,
    Below,
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
from backburner_local.adapters.sqlite import Database

#: Most bytes of an item: DynamoDB's limit (developer guide, "Limits").
MAX_ITEM_BYTES = 400 * 1024

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS items (
        partition TEXT NOT NULL,
        sort TEXT NOT NULL,
        body BLOB NOT NULL,
        queue_key TEXT,
        queue_sort TEXT,
        due_key TEXT,
        due_sort TEXT,
        ttl INTEGER,
        PRIMARY KEY (partition, sort)
    ) WITHOUT ROWID""",
    """CREATE INDEX IF NOT EXISTS items_queue ON items (queue_key, queue_sort, partition, sort)
        WHERE queue_key IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS items_due ON items (due_key, due_sort, partition, sort)
        WHERE due_key IS NOT NULL""",
    "CREATE INDEX IF NOT EXISTS items_ttl ON items (ttl) WHERE ttl IS NOT NULL",
)
_GET = "SELECT body FROM items WHERE partition = ? AND sort = ?"
#: A join, and in this order: SQLite would go through all items for those whose keys are IN a list.
_GET_SOME = """SELECT partition, sort, body FROM (VALUES {}) AS sought CROSS JOIN items
    ON partition = sought.column1 AND sort = sought.column2"""
_DELETE = "DELETE FROM items WHERE partition = ? AND sort = ?"
_PUT_ROWS = "REPLACE INTO items VALUES "
_ROW = "(?, ?, ?, ?, ?, ?, ?, ?)"
#: Statements that write one item, two items, and so on: one call is cheaper than many.
_PUT = ["", *(_PUT_ROWS + ", ".join([_ROW] * n) for n in range(1, MAX_WRITES + 1))]

#: Items removed at once: others wait so long.
_SWEPT_AT_ONCE = 500
_SWEEP = """DELETE FROM items WHERE (partition, sort) IN
    (SELECT partition, sort FROM items WHERE ttl < ? LIMIT ?)"""

_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes], dict[str, Any]] = msgspec.msgpack.Decoder().decode


class SqliteStore:
    """Items in a database that others may share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run(*_SCHEMA[:1])
        database.write(_add_ttl)
        database.run(*_SCHEMA[1:])

    def get(self, *keys: Key) -> list[Item | None]:
        return self._database.read(lambda connection: _load(connection, keys))

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
        span = Span.of(prefix, after, up_to, newest_first=newest_first)
        statement = _query(index, span, newest_first=newest_first)
        bounds = (span.low,) if span.high is None else (span.low, span.high)
        values = (partition, *bounds, max(0, limit))
        return self._database.read(
            lambda connection: [_decode(body) for (body,) in connection.execute(statement, values)]
        )

    def transact(self, *writes: Write) -> None:
        if len(writes) > MAX_WRITES:
            raise ValueError(f"{len(writes)} writes in one transaction; at most {MAX_WRITES}.")
        if len({write.key for write in writes}) < len(writes):
            raise ValueError("A transaction may write each key only once.")
        if writes:
            self._database.write(lambda connection: _transact(connection, writes))

    def sweep(self, now: Instant) -> int:
        """Remove the items whose `ttl` has passed; returns how many. DynamoDB does so by itself."""
        swept = 0
        while True:
            gone = self._database.write(
                lambda connection: connection.execute(_SWEEP, (now, _SWEPT_AT_ONCE)).rowcount
            )
            swept += gone
            if gone < _SWEPT_AT_ONCE:
                return swept


def _add_ttl(connection: sqlite3.Connection) -> None:
    """Give a table of before there was a `ttl` its column; what is in it stays for ever."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(items)")}
    if "ttl" not in columns:
        connection.execute("ALTER TABLE items ADD COLUMN ttl INTEGER")


# ---------------------------------------------------------------- writing


def _transact(connection: sqlite3.Connection, writes: Sequence[Write]) -> None:
    """Read what is there, judge all conditions, and only then write."""
    rows: list[tuple[Any, ...]] = []
    removed: list[Key] = []
    # What a write does not depend on is not read.
    needed = [write.key for write in writes if write.when or isinstance(write, Update)]
    there = dict(zip(needed, _load(connection, needed), strict=True))
    for write in writes:
        before = there.get(write.key)
        for condition in write.when:
            if not holds(condition, before):
                raise Conflict(f"{condition} does not hold for {write.key}.")
        match write:
            case Put():
                rows.append(_row(write.key, write.item))
            case Update():
                rows.append(_row(write.key, _updated(write, before or {})))
            case Delete():
                removed.append(write.key)
    if rows:
        connection.execute(_PUT[len(rows)], [value for row in rows for value in row])
    for gone in removed:
        connection.execute(_DELETE, (gone.partition, gone.sort))


def _load(connection: sqlite3.Connection, keys: Sequence[Key]) -> list[Any]:
    """The items, in one statement: after each, the interpreter would be handed over and back."""
    if len(keys) == 1:
        row = connection.execute(_GET, (keys[0].partition, keys[0].sort)).fetchone()
        return [None if row is None else _decode(row[0])]
    found: dict[tuple[str, str], bytes] = {}
    for start in range(0, len(keys), MAX_WRITES):
        some = keys[start : start + MAX_WRITES]
        values = [value for key in some for value in (key.partition, key.sort)]
        statement = _GET_SOME.format(", ".join(["(?, ?)"] * len(some)))
        rows = connection.execute(statement, values)
        found |= {(partition, sort): body for partition, sort, body in rows}
    bodies = (found.get((key.partition, key.sort)) for key in keys)
    return [None if body is None else _decode(body) for body in bodies]


def _updated(update: Update, item: dict[str, Any]) -> dict[str, Any]:
    for name, value in update.set.items():
        if name in update.add:
            raise ValueError(f"'{name}' is both set and added to.")
        item[name] = value
    for name, step in update.add.items():
        number = item.get(name, 0)
        if not _is_number(number):
            raise ValueError(f"'{name}' is not a number, so nothing can be added to it.")
        item[name] = number + step
    return item


def _row(key: Key, item: Item) -> tuple[Any, ...]:
    body = _encode({name: value for name, value in item.items() if value is not None})
    if len(body) > MAX_ITEM_BYTES:
        raise ValueError(f"An item of {len(body)} bytes; at most {MAX_ITEM_BYTES}.")
    check_key(key.partition, key.sort)
    ttl = item.get("ttl")
    return (
        key.partition,
        key.sort,
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


# ---------------------------------------------------------------- querying


def _query(index: Index | None, span: Span, *, newest_first: bool) -> str:
    """A statement of constant pieces: what a caller gave is bound, never pasted."""
    key, sort = (f"{index}_key", f"{index}_sort") if index else ("partition", "sort")
    where = f"{key} = ? AND {sort} {'>=' if span.has_low else '>'} ?"
    if span.high is not None:
        where += f" AND {sort} {'<=' if span.has_high else '<'} ?"
    down = " DESC" if newest_first else ""
    order = [f"{column}{down}" for column in ([sort, "partition", "sort"] if index else [sort])]
    return f"SELECT body FROM items WHERE {where} ORDER BY {', '.join(order)} LIMIT ?"  # noqa: S608
