"""Measures one queue; runs in that queue's own environment and prints JSON.

    python -m benchmarks.peers.driver celery speed --jobs 2000

Of a queue's module it wants:

- `WORKER`: arguments after `python -m` that start its workers
- `submit(number, payload)`: hand in one job, return when it is acknowledged
- `connect()`, if there is something to prepare
- `held()`: jobs that the broker still has

`submit`, `connect` and `held` may be coroutines. Blocking clients submit one job after another,
those on an event loop keep `IN_FLIGHT` on their way.
"""

import argparse
import asyncio
import importlib
import inspect
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.peers import effects, processes

IN_FLIGHT = 16
WARM = 20
#: Jobs of the paced part, and how many of them are submitted a second.
PACED, RATE = 200, 50
#: Jobs of the crash, and how long each takes.
CRASHED, JOB_SECONDS = 300, 0.01
#: The kill comes when so many have run, and up to so much later: not always between two jobs.
KILLED_AFTER, KILLED_WITHIN_SECONDS = 100, 0.05
#: How long jobs may take after the restart before they count as stranded.
PATIENCE_SECONDS = 60.0
#: How long second runs are waited for after the last job has run.
SETTLE_SECONDS = 3.0

T = TypeVar("T")


async def _done(result: Awaitable[T] | T) -> T:
    return await result if inspect.isawaitable(result) else result


class Queue:
    """One queue: its module, its workers and the file of what ran."""

    def __init__(self, name: str) -> None:
        self.module: Any = importlib.import_module(f"benchmarks.peers.queues.{name}")
        self.effects = Path(os.environ[effects.FILE])
        #: Servers that the queue needs: their CPU time counts.
        self.servers = [int(pid) for pid in os.environ.get("PEERS_SERVER_PIDS", "").split()]

    def start_workers(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", *self.module.WORKER], stdout=sys.stderr)

    @asynccontextmanager
    async def workers(self) -> AsyncIterator[subprocess.Popen[bytes]]:
        process = self.start_workers()
        try:
            yield process
        finally:
            processes.stop(process)

    async def connect(self) -> None:
        if hasattr(self.module, "connect"):
            await _done(self.module.connect())

    async def held(self) -> int:
        return int(await _done(self.module.held()))

    async def submit(self, number: int) -> None:
        await _done(self.module.submit(number, effects.PAYLOAD))

    async def submit_all(self, numbers: Iterable[int]) -> None:
        left = iter(numbers)

        async def some() -> None:
            for number in left:
                await self.submit(number)

        is_async = inspect.iscoroutinefunction(self.module.submit)
        await asyncio.gather(*(some() for _ in range(IN_FLIGHT if is_async else 1)))

    async def wait(self, count: int, seconds: float) -> bool:
        """Whether so many jobs have run in time."""
        end = time.monotonic() + seconds
        while effects.count(self.effects) < count or len(effects.runs(self.effects)) < count:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.002)
        return True

    def cpu_seconds(self, workers: subprocess.Popen[bytes]) -> float:
        times = os.times()  # of this process alone: its children are the workers
        others = processes.cpu_seconds([workers.pid, *self.servers])
        return times.user + times.system + others


async def measure_speed(queue: Queue, jobs: int) -> dict[str, Any]:
    """A burst, then jobs at a steady pace."""
    await queue.connect()
    async with queue.workers() as workers:
        await queue.submit_all(range(WARM))
        if not await queue.wait(WARM, 60):
            raise RuntimeError("the workers do nothing")
        before = queue.cpu_seconds(workers)
        started = time.monotonic_ns()
        await queue.submit_all(range(WARM, WARM + jobs))
        submitted = time.monotonic_ns()
        if not await queue.wait(WARM + jobs, 300):
            raise RuntimeError("not all jobs were done within 300 s")
        cpu = queue.cpu_seconds(workers) - before
        ended = max(moments[0] for moments in effects.runs(queue.effects).values())
        submissions, latencies = await _paced(queue, WARM + jobs)
        runs = effects.runs(queue.effects)
    return {
        "jobs": jobs,
        "twice": sum(len(moments) > 1 for moments in runs.values()),
        "submit_rate": jobs / (submitted - started) * 1e9,
        "end_rate": jobs / (ended - started) * 1e9,
        "cpu_us": cpu / jobs * 1e6,
        "submit_ms": cuts(submissions),
        "latency_ms": cuts(latencies),
    }


async def _paced(queue: Queue, first: int) -> tuple[list[float], list[float]]:
    """Nanoseconds of each submission, and from its start until the job has run."""
    started: dict[int, int] = {}
    submissions: list[float] = []
    begin = time.monotonic()
    for number in range(first, first + PACED):
        await asyncio.sleep(max(0.0, begin + (number - first) / RATE - time.monotonic()))
        started[number] = time.monotonic_ns()
        await queue.submit(number)
        submissions.append(time.monotonic_ns() - started[number])
    if not await queue.wait(first + PACED, 60):
        raise RuntimeError("not all paced jobs were done within 60 s")
    runs = effects.runs(queue.effects)
    return submissions, [runs[number][0] - moment for number, moment in started.items()]


def cuts(nanoseconds: list[float]) -> list[float]:
    """Median and 99th percentile, in milliseconds."""
    hundredths = statistics.quantiles(nanoseconds, n=100, method="inclusive")
    return [hundredths[49] / 1e6, hundredths[98] / 1e6]


async def measure_crash(queue: Queue) -> dict[str, Any]:
    """Kill all workers while they work, start them again, and count."""
    await queue.connect()
    await queue.submit_all(range(CRASHED))
    workers = queue.start_workers()
    if not await queue.wait(KILLED_AFTER, 60):
        raise RuntimeError("the workers do nothing")
    await asyncio.sleep(random.uniform(0, KILLED_WITHIN_SECONDS))
    processes.kill(workers)
    ran = len(effects.runs(queue.effects))
    restarted = time.monotonic()
    async with queue.workers():
        seconds = await _wait_for_all(queue, restarted)
        await asyncio.sleep(SETTLE_SECONDS)
    runs = effects.runs(queue.effects)
    missing = CRASHED - len(runs)
    stranded = min(missing, await queue.held())
    return {
        "jobs": CRASHED,
        "ran_before": ran,
        "finished": len(runs),
        "stranded": stranded,
        "lost": missing - stranded,
        "twice": sum(len(moments) > 1 for moments in runs.values()),
        "recovered_seconds": seconds,
    }


async def _wait_for_all(queue: Queue, since: float) -> float | None:
    """Seconds until every job has run; None if some did not in time."""
    while time.monotonic() < since + PATIENCE_SECONDS:
        if len(effects.runs(queue.effects)) == CRASHED:
            return time.monotonic() - since
        await asyncio.sleep(0.05)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queue")
    parser.add_argument("what", choices=("speed", "crash"))
    parser.add_argument("--jobs", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.what == "crash":
        os.environ[effects.SECONDS] = str(JOB_SECONDS)
    queue = Queue(arguments.queue)
    is_speed = arguments.what == "speed"
    found = measure_speed(queue, arguments.jobs) if is_speed else measure_crash(queue)
    print(json.dumps(asyncio.run(found)))


if __name__ == "__main__":
    main()
