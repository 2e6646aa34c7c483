"""dramatiq on Redis, as it comes: two processes of eight threads, late acknowledgement."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.peers import effects

WORKER = ["dramatiq", "benchmarks.peers.queues.dramatiq", "--processes", "2", "--threads", "8"]

broker = RedisBroker(url=os.environ["PEERS_REDIS"])
dramatiq.set_broker(broker)


@dramatiq.actor
def work(number: int, payload: str) -> None:
    effects.work(number, payload)


def submit(number: int, payload: str) -> None:
    work.send(number, payload)


def held() -> int:
    return broker.client.hlen("dramatiq:default.msgs")
