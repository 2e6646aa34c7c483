"""Threads that work for an event loop: what comes back, and what ends with them."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from backburner_local.loop_threads import LoopThreads


@pytest.fixture
def threads():
    threads = LoopThreads(most=3, name="test")
    yield threads
    threads.stop()


def test_what_a_thread_returns_or_raises_is_the_callers(threads):
    async def ask() -> Any:
        return await asyncio.gather(
            threads.run(divmod, 7, 2), threads.run(divmod, 7, 0), return_exceptions=True
        )

    good, bad = asyncio.run(ask())
    assert good == (3, 1)
    assert isinstance(bad, ZeroDivisionError)


def test_as_many_work_at_once_as_may_and_the_others_wait(threads):
    together = threading.Barrier(3)
    names: set[str] = set()

    def work() -> None:
        names.add(threading.current_thread().name)
        together.wait(10)

    async def ask() -> None:
        await asyncio.gather(*(threads.run(work) for _ in range(9)))

    asyncio.run(ask())
    assert names == {"test_0", "test_1", "test_2"}


def test_an_idle_thread_is_used_before_another_is_started(threads):
    async def ask() -> set[str]:
        return {await threads.run(lambda: threading.current_thread().name) for _ in range(20)}

    assert asyncio.run(ask()) == {"test_0"}


def test_one_wake_serves_all_that_was_done_meanwhile(threads):
    done = threading.Barrier(4)

    async def ask() -> int:
        loop, wakes = asyncio.get_running_loop(), 0

        def count(act: Callable[[], object]) -> None:
            nonlocal wakes
            wakes += 1
            wake(act)

        wake = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = count  # type: ignore[method-assign, assignment]
        calls = [asyncio.ensure_future(threads.run(done.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        done.wait(10)  # the loop is busy here until all three are past it
        while len(threads._done) < 3:
            time.sleep(0.001)  # noqa: ASYNC251 - as above
        await asyncio.gather(*calls)
        return wakes

    assert asyncio.run(ask()) == 1


def test_a_call_that_nobody_waits_for_any_more_does_no_harm(threads):
    go_on = threading.Event()

    async def ask() -> Any:
        given_up = asyncio.ensure_future(threads.run(go_on.wait, 10))
        await asyncio.sleep(0)
        given_up.cancel()
        go_on.set()
        return await threads.run(lambda: "next")

    assert asyncio.run(ask()) == "next"


def test_a_loop_may_end_before_its_threads_do(threads):
    go_on = threading.Event()

    async def ask() -> None:
        asyncio.ensure_future(threads.run(go_on.wait, 10))  # noqa: RUF006 - it outlives the loop
        await asyncio.sleep(0)

    asyncio.run(ask())
    go_on.set()
    threads.stop()
    assert not any(thread.is_alive() for thread in threads._threads)
