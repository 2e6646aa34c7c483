"""RQ, as it comes: a process for each job, two workers, retries."""

import os

from redis import Redis
from rq import Queue, Retry

from benchmarks.peers import effects

URL = os.environ["PEERS_REDIS"]
WORKER = ["rq.cli", "worker-pool", "default", "--num-workers", "2", "--url", URL, "--quiet"]

queue = Queue(connection=Redis.from_url(URL))


def work(number: int, payload: str) -> None:
    effects.work(number, payload)


def submit(number: int, payload: str) -> None:
    queue.enqueue(
        "benchmarks.peers.queues.rq.work", number, payload, retry=Retry(max=3), result_ttl=0
    )


def held() -> int:
    started, failed = queue.started_job_registry, queue.failed_job_registry
    parts = queue.get_job_ids(), started.get_job_ids(cleanup=False), failed.get_job_ids()
    return len(set().union(*parts))
