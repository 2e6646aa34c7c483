"""The durable queue: what was accepted survives a kill, until its notification is published.

One row an invocation in one SQLite file. Its life:

    accept (committed, then the 202) -> finish: the message to publish (committed, then published)
    -> forget (deleted)

After a kill, a row without a message is run again, and a row with one is published again. All
writes go through one thread: whatever waits while a commit runs shares the next one.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
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


@dataclass(frozen=True, slots=True)
class _Write:
    """One thing to commit; one of the four."""

    accepted: tuple[int, str, bytes, bytes | None] | None = None
    finished: tuple[int, str, str] | None = None
    forgotten: int | None = None
    endpoint: str | None = None
    done: asyncio.Future[None] | None = None


@dataclass(slots=True)
class _Batch:
    """The writes of one commit, sorted; an invocation is accepted before it ends."""

    accepted: list[tuple[int, str, bytes, bytes | None]] = field(default_factory=list)
    finished: list[tuple[int, str, str]] = field(default_factory=list)
    forgotten: list[tuple[int]] = field(default_factory=list)
    endpoint: str | None = None
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    size: int = 0

    def add(self, write: _Write) -> None:
        self.size += 1
        if write.accepted is not None:
            self.accepted.append(write.accepted)
        if write.finished is not None:
            self.finished.append(write.finished)
        if write.forgotten is not None:
            self.forgotten.append((write.forgotten,))
        if write.done is not None:
            self.waiting.append(write.done)
        self.endpoint = write.endpoint

    @property
    def is_full(self) -> bool:
        """A deleted endpoint ends its batch: what comes next may be of its successor."""
        return self.size >= _BATCH or self.endpoint is not None


class InvocationQueue:
    """Accepted invocations in ``<data_dir>/queue.sqlite``; used on one event loop."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "queue.sqlite"
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._reader = self._connect()
        self._reader.executescript(_SCHEMA)
        last = self._reader.execute("SELECT max(id) FROM invocations").fetchone()[0]
        self._last_id: int = last or 0
        self._loop = asyncio.get_running_loop()
        #: Commits so far; accepted invocations per commit tell how well they are grouped.
        self.commits = 0
        self._thread = threading.Thread(target=self._write, name="invocation-queue")
        self._thread.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=30
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def accept(self, invocation: Invocation, body: bytes | None) -> None:
        """Return when the invocation is on disk."""
        encoded = msgspec.json.encode(invocation)
        row = (invocation.id, invocation.endpoint, encoded, body)
        done = self._loop.create_future()
        self._writes.put(_Write(accepted=row, done=done))
        await done

    async def finish(self, invocation: Invocation, topic: str, message: str) -> None:
        """Return when it is on disk that the invocation only has to be told."""
        done = self._loop.create_future()
        self._writes.put(_Write(finished=(invocation.id, topic, message), done=done))
        await done

    def forget(self, number: int) -> None:
        """It is told, or nobody is to be told; a kill right after this may tell it again."""
        self._writes.put(_Write(forgotten=number))

    def forget_endpoint(self, endpoint: str) -> None:
        """Drop everything of a deleted endpoint that is not finished."""
        self._writes.put(_Write(endpoint=endpoint))

    def body(self, invocation: Invocation) -> bytes:
        row = self._reader.execute(
            "SELECT body FROM invocations WHERE id = ?", (invocation.id,)
        ).fetchone()
        return bytes(row[0]) if row and row[0] is not None else b""

    def left(self, endpoint: str) -> list[tuple[Invocation, str | None, str | None]]:
        """What a former run of the emulator left of this endpoint, oldest first.

        With the topic and message of what was finished and perhaps not told.
        """
        rows = self._reader.execute(_LEFT, (endpoint,))
        return [(msgspec.json.decode(row[0], type=Invocation), row[1], row[2]) for row in rows]

    def inference_ids(self) -> set[str]:
        """Of all that was accepted, of any endpoint, and is not told yet."""
        rows = self._reader.execute("SELECT invocation FROM invocations")
        return {msgspec.json.decode(row[0], type=Invocation).inference_id for row in rows}

    async def close(self) -> None:
        """Commit what is under way and end the writing thread."""
        self._writes.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()

    # ---- the writing thread

    def _write(self) -> None:
        connection = self._connect()
        is_open = True
        while is_open:
            batch = _Batch()
            is_open = self._collect(batch)
            error = self._commit(connection, batch)
            if batch.waiting:
                self._loop.call_soon_threadsafe(_resolve, batch.waiting, error)
        connection.close()

    def _collect(self, batch: _Batch) -> bool:
        """Take the writes that wait, at least one; False when the last one was taken."""
        item = self._writes.get()
        patience = time.monotonic() + _IDLE_SECONDS
        while item is not None:
            batch.add(item)
            if batch.is_full:
                return True
            is_idle = not (batch.accepted or batch.finished)
            try:
                item = self._writes.get(
                    block=is_idle, timeout=max(0.0, patience - time.monotonic())
                )
            except queue.Empty:
                return True
        return False

    def _commit(self, connection: sqlite3.Connection, batch: _Batch) -> sqlite3.Error | None:
        if not batch.size:
            return None
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


# One statement for many rows, not `executemany`: each row of that would hand the interpreter
# over to the event loop and wait to get it back.


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


def _resolve(waiting: list[asyncio.Future[None]], error: sqlite3.Error | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
