"""Celery on Redis: prefork, late acknowledgement."""

import os

from celery import Celery

from benchmarks.peers import effects

WORKER = [
    "celery", "--app", "benchmarks.peers.queues.celery", "worker", "--concurrency", "2",
    "--loglevel", "WARNING",
]  # fmt: skip

app = Celery(broker=os.environ["PEERS_REDIS"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task(name="work")
def work(number: int, payload: str) -> None:
    effects.work(number, payload)


def submit(number: int, payload: str) -> None:
    work.delay(number, payload)


def held() -> int:
    with app.connection_for_read() as connection:
        redis = connection.default_channel.client
        return redis.llen("celery") + redis.hlen("unacked")
