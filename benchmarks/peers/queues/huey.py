"""huey on Redis: two threads, retries."""

import os

from huey import RedisHuey

from benchmarks.peers import effects

WORKER = [
    "huey.bin.huey_consumer", "benchmarks.peers.queues.huey.huey", "--workers", "2",
    "--worker-type", "thread", "--quiet",
]  # fmt: skip

huey = RedisHuey("bench", url=os.environ["PEERS_REDIS"], results=False)


@huey.task(retries=3)
def work(number: int, payload: str) -> None:
    effects.work(number, payload)


def submit(number: int, payload: str) -> None:
    work(number, payload)


def held() -> int:
    return huey.pending_count() + huey.scheduled_count()
