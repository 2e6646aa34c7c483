"""The durable queue: what was accepted survives a kill, until its notification is published.

One row an invocation in one SQLite file. Its life:

    accept (committed, then the 202) -> finish: the message to publish (committed, then published)
    -> forget (deleted)

After a kill, a row without a message is run again, and a row with one is published again. A commit
does not wait for the disk: a power cut may take the last ones along, as it may take objects that
the emulator wrote, or a part of them. So the stack drops the queue then, and sends all again; any
other user of the endpoint has leases for what is lost inside of it.

Each step is one statement, which is its own transaction: between two statements the interpreter
would be handed to another thread and back, which costs more than a commit that does not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from itertools import count
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
CREATE TRIGGER IF NOT EXISTS forgotten AFTER DELETE ON invocations
    BEGIN DELETE FROM notifications WHERE id = old.id; END;
"""
_ACCEPT = "INSERT INTO invocations VALUES (?, ?, ?, ?)"
_FINISH = "INSERT OR REPLACE INTO notifications VALUES (?, ?, ?)"
_LEFT = """
SELECT invocation, topic, message FROM invocations LEFT JOIN notifications USING (id)
WHERE endpoint = ? ORDER BY id
"""
_FORGET_ENDPOINT = """
DELETE FROM invocations
WHERE endpoint = ? AND id NOT IN (SELECT id FROM notifications)
RETURNING id
"""

#: Deletions of one statement; SQLite allows some 32,000 values in it.
_BATCH = 1000
#: How long a deletion waits for company; nothing depends on it.
_IDLE_SECONDS = 0.05
#: Pages of the write-ahead log after which a commit moves them to the file: 32 MiB.
_CHECKPOINT_PAGES = 8192
#: Most bytes of bodies that are kept beside the file, for those who run soon.
_KEPT_BYTES = 8 * 1024 * 1024

_NAME = "queue.sqlite"

_encode = msgspec.json.Encoder().encode


def drop(data_dir: Path) -> None:
    """Forget all that was accepted; nobody may have the queue open."""
    for suffix in ("", "-wal", "-shm"):
        (data_dir / f"{_NAME}{suffix}").unlink(missing_ok=True)


class InvocationQueue:
    """Accepted invocations in ``<data_dir>/queue.sqlite``; made and closed on one event loop.

    Any thread may accept; the rest is for the loop.
    """

    def __init__(self, data_dir: Path, *, most_kept_bytes: int = _KEPT_BYTES) -> None:
        """Open the file, or make it.

        Args:
            data_dir: folder that the file is in.
            most_kept_bytes: of bodies that are held in memory until they are run.
        """
        self._most_kept_bytes = most_kept_bytes
        self._connection = sqlite3.connect(
            data_dir / _NAME, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        self._connection.executescript(_SCHEMA)
        last = self._connection.execute("SELECT max(id) FROM invocations").fetchone()[0]
        self._ids = count((last or 0) + 1)
        #: Held by the one thread that uses the connection, or the bodies.
        self._lock = threading.Lock()
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._bodies: dict[int, bytes] = {}
        self._kept_bytes = 0
        self._forgotten: list[int] = []
        self._forgetting: asyncio.TimerHandle | None = None

    def next_id(self) -> int:
        return next(self._ids)

    def accept(self, invocation: Invocation, body: bytes | None) -> None:
        """Return when the invocation is committed.

        Raises:
            ConnectionRefusedError: the queue is closed; nothing was accepted.
            sqlite3.Error: it could not be written.
        """
        row = (invocation.id, invocation.endpoint, _encode(invocation), body)
        with self._lock:
            if not self._is_open:
                raise ConnectionRefusedError("The queue is closed.")
            self._connection.execute(_ACCEPT, row)
            if body is not None and self._kept_bytes + len(body) <= self._most_kept_bytes:
                self._bodies[invocation.id] = body
                self._kept_bytes += len(body)

    def finish(self, invocation: Invocation, topic: str, message: str) -> None:
        """Return when it is committed that the invocation only has to be told; may be repeated.

        Raises:
            sqlite3.Error: it could not be written.
        """
        with self._lock:
            self._connection.execute(_FINISH, (invocation.id, topic, message))

    def forget(self, number: int) -> None:
        """It is told, or nobody is to be told; a kill right after this may tell it again."""
        self._forgotten.append(number)
        if len(self._forgotten) >= _BATCH:
            self._forget_now()
        elif self._forgetting is None:
            self._forgetting = self._loop.call_later(_IDLE_SECONDS, self._forget_now)

    def forget_endpoint(self, endpoint: str) -> None:
        """Drop everything of a deleted endpoint that is not finished."""
        with self._lock:
            for (number,) in self._connection.execute(_FORGET_ENDPOINT, (endpoint,)).fetchall():
                self._drop_body(number)

    def body(self, invocation: Invocation) -> bytes:
        with self._lock:
            kept = self._drop_body(invocation.id)
            if kept:
                return kept
            row = self._connection.execute(
                "SELECT body FROM invocations WHERE id = ?", (invocation.id,)
            ).fetchone()
        return bytes(row[0]) if row and row[0] is not None else b""

    def left(self, endpoint: str) -> list[tuple[Invocation, str | None, str | None]]:
        """What a former run of the emulator left of this endpoint, oldest first.

        With the topic and message of what was finished and perhaps not told.
        """
        rows = self._fetch(_LEFT, (endpoint,))
        return [(msgspec.json.decode(row[0], type=Invocation), row[1], row[2]) for row in rows]

    def inference_ids(self) -> set[str]:
        """Of all that was accepted, of any endpoint, and is not told yet."""
        rows = self._fetch("SELECT invocation FROM invocations")
        return {msgspec.json.decode(row[0], type=Invocation).inference_id for row in rows}

    def close(self) -> None:
        """Commit what is under way and close the file."""
        self._forget_now()
        with self._lock:
            self._is_open = False
            self._connection.close()

    def _drop_body(self, number: int) -> bytes:
        """The body, which is kept no more; empty: it was not. Under the lock."""
        body = self._bodies.pop(number, b"")
        self._kept_bytes -= len(body)
        return body

    def _fetch(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _forget_now(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        numbers, self._forgotten = self._forgotten, []
        if not numbers:
            return
        marks = ",".join("?" * len(numbers))
        with self._lock:
            for number in numbers:
                self._drop_body(number)
            # Should the disk be full, they are told again after the next start.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute(f"DELETE FROM invocations WHERE id IN ({marks})", numbers)  # noqa: S608 - marks only
