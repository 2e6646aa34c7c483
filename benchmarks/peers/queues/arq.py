"""arq: one process, ten jobs at once, looked for every 10 ms instead of 500."""

import os

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from benchmarks.peers import effects

WORKER = ["arq", "benchmarks.peers.queues.arq.WorkerSettings"]

_pools: list[ArqRedis] = []


async def work(_context: object, number: int, payload: str) -> None:
    await effects.work_async(number, payload)


class WorkerSettings:
    """What arq's command line reads."""

    functions = (work,)
    redis_settings = RedisSettings.from_dsn(os.environ["PEERS_REDIS"])
    keep_result = 0
    poll_delay = 0.01


async def connect() -> None:
    _pools.append(await create_pool(WorkerSettings.redis_settings))


async def submit(number: int, payload: str) -> None:
    await _pools[0].enqueue_job("work", number, payload)


async def held() -> int:
    return await _pools[0].zcard("arq:queue")
