"""Coroutines of an event loop, called by threads; what they ask comes to it in bunches."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

T = TypeVar("T")


class LoopCalls:
    """As `asyncio.run_coroutine_threadsafe`, at a fraction of its cost: no future for a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: deque[_Call] = deque()
        self._is_waking = False

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], *, timeout_seconds: float) -> T:
        """Run the coroutine that `make` makes on the loop; returns or raises what comes of it.

        Raises:
            TimeoutError: it did not end in time, and goes on.
            RuntimeError: the loop has ended.
        """
        call = _Call(make)
        self._due.append(call)
        if not self._is_waking:
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._begin)
        if not call.ended.acquire(timeout=timeout_seconds):
            raise TimeoutError
        task = call.task
        if task is None or task.cancelled():  # the loop ended with it
            raise RuntimeError("The event loop has ended.")
        return cast("T", task.result())

    def _begin(self) -> None:
        """Start what is asked, on the event loop."""
        self._is_waking = False  # first: what is asked from now on wakes the loop again
        while self._due:
            call = self._due.popleft()
            call.task = self._loop.create_task(call.make())
            call.task.add_done_callback(call.end)


class _Call:
    __slots__ = ("ended", "make", "task")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.make = make
        self.task: asyncio.Task[Any] | None = None
        # A lock is the cheapest thing that one thread can wait for and another one end.
        self.ended = threading.Lock()
        self.ended.acquire()

    def end(self, _: asyncio.Task[Any]) -> None:
        self.ended.release()
