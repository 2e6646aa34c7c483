"""Send events to EventBridge: at least once as a rule, lost or twice if a test wants it so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from backburner_local.emulators.sagemaker.knobs import Every, Knobs
from backburner_local.emulators.wire import Message

logger = logging.getLogger(__name__)

#: Hand an event to the default bus; an exception means: not taken, try again.
PutEvent = Callable[[Message], object]

_FIRST_PAUSE_SECONDS = 0.05


class EventSender:
    """Calls `put` in threads until it returns; its methods are for one event loop."""

    def __init__(self, put: PutEvent | None, knobs: Knobs) -> None:
        self._put = put
        self._longest_pause = knobs.publish_backoff_seconds
        self._lose = Every(knobs.transform.lose_event_every_nth)
        self._duplicate = Every(knobs.transform.duplicate_event_every_nth)
        self._sending: set[asyncio.Task[None]] = set()
        #: Events leave in the order in which they happened.
        self._turn = asyncio.Lock()

    def send(self, event: Message) -> None:
        """Returns at once."""
        if self._put is None or self._lose.hit():
            return
        for _ in range(2 if self._duplicate.hit() else 1):
            task = asyncio.create_task(self._deliver(self._put, event))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def close(self) -> None:
        """Give up what was not taken yet."""
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _deliver(self, put: PutEvent, event: Message) -> None:
        pause = _FIRST_PAUSE_SECONDS
        async with self._turn:
            while True:
                try:
                    await asyncio.to_thread(put, event)
                except Exception as error:  # noqa: BLE001 - whatever it is, EventBridge tries again
                    logger.warning("event.refused error=%r", error)
                else:
                    return
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._longest_pause)
