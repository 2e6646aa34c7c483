"""The queues: their messages, in a table or in memory, and who waits for them."""

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec.json

from backburner.domain.errors import StorageUnavailable
from backburner.domain.request import Instant
from backburner.ports import Clock
from backburner_local.adapters.fleeting import Fleeting
from backburner_local.adapters.messages import Counts, Message, MessageTable
from backburner_local.adapters.sqlite import Database

#: Longest delay of a message: SQS's limit (API reference, SendMessage).
MAX_DELAY_SECONDS = 900
#: Seconds for which the table is taken to be as it was seen: others may send to it, too.
_BELIEVED_SECONDS = 0.5


class SqliteQueue:
    """All queues of one database."""

    def __init__(
        self, database: Database, clock: Clock, *, max_receives: Mapping[str, int] | None = None
    ) -> None:
        """Use the database's messages.

        Args:
            database: that others may share.
            clock: tells when messages are visible.
            max_receives: by queue, how often a message is received before it is a dead letter.
        """
        self._table = MessageTable(database, max_receives or {})
        self._clock = clock
        self._is_open = True
        #: By queue: rung when a message may have become visible.
        self._bells: dict[str, threading.Condition] = {}
        #: By queue, under its bell: when its next message in the table is visible, as was seen, and
        #: until when (of the monotonic clock) this is believed.
        self._seen: dict[str, tuple[Instant, float]] = {}
        self._fleeting: dict[str, Fleeting] = {}

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
            self._table.insert(queue, text, sent_at=now, visible_at=now + delay_seconds)
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
        found = self._table.receive(queue, limit, now=now, hidden_until=now + visibility_seconds)
        with self._bell(queue):
            self._seen.pop(queue, None)
        return found

    def delete(self, messages: Iterable[Message]) -> None:
        """Remove messages that are done; one received again since then stays."""
        self._table.delete(messages)

    def forget(self, messages: Iterable[Message]) -> None:
        """Remove messages without waiting for it; at worst they are seen again."""
        self._table.forget(messages)

    def release(self, message: Message, delay_seconds: float = 0) -> None:
        """Let a message be seen again sooner, or later, than its visibility timeout says."""
        visible_at = self._clock.now() + delay_seconds
        if message.receipt:
            self._table.release(message, visible_at)
        else:
            self._write_down(message, visible_at, delay_seconds)
        self._ring(message.queue)

    def _write_down(self, message: Message, visible_at: Instant, delay_seconds: float) -> None:
        """Put one that was only ever in memory into the table, or, if that is full, back."""
        try:
            self._table.insert(
                message.queue,
                message.body,
                sent_at=message.sent_at,
                visible_at=visible_at,
                receives=message.receives,
            )
        except StorageUnavailable:
            fleeting = self._fleeting[message.queue]
            fleeting.add(message.body, message.sent_at, delay_seconds=delay_seconds)

    def recover(self) -> None:
        """Show every message that was received and neither deleted nor released.

        For a stack that starts: whoever received them is gone.
        """
        self._table.recover(self._clock.now())

    def dead_letters(self, queue: str) -> list[Message]:
        """Messages that were given up, oldest first."""
        return self._table.dead_letters(queue)

    def redrive(self, queue: str) -> int:
        """Let all dead letters be received afresh; returns how many there were."""
        number = self._table.redrive(queue, self._clock.now())
        self._ring(queue)
        return number

    def counts(self, queue: str) -> Counts:
        found = self._table.counts(queue, self._clock.now())
        fleeting = self._fleeting.get(queue)
        if fleeting is None:
            return found
        return replace(found, waiting=found.waiting + len(fleeting))

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
            visible_at = self._table.next_visible_at(queue)
            self._seen[queue] = visible_at, now + _BELIEVED_SECONDS
        return visible_at - self._clock.now()

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
