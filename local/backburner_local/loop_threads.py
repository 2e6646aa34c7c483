"""Threads that work for one event loop; what they have done comes back to it in bunches."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar, cast

T = TypeVar("T")


class LoopThreads:
    """As an executor, at less than half of its cost: one wake of the loop serves all that is done.

    It is for one event loop, and `run` is called there.
    """

    def __init__(self, *, most: int, name: str) -> None:
        """Prepare; threads are started as they are needed, and kept.

        Args:
            most: of them.
            name: what their names begin with.
        """
        self._most = most
        self._name = name
        self._threads: list[threading.Thread] = []
        #: Calls that are waiting or being made.
        self._busy = 0
        self._due: SimpleQueue[_Call | None] = SimpleQueue()
        self._done: deque[_Call] = deque()
        self._is_waking = False

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """Have a thread call it; returns or raises what comes of it."""
        call = _Call(work, given)
        self._busy += 1
        if self._busy > len(self._threads) < self._most:
            self._start()
        self._due.put(call)
        await call.ended
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    def stop(self) -> None:
        """End the threads, after what they are doing; nobody may call `run` any more."""
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"{self._name}_{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._due.get()) is not None:
            loop = call.loop
            call.make()
            self._done.append(call)
            del call  # it holds what the caller may want to be rid of
            if not self._is_waking:
                self._is_waking = True
                with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                    loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        """Tell those whose calls were made, on the event loop."""
        self._is_waking = False  # first: what is done from now on wakes the loop again
        while self._done:
            call = self._done.popleft()
            self._busy -= 1
            if not call.ended.done():  # it was given up, perhaps
                call.ended.set_result(None)


class _Call:
    __slots__ = ("_given", "_work", "ended", "error", "loop", "result")

    def __init__(self, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
        self._work = work
        self._given = given
        self.loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def make(self) -> None:
        try:
            self.result = self._work(*self._given)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, who gets it
            self.error = error
