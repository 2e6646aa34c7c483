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
from pathlib import Path
from typing import Any

import msgspec

from backburner_local.emulators.sagemaker.invocation import Invocation

_SCHEMA = """
CREATE TABLE IF NOT EXISTS invocations (
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    invocation BLOB NOT NULL,
    body BLOB,
    topic TEXT,
    message TEXT
)
"""
_INSERT = "INSERT INTO invocations (id, endpoint, invocation, body) VALUES (?, ?, ?, ?)"
_FINISH = "UPDATE invocations SET topic = ?, message = ?, body = NULL WHERE id = ?"
_FORGET = "DELETE FROM invocations WHERE id = ?"
_FORGET_ENDPOINT = "DELETE FROM invocations WHERE endpoint = ? AND message IS NULL"

#: Writes that share one commit at most.
_BATCH = 1000

_Write = tuple[str, tuple[Any, ...], "asyncio.Future[None] | None"]


class InvocationQueue:
    """Accepted invocations in ``<data_dir>/queue.sqlite``; used on one event loop."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "queue.sqlite"
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._reader = self._connect()
        self._reader.execute(_SCHEMA)
        last = self._reader.execute("SELECT max(id) FROM invocations").fetchone()[0]
        self._last_id: int = last or 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="invocation-queue")
        self._thread.start()
        #: Commits so far; accepted invocations per commit tell how well they are grouped.
        self.commits = 0

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
        await self._commit(_INSERT, (invocation.id, invocation.endpoint, encoded, body))

    async def finish(self, invocation: Invocation, topic: str, message: str) -> None:
        """Return when it is on disk that the invocation only has to be told."""
        await self._commit(_FINISH, (topic, message, invocation.id))

    def forget(self, number: int) -> None:
        """It is told, or nobody is to be told; a kill right after this may tell it again."""
        self._writes.put((_FORGET, (number,), None))

    def forget_endpoint(self, endpoint: str) -> None:
        """Drop everything of a deleted endpoint that is not finished."""
        self._writes.put((_FORGET_ENDPOINT, (endpoint,), None))

    def body(self, invocation: Invocation) -> bytes:
        row = self._reader.execute(
            "SELECT body FROM invocations WHERE id = ?", (invocation.id,)
        ).fetchone()
        return bytes(row[0]) if row and row[0] is not None else b""

    def left(self, endpoint: str) -> list[tuple[Invocation, str | None, str | None]]:
        """What a former run of the emulator left of this endpoint, oldest first.

        With the topic and message of what was finished and perhaps not told.
        """
        rows = self._reader.execute(
            "SELECT invocation, topic, message FROM invocations WHERE endpoint = ? ORDER BY id",
            (endpoint,),
        )
        return [(msgspec.json.decode(row[0], type=Invocation), row[1], row[2]) for row in rows]

    async def close(self) -> None:
        """Commit what is under way and end the writing thread."""
        self._writes.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reader.close()

    async def _commit(self, statement: str, values: tuple[Any, ...]) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        self._writes.put((statement, values, done))
        await done

    def _write(self) -> None:
        connection = self._connect()
        is_open = True
        while is_open:
            batch: list[_Write] = []
            is_open = self._collect(batch)
            error = self._commit_batch(connection, batch)
            waiting = [done for *_, done in batch if done is not None]
            if waiting:
                self._loop.call_soon_threadsafe(_resolve, waiting, error)
        connection.close()

    def _collect(self, batch: list[_Write]) -> bool:
        """Take the writes that wait, at least one; False when the last one was taken."""
        item = self._writes.get()
        while item is not None:
            batch.append(item)
            if len(batch) == _BATCH:
                return True
            try:
                item = self._writes.get_nowait()
            except queue.Empty:
                return True
        return False

    def _commit_batch(
        self, connection: sqlite3.Connection, batch: list[_Write]
    ) -> sqlite3.Error | None:
        if not batch:
            return None
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement, values, _ in batch:
                connection.execute(statement, values)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return error
        self.commits += 1
        return None


def _resolve(waiting: list[asyncio.Future[None]], error: sqlite3.Error | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
