"""taskiq on a Redis stream: two processes, acknowledged when done."""

import os

from taskiq_redis import RedisStreamBroker

from benchmarks.peers import effects

WORKER = [
    "taskiq", "worker", "benchmarks.peers.queues.taskiq:broker", "--workers", "2",
    "--log-level", "WARNING",
]  # fmt: skip

broker = RedisStreamBroker(os.environ["PEERS_REDIS"], unacknowledged_lock_timeout=60)


@broker.task(task_name="work")
async def work(number: int, payload: str) -> None:
    await effects.work_async(number, payload)


async def connect() -> None:
    await broker.startup()


async def submit(number: int, payload: str) -> None:
    await work.kiq(number, payload)


async def held() -> int:
    from redis.asyncio import Redis

    async with Redis.from_url(os.environ["PEERS_REDIS"], decode_responses=True) as redis:
        (group,) = await redis.xinfo_groups("taskiq")
        return int(group["pending"]) + int(group["lag"] or 0)
