"""The store in SQLite: one table of items, with a sparse index for each Index."""

import sqlite3

from backburner.adapters.sort_keys import Span
from backburner.domain.request import Instant
from backburner.ports import MAX_WRITES, Index, Item, Key, Write
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.transactions import decode, load, prepare, transact_all

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
    """Items in a database that others may share."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.run(*_SCHEMA[:1])
        database.write(_add_ttl)
        database.run(*_SCHEMA[1:])

    def get(self, *keys: Key) -> list[Item | None]:
        found = self._database.read(lambda connection: load(connection, keys))
        return list(found)

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
            lambda connection: [decode(body) for (body,) in connection.execute(statement, values)]
        )

    def transact(self, *writes: Write) -> None:
        if len(writes) > MAX_WRITES:
            raise ValueError(f"{len(writes)} writes in one transaction; at most {MAX_WRITES}.")
        if len({write.key for write in writes}) < len(writes):
            raise ValueError("A transaction may write each key only once.")
        if writes:
            self._database.write_jointly(transact_all, prepare(writes))

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
