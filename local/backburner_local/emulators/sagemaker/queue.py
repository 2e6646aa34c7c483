"""The durable queue: what was accepted survives a kill, until its notification is published.

One row an invocation in one SQLite file. Its life:

    accept (committed, then the 202) -> finish: the message to publish (committed, then published)
    -> forget (deleted)

After a kill, a row without a message is run again, and a row with one is published again. A commit
does not wait for the disk: a power cut may take the last ones along, as it may take objects that
the emulator wrote, or a part of them. So the stack drops the queue then, and sends all again; any
other user of the endpoint has leases for what is lost inside of it.

All that one turn of the event loop writes shares a commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from backburner_local.emulators.sagemaker.invocation import Invocation

_SCHEMA = """
CREATE TABLE IF NOT EXISTS invocations (
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    invocation BLOB NOT NULL,
    body BLOB
);
CREATE TABLE IF NOT EXISTS notifications (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    message TEXT NOT NULL
);
DELETE FROM notifications WHERE id NOT IN (SELECT id FROM invocations);
"""
_LEFT = """
SELECT invocation, topic, message FROM invocations LEFT JOIN notifications USING (id)
WHERE endpoint = ? ORDER BY id
"""
_FORGET_ENDPOINT = """
DELETE FROM invocations
WHERE endpoint = ? AND id NOT IN (SELECT id FROM notifications)
"""

#: Writes that share one commit at most; SQLite allows some 32,000 values in a statement.
_BATCH = 1000
#: How long a deletion waits for company; nothing depends on it.
_IDLE_SECONDS = 0.05
#: Pages of the write-ahead log after which a commit moves them to the file: 32 MiB.
_CHECKPOINT_PAGES = 8192

_NAME = "queue.sqlite"

_encode = msgspec.json.Encoder().encode


def drop(data_dir: Path) -> None:
    """Forget all that was accepted; nobody may have the queue open."""
    for suffix in ("", "-wal", "-shm"):
        (data_dir / f"{_NAME}{suffix}").unlink(missing_ok=True)


@dataclass(slots=True)
class _Batch:
    """The writes of one commit, sorted; an invocation is accepted before it ends."""

    accepted: list[tuple[int, str, bytes, bytes | None]] = field(default_factory=list)
    finished: list[tuple[int, str, str]] = field(default_factory=list)
    forgotten: list[tuple[int]] = field(default_factory=list)
    endpoint: str | None = None
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.accepted) + len(self.finished) + len(self.forgotten)


class InvocationQueue:
    """Accepted invocations in ``<data_dir>/queue.sqlite``; used on one event loop."""

    def __init__(self, data_dir: Path) -> None:
        self._connection = sqlite3.connect(data_dir / _NAME, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._connection.executescript(_SCHEMA)
        last = self._connection.execute("SELECT max(id) FROM invocations").fetchone()[0]
        self._last_id: int = last or 0
        self._loop = asyncio.get_running_loop()
        self._batch = _Batch()
        #: Commits the batch: soon, or after a while.
        self._soon: asyncio.Handle | None = None
        self._later: asyncio.TimerHandle | None = None
        #: Commits so far; accepted invocations per commit tell how well they are grouped.
        self.commits = 0

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def accept(self, invocation: Invocation, body: bytes | None) -> None:
        """Return when the invocation is committed."""
        row = (invocation.id, invocation.endpoint, _encode(invocation), body)
        self._batch.accepted.append(row)
        await self._committed()

    async def finish(self, invocation: Invocation, topic: str, message: str) -> None:
        """Return when it is committed that the invocation only has to be told."""
        self._batch.finished.append((invocation.id, topic, message))
        await self._committed()

    def forget(self, number: int) -> None:
        """It is told, or nobody is to be told; a kill right after this may tell it again."""
        self._batch.forgotten.append((number,))
        if self._later is None:
            self._later = self._loop.call_later(_IDLE_SECONDS, self._commit)

    def forget_endpoint(self, endpoint: str) -> None:
        """Drop everything of a deleted endpoint that is not finished."""
        self._batch.endpoint = endpoint
        self._commit()  # what comes next may be of its successor

    def body(self, invocation: Invocation) -> bytes:
        row = self._connection.execute(
            "SELECT body FROM invocations WHERE id = ?", (invocation.id,)
        ).fetchone()
        return bytes(row[0]) if row and row[0] is not None else b""

    def left(self, endpoint: str) -> list[tuple[Invocation, str | None, str | None]]:
        """What a former run of the emulator left of this endpoint, oldest first.

        With the topic and message of what was finished and perhaps not told.
        """
        rows = self._connection.execute(_LEFT, (endpoint,))
        return [(msgspec.json.decode(row[0], type=Invocation), row[1], row[2]) for row in rows]

    def inference_ids(self) -> set[str]:
        """Of all that was accepted, of any endpoint, and is not told yet."""
        rows = self._connection.execute("SELECT invocation FROM invocations")
        return {msgspec.json.decode(row[0], type=Invocation).inference_id for row in rows}

    async def close(self) -> None:
        """Commit what is under way and close the file."""
        self._commit()
        self._connection.close()

    # ---- commits

    async def _committed(self) -> None:
        """Return when what was just added is committed."""
        done = self._loop.create_future()
        self._batch.waiting.append(done)
        if self._batch.size >= _BATCH:
            self._commit()
        elif self._soon is None:
            self._soon = self._loop.call_soon(self._commit)
        await done

    def _commit(self) -> None:
        for handle in (self._soon, self._later):
            if handle is not None:
                handle.cancel()
        self._soon = self._later = None
        batch, self._batch = self._batch, _Batch()
        error = self._write(batch)
        for done in batch.waiting:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    def _write(self, batch: _Batch) -> sqlite3.Error | None:
        if not batch.size and batch.endpoint is None:
            return None
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, "invocations", batch.accepted)
            _insert(connection, "notifications", batch.finished)
            _delete(connection, "invocations", batch.forgotten)
            _delete(connection, "notifications", batch.forgotten)
            if batch.endpoint is not None:
                connection.execute(_FORGET_ENDPOINT, (batch.endpoint,))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return error
        self.commits += 1
        return None


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        marks = ",".join(["(" + ",".join("?" * len(rows[0])) + ")"] * len(rows))
        values = [value for row in rows for value in row]
        connection.execute(f"INSERT OR REPLACE INTO {table} VALUES {marks}", values)  # noqa: S608 - our names


def _delete(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[int]]) -> None:
    if rows:
        marks = ",".join("?" * len(rows))
        values = [number for (number,) in rows]
        connection.execute(f"DELETE FROM {table} WHERE id IN ({marks})", values)  # noqa: S608
