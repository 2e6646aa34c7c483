"""Publish notifications at least once, in threads, until the topic has taken them."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from backburner_local.emulators.sagemaker.knobs import Every, Knobs

logger = logging.getLogger(__name__)

#: Publish a message to a topic; an exception means: not published, try again.
Publish = Callable[[str, str], None]

_FIRST_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class _Notification:
    """One message on its way, and whom to tell on the event loop."""

    topic: str
    message: str
    #: Called once, when it is published or lost on purpose.
    on_told: Callable[[], None]
    #: Called after each try that failed.
    on_refused: Callable[[], None]
    times: int = 1
    pause: float = _FIRST_PAUSE_SECONDS


class Publisher:
    """Calls ``publish`` in a few threads, again and again until it returns.

    Its methods are for the event loop it was made on. Outcomes come back to that loop in bunches:
    waking a loop costs more than most things that are done for a notification.
    """

    def __init__(self, publish: Publish, knobs: Knobs) -> None:
        self._publish = publish
        self._longest_pause = knobs.publish_backoff_seconds
        self._lose = Every(knobs.lose_notification_every_nth)
        self._duplicate = Every(knobs.duplicate_notification_every_nth)
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._due: queue.SimpleQueue[_Notification | None] = queue.SimpleQueue()
        self._tried: deque[tuple[_Notification, bool]] = deque()
        self._is_waking = False
        self._threads = [
            threading.Thread(target=self._work, name=f"publish-{number}")
            for number in range(knobs.publish_threads)
        ]
        for thread in self._threads:
            thread.start()

    def tell(
        self,
        topic: str,
        message: str,
        on_told: Callable[[], None],
        on_refused: Callable[[], None],
    ) -> None:
        """Publish an invocation's notification; returns at once."""
        if self._lose.hit():
            on_told()
            return
        times = 2 if self._duplicate.hit() else 1
        self._due.put(_Notification(topic, message, on_told, on_refused, times))

    def tell_unasked(self, topic: str, message: str) -> None:
        """Publish what nobody waits for; injected faults leave it alone."""
        self._due.put(_Notification(topic, message, _nothing, _nothing))

    async def close(self) -> None:
        """Stop trying; calls under way, and what is already due, are waited for."""
        self._is_open = False
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._settle()

    def _work(self) -> None:
        while (one := self._due.get()) is not None:
            try:
                for _ in range(one.times):
                    self._publish(one.topic, one.message)
            except Exception as error:  # noqa: BLE001 - whatever it is, SNS tries again
                logger.warning("notification.refused topic=%s error=%r", one.topic, error)
                self._tried.append((one, False))
            else:
                self._tried.append((one, True))
            if not self._is_waking:
                self._is_waking = True
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        """Take up what the threads tried, on the event loop."""
        self._is_waking = False  # first: what is tried from now on wakes the loop again
        while self._tried:
            one, is_told = self._tried.popleft()
            if is_told:
                one.on_told()
                continue
            one.on_refused()
            if self._is_open:
                self._loop.call_later(one.pause, self._due.put, one)
                one.pause = min(one.pause * 2, self._longest_pause)


def _nothing() -> None:
    """Nobody waits for it."""
