"""SAQ on Redis: one process, ten jobs at once, retries."""

import os

from saq import Queue

from benchmarks.peers import effects

WORKER = ["saq", "benchmarks.peers.queues.saq.settings"]

queue = Queue.from_url(os.environ["PEERS_REDIS"])


async def work(_context: object, *, number: int, payload: str) -> None:
    await effects.work_async(number, payload)


settings = {"queue": queue, "functions": [work], "concurrency": 10}


async def connect() -> None:
    await queue.connect()


async def submit(number: int, payload: str) -> None:
    await queue.enqueue("work", number=number, payload=payload, retries=5, ttl=60)


async def held() -> int:
    return await queue.count("incomplete")
