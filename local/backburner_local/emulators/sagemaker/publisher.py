"""Publish notifications at least once, in threads, until the topic has taken them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from backburner_local.emulators.sagemaker.knobs import Every, Knobs

logger = logging.getLogger(__name__)

#: Publish a message to a topic; an exception means: not published, try again.
Publish = Callable[[str, str], None]


class Publisher:
    """Calls ``publish`` in a few threads, again and again until it returns."""

    def __init__(self, publish: Publish, knobs: Knobs) -> None:
        self._publish = publish
        self._backoff = knobs.publish_backoff_seconds
        self._threads = ThreadPoolExecutor(knobs.publish_threads, thread_name_prefix="publish")
        self._lose = Every(knobs.lose_notification_every_nth)
        self._duplicate = Every(knobs.duplicate_notification_every_nth)
        self._tasks: set[asyncio.Task[None]] = set()

    async def tell(self, topic: str, message: str, on_failure: Callable[[], None]) -> None:
        """Return when the notification is published, or lost on purpose.

        Args:
            topic: Its ARN.
            message: The body.
            on_failure: Called after each try that failed.
        """
        if self._lose.hit():
            return
        times = 2 if self._duplicate.hit() else 1
        for _ in range(times):
            await self._until_published(topic, message, on_failure)

    def tell_later(self, topic: str, message: str) -> None:
        """Publish without being waited for; what is not published at the end is dropped."""
        task = asyncio.create_task(self._until_published(topic, message, lambda: None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_published(
        self, topic: str, message: str, on_failure: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.05
        while True:
            try:
                await loop.run_in_executor(self._threads, self._publish, topic, message)
            except Exception as error:  # noqa: BLE001 - whatever it is, SNS tries again
                logger.warning("notification.refused topic=%s error=%r", topic, error)
                on_failure()
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._backoff)
            else:
                return

    async def close(self) -> None:
        """Stop trying; a call under way is waited for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
