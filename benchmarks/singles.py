"""Single requests over HTTP, each durable before its answer; beside a bare SQLite queue."""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import aiohttp

from benchmarks.stack import Rows, Running, running

#: Clients that fetch results at the same time.
READERS = 16
#: Time between two looks at the last request.
_LOOK_SECONDS = 0.02


async def _submit(session: aiohttp.ClientSession, left: Iterable[int]) -> list[tuple[str, float]]:
    """Submit one after another; each one's id, and the seconds until it was accepted."""
    done = []
    for number in left:
        body = {"model": "null", "input": f"Say {number}.", "background": True}
        started = time.perf_counter()
        async with session.post("/v1/responses", json=body) as answer:
            answer.raise_for_status()
            name = (await answer.json())["id"]
        done.append((name, time.perf_counter() - started))
    return done


async def _until_ended(session: aiohttp.ClientSession, names: Iterable[str]) -> int:
    """Read each result, as soon as there is one; how often there was none yet."""
    misses = 0
    for name in names:
        while True:
            async with session.get(f"/v1/responses/{name}") as answer:
                if (await answer.json())["status"] == "completed":
                    break
            misses += 1
            await asyncio.sleep(_LOOK_SECONDS)
    return misses


async def _drive(stack: Running, count: int, connections: int) -> tuple[list[float], list[float]]:
    """Submit all, and fetch all; seconds of each submission, and until what.

    Until all were submitted, until the last of them had ended, and until all were read. Should
    one end after the last, reading shows it: that time counts as storing.
    """
    headers = {"Authorization": f"Bearer {stack.key}"}
    async with aiohttp.ClientSession(stack.url, headers=headers) as session:
        started = time.perf_counter()
        left = iter(range(count))
        found = await asyncio.gather(*(_submit(session, left) for _ in range(connections)))
        until = [time.perf_counter() - started]
        done = [one for some in found for one in some]
        names = [name for name, _ in done]
        await _until_ended(session, [some[-1][0] for some in found if some])
        until.append(time.perf_counter() - started)
        rest = iter(names)
        misses = await asyncio.gather(*(_until_ended(session, rest) for _ in range(READERS)))
        until.append(time.perf_counter() - started)
        if any(misses):
            until[1] = until[2]
    return [seconds for _, seconds in done], until


def measure(count: int, connections: int) -> Rows:
    """Rates and latencies, and the CPU time of a request."""
    with running() as stack:
        stack.warm()
        cpu = stack.cpu_seconds()
        latencies, (submitted, stored, fetched) = asyncio.run(_drive(stack, count, connections))
        cpu = stack.cpu_seconds() - cpu
        floor_submit, floor_end = bare_queue(stack.data_dir / "floor.sqlite", count)
        cuts = statistics.quantiles(latencies, n=100)
        return [
            ("requests, connections", f"{count:,}, {connections}"),
            ("submissions a second", f"{count / submitted:,.0f}"),
            ("floor: bare SQLite queue, one durable job a transaction", f"{floor_submit:,.0f}"),
            ("share of the floor", f"{count / submitted / floor_submit:.0%}"),
            ("submission p50, p99", f"{cuts[49] * 1e3:.1f} ms, {cuts[98] * 1e3:.1f} ms"),
            ("end to end a second, until the results are stored", f"{count / stored:,.0f}"),
            ("floor: the same queue, insert, claim and finish", f"{floor_end:,.0f}"),
            ("share of the floor", f"{count / stored / floor_end:.0%}"),
            (
                f"end to end a second, until {READERS} clients have read them",
                f"{count / fetched:,.0f}",
            ),
            ("CPU a request, all processes", f"{cpu / count * 1e6:,.0f} µs"),
        ]


def bare_queue(path: Path, count: int) -> tuple[float, float]:
    """Floor of single requests: jobs a second put into a durable SQLite table, and worked off."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, body TEXT, state INTEGER)")
    connection.execute("CREATE INDEX waiting ON jobs (id) WHERE state = 0")
    body = "x" * 200
    started = time.perf_counter()
    for _ in range(count):
        connection.execute("INSERT INTO jobs (body, state) VALUES (?, 0)", (body,))
    submitted = time.perf_counter()
    for _ in range(count):
        (job,) = connection.execute(
            "SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT 1"
        ).fetchone()
        connection.execute("UPDATE jobs SET state = 1 WHERE id = ?", (job,))
        connection.execute("UPDATE jobs SET state = 2 WHERE id = ?", (job,))
    ended = time.perf_counter()
    connection.close()
    return count / (submitted - started), count / (ended - started)
