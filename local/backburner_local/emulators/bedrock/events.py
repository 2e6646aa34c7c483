"""Batch Inference Job State Change: EventBridge's events, told once, twice, late or never."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from backburner_local.emulators.bedrock.job import Job
from backburner_local.emulators.bedrock.knobs import Every, Knobs
from backburner_local.emulators.wire import Message, iso_milliseconds

logger = logging.getLogger(__name__)

#: Take one event; an exception means: not taken, try again.
Tell = Callable[[Message], object]

DETAIL_TYPE = "Batch Inference Job State Change"

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 10.0
#: A target that takes an event in none of so many tries gets it no more.
_MOST_TRIES = 30
#: An event that waits for the next one to be told before it waits no longer than this.
_LONGEST_SWAP_SECONDS = 0.5


def state_change(job: Job, knobs: Knobs, now: float) -> Message:
    """The event of the state that the job is in, as AWS documents it."""
    at = datetime.fromtimestamp(now, UTC)
    created = datetime.fromtimestamp(job.submitted_at, UTC)
    hour = created.hour % 12 or 12
    documented = f"{at:%a %b %d %H:%M:%S} UTC {at:%Y}"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": DETAIL_TYPE,
        "source": "aws.bedrock",
        "account": knobs.account_id,
        "time": documented if knobs.event_time == "documented" else iso_milliseconds(now),
        "region": knobs.region,
        "resources": [job.arn],
        "detail": {
            "version": "0.0",
            "accountId": knobs.account_id,
            "batchJobName": job.name,
            "batchJobArn": job.arn,
            "batchModelId": job.model_arn,
            "status": str(job.status),
            "failureMessage": job.message,
            "creationTime": f"{created:%b} {created.day}, {created:%Y, }{hour}:{created:%M:%S %p}",
        },
    }


class Events:
    """Tells events one after the other, in threads; lives on one event loop.

    Best effort, as on AWS: what is not told when the emulator ends is told no more.
    """

    def __init__(self, tell: Tell, knobs: Callable[[], Knobs]) -> None:
        self._tell = tell
        self._knobs = knobs
        self._lose, self._duplicate = Every(), Every()
        self._delay, self._swap = Every(), Every()
        self._due: asyncio.Queue[tuple[Message, int]] = asyncio.Queue()
        self._held: list[Message] = []
        self._telling = asyncio.create_task(self._work())

    def emit(self, job: Job, now: float) -> None:
        """Tell that the job entered the state it is in; returns at once."""
        knobs = self._knobs()
        if self._lose.hit(knobs.lose_event_every_nth):
            return
        event = state_change(job, knobs, now)
        loop = asyncio.get_running_loop()
        if self._swap.hit(knobs.swap_event_every_nth):
            self._held.append(event)
            loop.call_later(_LONGEST_SWAP_SECONDS, self._let_go)
            return
        times = 2 if self._duplicate.hit(knobs.duplicate_event_every_nth) else 1
        is_late = self._delay.hit(knobs.delay_event_every_nth)
        for _ in range(times):
            if is_late:
                pause = knobs.event_delay_seconds * knobs.time_scale
                loop.call_later(pause, self._due.put_nowait, (event, 1))
            else:
                self._due.put_nowait((event, 1))
        self._let_go()

    def _let_go(self) -> None:
        for event in self._held:
            self._due.put_nowait((event, 1))
        self._held.clear()

    async def close(self) -> None:
        """Tell what is due already, and end."""
        self._let_go()
        while not self._due.empty():
            await self._try(*self._due.get_nowait(), tries_again=False)
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            await self._try(*await self._due.get())

    async def _try(self, event: Message, number: int, *, tries_again: bool = True) -> None:
        try:
            await asyncio.to_thread(self._tell, event)
        except Exception as error:  # noqa: BLE001 - whatever it is, EventBridge tries again
            logger.warning("event.refused id=%s try=%d error=%r", event["id"], number, error)
            if tries_again and number < _MOST_TRIES:
                pause = min(_FIRST_PAUSE_SECONDS * 2**number, _LONGEST_PAUSE_SECONDS)
                loop = asyncio.get_running_loop()
                loop.call_later(pause, self._due.put_nowait, (event, number + 1))
