"""The table of messages: those that are hidden while someone works on them."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backburner.domain.request import Instant
from backburner_local.adapters.sqlite import Database

#: Receives after which a message is a dead letter, where a queue names no number.
MAX_RECEIVES = 5

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        body TEXT NOT NULL,
        sent_at REAL NOT NULL,
        visible_at REAL NOT NULL,
        receives INTEGER NOT NULL DEFAULT 0,
        receipt INTEGER NOT NULL DEFAULT 0,
        dead_at REAL
    )""",
    """CREATE INDEX IF NOT EXISTS messages_live ON messages (queue, visible_at, id)
        WHERE dead_at IS NULL""",
    """CREATE INDEX IF NOT EXISTS messages_dead ON messages (queue, id)
        WHERE dead_at IS NOT NULL""",
)
_SEND = "INSERT INTO messages (queue, body, sent_at, visible_at, receives) VALUES (?, ?, ?, ?, ?)"
#: Those received too often become dead letters and are not received again.
_RECEIVE = """UPDATE messages SET
        dead_at = CASE WHEN receives >= :max_receives THEN :now END,
        receives = receives + (receives < :max_receives),
        receipt = receipt + 1,
        visible_at = :hidden_until
    WHERE id IN (
        SELECT id FROM messages WHERE queue = :queue AND visible_at <= :now AND dead_at IS NULL
        ORDER BY visible_at, id LIMIT :limit
    )
    RETURNING id, queue, body, receives, receipt, sent_at, dead_at"""
_DELETE = """DELETE FROM messages
    WHERE id IN ({}) AND (id, receipt) IN (VALUES {}) AND dead_at IS NULL"""
_RELEASE = "UPDATE messages SET visible_at = ? WHERE id = ? AND receipt = ? AND dead_at IS NULL"
_DEAD = """SELECT id, queue, body, receives, receipt, sent_at FROM messages
    WHERE queue = ? AND dead_at IS NOT NULL ORDER BY id"""
_REDRIVE = """UPDATE messages SET dead_at = NULL, receives = 0, visible_at = ?
    WHERE queue = ? AND dead_at IS NOT NULL"""
_RECOVER = """UPDATE messages SET visible_at = ?
    WHERE receives > 0 AND dead_at IS NULL AND visible_at > ?"""
_NEXT = "SELECT min(visible_at) FROM messages WHERE queue = ? AND dead_at IS NULL"
_COUNTS = """SELECT
    (SELECT count(*) FROM messages WHERE queue = :queue AND dead_at IS NULL),
    (SELECT count(*) FROM messages WHERE queue = :queue AND dead_at IS NULL
        AND visible_at > :now AND receives > 0),
    (SELECT count(*) FROM messages WHERE queue = :queue AND dead_at IS NOT NULL)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, as one receive saw it."""

    id: str
    queue: str
    #: The body as JSON.
    body: str
    #: How often it was received, this time included.
    receives: int
    #: Proof of this receive; worth nothing once the message is received again. Empty: it was only
    #: ever in memory.
    receipt: str
    sent_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Messages of one queue, by where they stand."""

    #: To be received, now or once their delay is over.
    waiting: int
    #: Received, and hidden until they are deleted or their visibility timeout ends; not those that
    #: were only ever in memory.
    in_flight: int
    #: Given up; kept for a redrive.
    dead: int


class MessageTable:
    """Messages of all queues; what is sent shares its commit with everyone else's writes."""

    def __init__(self, database: Database, max_receives: Mapping[str, int]) -> None:
        self._database = database
        self._max_receives = dict(max_receives)
        database.run(*_SCHEMA)

    def insert(
        self,
        queue: str,
        body: str,
        *,
        sent_at: Instant,
        visible_at: Instant,
        receives: int = 0,
    ) -> None:
        """Durable on return."""
        self._execute(_SEND, (str(queue), body, sent_at, visible_at, receives))

    def receive(
        self, queue: str, limit: int, *, now: Instant, hidden_until: Instant
    ) -> list[Message]:
        """Take visible messages, oldest first, and hide them.

        Those that were received as often as the queue allows become dead letters instead, so that
        none may be returned although others are visible still.
        """
        values = {
            "queue": str(queue),
            "now": now,
            "limit": limit,
            "hidden_until": hidden_until,
            "max_receives": self._max_receives.get(queue, MAX_RECEIVES),
        }
        rows = self._database.write(
            lambda connection: connection.execute(_RECEIVE, values).fetchall()
        )
        return [_message(row) for (*row, dead_at) in sorted(rows) if dead_at is None]

    def delete(self, messages: Iterable[Message]) -> None:
        """Remove messages that are done; one received again since then stays."""
        if work := _deletion(messages):
            self._database.write(work)

    def forget(self, messages: Iterable[Message]) -> None:
        """Remove messages without waiting for it; at worst they are seen again."""
        if work := _deletion(messages):
            self._database.post(work)

    def release(self, message: Message, visible_at: Instant) -> None:
        """Let a message be seen sooner, or later, than was said when it was received."""
        self._execute(_RELEASE, (visible_at, message.id, message.receipt))

    def recover(self, now: Instant) -> None:
        """Show every message that was received and neither deleted nor released."""
        self._execute(_RECOVER, (now, now))

    def dead_letters(self, queue: str) -> list[Message]:
        """Messages that were given up, oldest first."""
        return self._database.read(
            lambda connection: [_message(row) for row in connection.execute(_DEAD, (str(queue),))]
        )

    def redrive(self, queue: str, now: Instant) -> int:
        """Let all dead letters be received afresh; returns how many there were."""
        return self._execute(_REDRIVE, (now, str(queue)))

    def counts(self, queue: str, now: Instant) -> Counts:
        values = {"queue": str(queue), "now": now}
        live, in_flight, dead = self._database.read(
            lambda connection: connection.execute(_COUNTS, values).fetchone()
        )
        return Counts(waiting=live - in_flight, in_flight=in_flight, dead=dead)

    def next_visible_at(self, queue: str) -> Instant:
        """When the next message is visible; infinite if there is none."""
        (visible_at,) = self._database.read(
            lambda connection: connection.execute(_NEXT, (str(queue),)).fetchone()
        )
        return float("inf") if visible_at is None else float(visible_at)

    def _execute(self, statement: str, values: tuple[Any, ...]) -> int:
        return self._database.write(
            lambda connection: connection.execute(statement, values).rowcount
        )


def _deletion(messages: Iterable[Message]) -> Callable[[sqlite3.Connection], object] | None:
    proofs = [(int(message.id), int(message.receipt)) for message in messages if message.receipt]
    if not proofs:
        return None
    statement = _DELETE.format(", ".join(["?"] * len(proofs)), ", ".join(["(?, ?)"] * len(proofs)))
    values = [number for number, _ in proofs] + [value for proof in proofs for value in proof]
    return lambda connection: connection.execute(statement, values).rowcount


def _message(row: Sequence[Any]) -> Message:
    number, queue, body, receives, receipt, sent_at = row
    return Message(
        id=str(number),
        queue=queue,
        body=body,
        receives=receives,
        receipt=str(receipt),
        sent_at=float(sent_at),  # RETURNING forgets that whole numbers of a REAL column are floats
    )
