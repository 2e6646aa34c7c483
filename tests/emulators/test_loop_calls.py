"""Coroutines that threads have run on a loop: what comes back, and the end of the loop."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backburner_local.emulators.loop_calls import LoopCalls


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def divide(a: int, b: int) -> float:
    await asyncio.sleep(0)
    return a / b


def test_what_a_coroutine_returns_or_raises_is_the_callers(loop):
    calls = LoopCalls(loop)
    assert calls.call(lambda: divide(7, 2), timeout_seconds=10) == 3.5
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: divide(7, 0), timeout_seconds=10)


def test_calls_of_many_threads_are_all_answered(loop):
    calls = LoopCalls(loop)
    with ThreadPoolExecutor(16) as threads:
        found = threads.map(
            lambda n: calls.call(lambda: divide(n, 1), timeout_seconds=10), range(500)
        )
        assert list(found) == list(range(500))


def test_calls_that_come_while_the_loop_is_busy_wake_it_once(loop):
    calls = LoopCalls(loop)
    is_busy, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_busy.set()
        go_on.wait(10)

    loop.call_soon_threadsafe(hold)
    assert is_busy.wait(10)
    wakes = 0
    wake = loop.call_soon_threadsafe

    def count(act: Callable[..., object], *given: object) -> None:
        nonlocal wakes
        wakes += 1
        wake(act, *given)

    loop.call_soon_threadsafe = count
    with ThreadPoolExecutor(5) as threads:
        asked = [
            threads.submit(calls.call, lambda: divide(1, 1), timeout_seconds=10) for _ in range(5)
        ]
        while len(calls._due) < 5:
            threading.Event().wait(0.001)
        go_on.set()
        assert [one.result(10) for one in asked] == [1.0] * 5
    del loop.call_soon_threadsafe
    assert wakes == 1


def test_what_takes_too_long_is_given_up(loop):
    with pytest.raises(TimeoutError):
        LoopCalls(loop).call(lambda: asyncio.sleep(0.5), timeout_seconds=0.01)


def test_the_end_of_the_loop_ends_what_it_was_asked():
    made: list[LoopCalls] = []
    is_asked, ended = threading.Event(), []

    async def wait() -> None:
        is_asked.set()
        await asyncio.sleep(60)

    async def serve() -> None:
        made.append(LoopCalls(asyncio.get_running_loop()))
        while not is_asked.is_set():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.001)

    def ask() -> None:
        while not made:
            threading.Event().wait(0.001)
        try:
            made[0].call(wait, timeout_seconds=10)
        except RuntimeError as error:
            ended.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    asyncio.run(serve())
    asking.join(10)
    assert ended == ["The event loop has ended."]
    with pytest.raises(RuntimeError):
        made[0].call(wait, timeout_seconds=10)
