"""Measures us as `benchmarks.peers.driver` measures the others: the whole stack, over HTTP.

    python -m benchmarks.peers.ours responses speed --jobs 1000

A job has ended when its client has read the stored result. In the crash everything of ours is
killed, gateway, queue and store too; the model's server lives and knows what ran.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers import driver, effects, processes
from benchmarks.peers.stack import POLL_SECONDS, Stack, running, write_file

#: How often a client asks for the result of one request, where time until it is there counts.
PACED_POLL_SECONDS = 0.01
READERS = 4
#: Time until an instance is there, so that all jobs are accepted before the first one runs.
PROVISIONING_SECONDS = 3.0


async def responses_speed(folder: Path, jobs: int) -> dict[str, Any]:
    """A burst of single requests, then some at a steady pace."""
    async with running(folder, "--engine", "null") as stack:
        await stack.submit_all(iter(range(driver.WARM)))
        for number in range(driver.WARM):
            await stack.read(number, POLL_SECONDS)
        before, started = stack.cpu_seconds(), time.monotonic()
        numbers = range(driver.WARM, driver.WARM + jobs)
        reading = asyncio.create_task(_read_all(stack, iter(numbers)))
        await stack.submit_all(iter(numbers))
        submitted = time.monotonic()
        await reading
        ended, cpu = time.monotonic(), stack.cpu_seconds() - before
        submissions, latencies = await _paced(stack, driver.WARM + jobs)
    return {
        "jobs": jobs,
        "submit_rate": jobs / (submitted - started),
        "end_rate": jobs / (ended - started),
        "cpu_us": cpu / jobs * 1e6,
        "submit_ms": driver.cuts(submissions),
        "latency_ms": driver.cuts(latencies),
    }


async def _read_all(stack: Stack, numbers: Iterator[int]) -> None:
    """Read results in the order of their jobs, close behind the submissions."""

    async def some() -> None:
        for number in numbers:
            while number not in stack.ids:  # noqa: ASYNC110 - polled as its result is
                await asyncio.sleep(POLL_SECONDS)
            await stack.read(number, POLL_SECONDS)

    await asyncio.gather(*(some() for _ in range(READERS)))


async def _paced(stack: Stack, first: int) -> tuple[list[float], list[float]]:
    submissions: list[float] = []
    latencies: list[float] = []

    async def one(number: int) -> None:
        started = time.monotonic_ns()
        await stack.submit(number)
        submissions.append(time.monotonic_ns() - started)
        await stack.read(number, PACED_POLL_SECONDS)
        latencies.append(time.monotonic_ns() - started)

    begin = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for turn in range(driver.PACED):
            await asyncio.sleep(max(0.0, begin + turn / driver.RATE - time.monotonic()))
            tasks.create_task(one(first + turn))
    return submissions, latencies


async def batch_speed(folder: Path, jobs: int) -> dict[str, Any]:
    """One file, from the start of its upload until its output is read."""
    path = folder / "input.jsonl"
    write_file(path, jobs)
    async with running(folder, "--engine", "null") as stack:
        await stack.submit(0)
        await stack.read(0, POLL_SECONDS)
        before, started = stack.cpu_seconds(), time.monotonic()
        batch_id = await stack.upload(path)
        submitted = time.monotonic()
        lines = await stack.lines(batch_id, 300)
        ended, cpu = time.monotonic(), stack.cpu_seconds() - before
    if [line["custom_id"] for line in lines] != [str(number) for number in range(jobs)]:
        raise RuntimeError("the output is not the input's lines in order")
    return {
        "jobs": jobs,
        "submit_rate": jobs / (submitted - started),
        "end_rate": jobs / (ended - started),
        "cpu_us": cpu / jobs * 1e6,
    }


@contextmanager
def _upstream(folder: Path) -> Iterator[str]:
    """A model's server that lives longer than the stack; its URL."""
    told = folder / "upstream.port"
    environment = {**os.environ, effects.SECONDS: str(driver.JOB_SECONDS)}
    command = [sys.executable, "-m", "benchmarks.peers.upstream", str(told)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            while not (told.exists() and told.read_text(encoding="utf-8")):
                time.sleep(0.05)
            yield f"http://127.0.0.1:{told.read_text(encoding='utf-8')}"
        finally:
            process.terminate()


#: Hands in the jobs of a crash, and gives what counts the finished and the unfinished ones.
Submit = Callable[[Stack, Path], Awaitable[Callable[[Stack], Awaitable[tuple[int, int]]]]]


async def crash(folder: Path, submit: Submit) -> dict[str, Any]:
    """Kill the whole stack while it works, start it again, and count."""
    ran = Path(os.environ[effects.FILE])
    with _upstream(folder) as url:
        options = "--engine", "openai", "--base-url", url
        delay = "--provisioning-seconds", str(PROVISIONING_SECONDS)
        async with running(folder, *options, *delay) as stack:
            count = await submit(stack, folder)
            while effects.count(ran) < driver.KILLED_AFTER:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.002)
            await asyncio.sleep(random.uniform(0, driver.KILLED_WITHIN_SECONDS))
            processes.kill(stack.process)
        before = len(effects.runs(ran))
        restarted = time.monotonic()
        async with running(folder, *options, *delay) as stack:
            finished, unfinished = await count(stack)
            seconds = time.monotonic() - restarted
            await asyncio.sleep(driver.SETTLE_SECONDS)
    return {
        "jobs": driver.CRASHED,
        "ran_before": before,
        "finished": finished,
        "stranded": unfinished,
        "lost": driver.CRASHED - finished - unfinished,
        "twice": sum(len(moments) > 1 for moments in effects.runs(ran).values()),
        "recovered_seconds": seconds if finished == driver.CRASHED else None,
    }


async def _submit_responses(
    stack: Stack, _folder: Path
) -> Callable[[Stack], Awaitable[tuple[int, int]]]:
    await stack.submit_all(iter(range(driver.CRASHED)))
    ids = stack.ids

    async def count(again: Stack) -> tuple[int, int]:
        again.ids = ids
        end = time.monotonic() + driver.PATIENCE_SECONDS
        left, failed = set(ids), set[int]()
        while left and time.monotonic() < end:
            for number in sorted(left):
                status = await again.status(number)
                if status not in ("queued", "in_progress"):
                    left.discard(number)
                    if status != "completed":
                        failed.add(number)
            await asyncio.sleep(POLL_SECONDS)
        return len(ids) - len(left) - len(failed), len(left)

    return count


async def _submit_batch(
    stack: Stack, folder: Path
) -> Callable[[Stack], Awaitable[tuple[int, int]]]:
    path = folder / "input.jsonl"
    write_file(path, driver.CRASHED)
    batch_id = await stack.upload(path)

    async def count(again: Stack) -> tuple[int, int]:
        lines = await again.lines(batch_id, driver.PATIENCE_SECONDS)
        if not lines:
            return 0, driver.CRASHED
        return len({line["custom_id"] for line in lines if not line["error"]}), 0

    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=("responses", "batch"))
    parser.add_argument("what", choices=("speed", "crash"))
    parser.add_argument("--jobs", type=int, default=1000)
    arguments = parser.parse_args()
    folder = Path(os.environ["PEERS_FOLDER"])
    speed, submit = (
        (responses_speed, _submit_responses)
        if arguments.how == "responses"
        else (batch_speed, _submit_batch)
    )
    is_speed = arguments.what == "speed"
    found = speed(folder, arguments.jobs) if is_speed else crash(folder, submit)
    print(json.dumps(asyncio.run(found)))


if __name__ == "__main__":
    main()
