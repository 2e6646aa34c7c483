"""The time of an engine without a GPU, and what it tells of how busy it was."""

import asyncio
import time

import pytest

from backburner_model.engines.token_time import Pace, TokenTime

STEP = 0.002


def an_engine(*, batch: int = 4, prefill: float = 0.0) -> TokenTime:
    return TokenTime(Pace(prefill_seconds_per_token=prefill, step_seconds=STEP, batch=batch))


def account(engine: TokenTime) -> dict[str, float]:
    values = dict(line.split() for line in engine.metrics().splitlines())
    return {name.removeprefix("backburner_engine_"): float(one) for name, one in values.items()}


async def ends(engine: TokenTime, *lengths: int, prompt: int = 0) -> list[int]:
    """Which of several requests of so many tokens ended when: their places, in that order."""
    ended: list[int] = []

    async def one(place: int, length: int) -> None:
        await engine.run(prompt, length)
        ended.append(place)

    await asyncio.gather(*(one(place, length) for place, length in enumerate(lengths)))
    return ended


@pytest.mark.parametrize(
    ("batch", "lengths", "order"),
    [
        (4, (3, 1, 2), [1, 2, 0]),
        (1, (3, 1, 2), [0, 1, 2]),
        (2, (5, 1, 1, 1), [1, 2, 3, 0]),
        (2, (1, 4, 1, 1), [0, 2, 3, 1]),
        (4, (0, 0), [0, 1]),
    ],
)
def test_requests_run_together_up_to_the_batch_and_in_the_order_they_came(batch, lengths, order):
    assert asyncio.run(ends(an_engine(batch=batch), *lengths)) == order


def test_a_step_takes_its_time_and_more_with_prompts_to_read():
    started = time.monotonic()
    asyncio.run(ends(an_engine(), 5))
    assert time.monotonic() - started >= 5 * STEP
    started = time.monotonic()
    asyncio.run(ends(an_engine(prefill=0.001), 1, prompt=30))
    assert time.monotonic() - started >= STEP + 0.03


def test_the_account_says_how_much_of_the_batch_was_in_use():
    async def run() -> tuple[dict[str, float], dict[str, float]]:
        engine = an_engine(batch=2)
        before = account(engine)
        await ends(engine, 10, 10, 10, 10)
        return before, account(engine)

    before, after = asyncio.run(run())
    assert (before["requests_total"], after["requests_total"], after["batch"]) == (0, 4, 2)
    used = after["request_seconds_total"] - before["request_seconds_total"]
    whole = 2 * (after["clock_seconds"] - before["clock_seconds"])
    assert 40 * STEP <= used <= whole


def test_a_request_that_nobody_waits_for_takes_no_place():
    async def run() -> float:
        engine = an_engine(batch=1)
        first = asyncio.create_task(engine.run(0, 2))
        gone = asyncio.create_task(engine.run(0, 1000))
        last = asyncio.create_task(engine.run(0, 1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(first, last)
        return account(engine)["requests_total"]

    assert asyncio.run(run()) == 2
