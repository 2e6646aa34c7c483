"""Floor: a bare Redis list and a second one of what is being worked on."""

import json
import os

from redis import Redis

from benchmarks.peers import effects

WORKER = ["benchmarks.peers.queues.redis_list"]

WAITING, WORKED_ON = "waiting", "worked_on"

redis = Redis.from_url(os.environ["PEERS_REDIS"])


def submit(number: int, payload: str) -> None:
    redis.lpush(WAITING, json.dumps([number, payload]))


def held() -> int:
    return redis.llen(WAITING) + redis.llen(WORKED_ON)


def main() -> None:
    """Work for ever, first on what a killed worker left."""
    while redis.rpoplpush(WORKED_ON, WAITING):
        continue
    while True:
        job = redis.blmove(WAITING, WORKED_ON, 1, "RIGHT", "LEFT")
        if job is not None:
            effects.work(*json.loads(job))
            redis.lrem(WORKED_ON, 1, job)


if __name__ == "__main__":
    main()
