"""The queues in SQLite: messages that are hidden while someone works on them."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec.json

from backburner.domain.errors import StorageUnavailable
from backburner.domain.request import Instant
from backburner.ports import Clock
from backburner_local.adapters.fleeting import Fleeting
from backburner_local.adapters.sqlite import Database

#: Longest delay of a message: SQS's limit (API reference, SendMessage).
MAX_DELAY_SECONDS = 900
#: Receives after which a message is a dead letter, where a queue names no number.
MAX_RECEIVES = 5
#: Seconds for which the table is taken to be as it was seen: others may send to it, too.
_BELIEVED_SECONDS = 0.5

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


class SqliteQueue:
    """All queues of one database; sends share its commits with everyone else's writes."""

    def __init__(
        self, database: Database, clock: Clock, *, max_receives: Mapping[str, int] | None = None
    ) -> None:
        """Use the database's messages.

        Args:
            database: that others may share.
            clock: tells when messages are visible.
            max_receives: by queue, how often a message is received before it is a dead letter.
        """
        self._database = database
        self._clock = clock
        self._max_receives = dict(max_receives or {})
        self._is_open = True
        #: By queue: rung when a message may have become visible.
        self._bells: dict[str, threading.Condition] = {}
        #: By queue, under its bell: when its next message in the table is visible, as was seen, and
        #: until when (of the monotonic clock) this is believed.
        self._seen: dict[str, tuple[Instant, float]] = {}
        self._fleeting: dict[str, Fleeting] = {}
        database.run(*_SCHEMA)

    def keep_in_memory(self, queue: str) -> None:
        """From now on, keep the queue's messages out of the table, unless they are delayed or fail.

        For a queue that is received from in this process alone, whose handlers look for themselves
        what there is to do, and whose messages every start of the stack sends anew: to lose them
        with the process loses nothing. Each would take three commits, of which the sender waits
        for one.
        """
        self._fleeting[str(queue)] = Fleeting()

    def send(self, queue: str, body: Mapping[str, Any], *, delay_seconds: float = 0) -> None:
        if not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"A delay of {delay_seconds} s; it is 0 to {MAX_DELAY_SECONDS} s.")
        text = msgspec.json.encode(body).decode()
        now = self._clock.now()
        fleeting = self._fleeting.get(queue)
        if fleeting is None or delay_seconds:
            self._execute(_SEND, (str(queue), text, now, now + delay_seconds, 0))
            self._ring(queue)
        elif fleeting.add(text, now):
            self._wake(queue)

    def receive(self, queue: str, max_messages: int, visibility_seconds: float) -> list[Message]:
        """Take visible messages, and hide them for a while: those in memory first, then by age.

        Those that were received as often as the queue allows become dead letters instead, so that
        none may be returned although others are visible still.
        """
        found = self._take_fleeting(queue, max_messages)
        left = max_messages - len(found)
        if not found:
            return self._receive(queue, left, visibility_seconds)
        with suppress(StorageUnavailable):  # those that are out of memory are nowhere else
            if left and self._is_any_visible(queue):
                found += self._receive(queue, left, visibility_seconds)
        return found

    def _take_fleeting(self, queue: str, limit: int) -> list[Message]:
        fleeting = self._fleeting.get(queue)
        taken = fleeting.take(limit) if fleeting is not None else ()
        return [
            Message(id=name, queue=str(queue), body=body, receives=1, receipt="", sent_at=sent_at)
            for name, body, sent_at in taken
        ]

    def _receive(self, queue: str, limit: int, visibility_seconds: float) -> list[Message]:
        now = self._clock.now()
        values = {
            "queue": str(queue),
            "now": now,
            "limit": limit,
            "hidden_until": now + visibility_seconds,
            "max_receives": self._max_receives.get(queue, MAX_RECEIVES),
        }
        rows = self._database.write(
            lambda connection: connection.execute(_RECEIVE, values).fetchall()
        )
        with self._bell(queue):
            self._seen.pop(queue, None)
        return [_message(row) for (*row, dead_at) in sorted(rows) if dead_at is None]

    def delete(self, messages: Iterable[Message]) -> None:
        """Remove messages that are done; one received again since then stays."""
        if work := _deletion(messages):
            self._database.write(work)

    def forget(self, messages: Iterable[Message]) -> None:
        """Remove messages without waiting for it; at worst they are seen again."""
        if work := _deletion(messages):
            self._database.post(work)

    def release(self, message: Message, delay_seconds: float = 0) -> None:
        """Let a message be seen again sooner, or later, than its visibility timeout says."""
        visible_at = self._clock.now() + delay_seconds
        if message.receipt:
            self._execute(_RELEASE, (visible_at, message.id, message.receipt))
        else:
            self._write_down(message, visible_at, delay_seconds)
        self._ring(message.queue)

    def _write_down(self, message: Message, visible_at: Instant, delay_seconds: float) -> None:
        """Put one that was only ever in memory into the table, or, if that is full, back."""
        known = (message.queue, message.body, message.sent_at, visible_at, message.receives)
        try:
            self._execute(_SEND, known)
        except StorageUnavailable:
            fleeting = self._fleeting[message.queue]
            fleeting.add(message.body, message.sent_at, delay_seconds=delay_seconds)

    def recover(self) -> None:
        """Show every message that was received and neither deleted nor released.

        For a stack that starts: whoever received them is gone.
        """
        statement = (
            "UPDATE messages SET visible_at = ? WHERE receives > 0 AND dead_at IS NULL"
            " AND visible_at > ?"
        )
        now = self._clock.now()
        self._execute(statement, (now, now))

    def dead_letters(self, queue: str) -> list[Message]:
        """Messages that were given up, oldest first."""
        return self._database.read(
            lambda connection: [_message(row) for row in connection.execute(_DEAD, (str(queue),))]
        )

    def redrive(self, queue: str) -> int:
        """Let all dead letters be received afresh; returns how many there were."""
        number = self._execute(_REDRIVE, (self._clock.now(), str(queue)))
        self._ring(queue)
        return number

    def counts(self, queue: str) -> Counts:
        values = {"queue": str(queue), "now": self._clock.now()}
        live, in_flight, dead = self._database.read(
            lambda connection: connection.execute(_COUNTS, values).fetchone()
        )
        fleeting = self._fleeting.get(queue)
        live += len(fleeting) if fleeting is not None else 0
        return Counts(waiting=live - in_flight, in_flight=in_flight, dead=dead)

    def wait(self, queue: str, timeout_seconds: float) -> bool:
        """Block until a message is visible; False: none was before the timeout or close.

        Messages that this process sends, releases or redrives are noticed at once.
        """
        ends_at = time.monotonic() + timeout_seconds
        bell = self._bell(queue)
        with bell:
            while self._is_open:
                visible_in = self._due_in(queue)
                if visible_in <= 0:
                    return True
                left = ends_at - time.monotonic()
                if left <= 0:
                    return False
                bell.wait(min(left, visible_in))
        return False

    def close(self) -> None:
        """End all waits, and those to come; the database stays open."""
        self._is_open = False
        for queue in list(self._bells):
            self._ring(queue)

    def _is_any_visible(self, queue: str) -> bool:
        with self._bell(queue):
            return self._visible_in(queue) <= 0

    def _due_in(self, queue: str) -> float:
        """Seconds until there is a message; under the queue's bell."""
        fleeting = self._fleeting.get(queue)
        if fleeting is None:
            return self._visible_in(queue)
        return min(fleeting.due_in(), self._visible_in(queue))

    def _visible_in(self, queue: str) -> float:
        """The same of the table, as far as known."""
        now = time.monotonic()
        visible_at, believed_until = self._seen.get(queue, (0.0, 0.0))
        if believed_until <= now:
            visible_at = self._visible_at(queue)
            self._seen[queue] = visible_at, now + _BELIEVED_SECONDS
        return visible_at - self._clock.now()

    def _visible_at(self, queue: str) -> Instant:
        """When a message of the table is visible; never if there is none."""
        (visible_at,) = self._database.read(
            lambda connection: connection.execute(_NEXT, (str(queue),)).fetchone()
        )
        return float("inf") if visible_at is None else float(visible_at)

    def _execute(self, statement: str, values: tuple[Any, ...]) -> int:
        return self._database.write(
            lambda connection: connection.execute(statement, values).rowcount
        )

    def _bell(self, queue: str) -> threading.Condition:
        return self._bells.setdefault(str(queue), threading.Condition())

    def _ring(self, queue: str) -> None:
        """Let those who wait look into the table anew."""
        bell = self._bell(queue)
        with bell:
            self._seen.pop(queue, None)
            bell.notify_all()

    def _wake(self, queue: str) -> None:
        bell = self._bell(queue)
        with bell:
            bell.notify_all()


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
