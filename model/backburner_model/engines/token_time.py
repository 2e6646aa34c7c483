"""The time that an engine with continuous batching takes, by a model of it instead of a GPU."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a step costs: it reads the prompts that join, and writes a token of all that run."""

    prefill_seconds_per_token: float
    step_seconds: float
    #: Requests that run together.
    batch: int


class TokenTime:
    """Lets requests run in steps, as many at once as the batch holds, in the order they came.

    Beside that it keeps account: how much of its batch was in use, for how long.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._waiting: deque[tuple[int, int, asyncio.Future[None]]] = deque()
        #: Step in which each running request writes its last token.
        self._running: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._steps = 0
        self._stepping: asyncio.Task[None] | None = None
        self._admitted = 0
        #: Seconds times requests that ran in them, and since when the present ones do.
        self._used_seconds = 0.0
        self._since = time.monotonic()

    async def run(self, prompt_tokens: int, output_tokens: int) -> None:
        """Return when the request's last token is written."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt_tokens, max(1, output_tokens), done))
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.create_task(self._step())
        await done

    def metrics(self) -> str:
        """The account in Prometheus's text format."""
        self._account()
        values = {
            "backburner_engine_batch": self._pace.batch,
            "backburner_engine_requests_total": self._admitted,
            "backburner_engine_request_seconds_total": self._used_seconds,
            "backburner_engine_clock_seconds": self._since,
        }
        return "".join(f"{name} {value}\n" for name, value in values.items())

    async def _step(self) -> None:
        while self._waiting or self._running:
            read = self._admit()
            self._steps += 1
            await asyncio.sleep(
                self._pace.step_seconds + read * self._pace.prefill_seconds_per_token
            )
            self._account()
            while self._running and self._running[0][0] <= self._steps:
                done = heapq.heappop(self._running)[2]
                if not done.done():  # nobody waits any more
                    done.set_result(None)
            await asyncio.sleep(0)  # what was done may bring what comes next

    def _admit(self) -> int:
        """Let those that wait join; returns the tokens of their prompts."""
        self._account()
        read = 0
        while self._waiting and len(self._running) < self._pace.batch:
            prompt_tokens, output_tokens, done = self._waiting.popleft()
            if done.done():  # nobody waits for it any more
                continue
            read += prompt_tokens
            self._admitted += 1
            heapq.heappush(self._running, (self._steps + output_tokens, next(self._numbers), done))
        return read

    def _account(self) -> None:
        now = time.monotonic()
        self._used_seconds += len(self._running) * (now - self._since)
        self._since = now
