"""The store in SQLite: one table of items, with a sparse index for each Index."""

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from backburner.adapters.sort_keys import Span
from backburner.domain.request import Instant
from backburner.ports import MAX_WRITES, Index, Item, Key, Write
from backburner_local.adapters.recent import Recent
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.transactions import Transactions, decode, load, prepare

T = TypeVar("T")

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
#: Items removed at once: others wait so long.
_SWEPT_AT_ONCE = 500
_SWEEP = """DELETE FROM items WHERE (partition, sort) IN
    (SELECT partition, sort FROM items WHERE ttl < ? LIMIT ?)"""


class SqliteStore:
    """Items in a database that others may share.

    What another process commits is seen by `query` and `transact` at once, and by `get` within 50
    milliseconds (`recent.SECONDS`).
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Use the database's items.

        Args:
            database: that others may share.
            clock: that never goes back, in seconds.
        """
        self._database = database
        self._recent = Recent(clock=clock)
        self._transactions = Transactions(self._recent)
        database.run(*_SCHEMA[:1])
        database.write(_add_ttl)
        database.run(*_SCHEMA[1:])

    def get(self, *keys: Key) -> list[Item | None]:
        known = self._recent.find(keys)
        left = [key for key in keys if key not in known]
        if not left:
            return [decode(known[key]) for key in keys]
        read = self._read(lambda connection: load(connection, left))
        found = dict(zip(left, read, strict=True))
        return [decode(known[key]) if key in known else found[key] for key in keys]

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
        return self._read(
            lambda connection: [decode(body) for (body,) in connection.execute(statement, values)]
        )

    def transact(self, *writes: Write) -> None:
        if len(writes) > MAX_WRITES:
            raise ValueError(f"{len(writes)} writes in one transaction; at most {MAX_WRITES}.")
        if len({write.key for write in writes}) < len(writes):
            raise ValueError("A transaction may write each key only once.")
        if writes:
            self._database.write_jointly(self._transactions, prepare(writes))

    def sweep(self, now: Instant) -> int:
        """Remove the items whose `ttl` has passed; returns how many. DynamoDB does so by itself."""
        swept = 0
        while True:
            gone = self._database.write(partial(self._sweep, now))
            swept += gone
            if gone < _SWEPT_AT_ONCE:
                return swept

    def _read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        found = self._database.read(look)
        self._recent.file_was_read()
        return found

    def _sweep(self, now: Instant, connection: sqlite3.Connection) -> int:
        self._transactions.forget_all()
        return connection.execute(_SWEEP, (now, _SWEPT_AT_ONCE)).rowcount


def _add_ttl(connection: sqlite3.Connection) -> None:
    """Give a table of before there was a `ttl` its column; what is in it stays for ever."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(items)")}
    if "ttl" not in columns:
        connection.execute("ALTER TABLE items ADD COLUMN ttl INTEGER")


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
