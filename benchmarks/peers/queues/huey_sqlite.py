"""huey on SQLite, each job fsynced: two threads, retries."""

import os
from pathlib import Path

from huey import SqliteHuey

from benchmarks.peers import effects

WORKER = [
    "huey.bin.huey_consumer", "benchmarks.peers.queues.huey_sqlite.huey", "--workers", "2",
    "--worker-type", "thread", "--quiet",
]  # fmt: skip

huey = SqliteHuey(
    filename=str(Path(os.environ["PEERS_FOLDER"]) / "huey.sqlite"), fsync=True, results=False
)


@huey.task(retries=3)
def work(number: int, payload: str) -> None:
    effects.work(number, payload)


def submit(number: int, payload: str) -> None:
    work(number, payload)


def held() -> int:
    return huey.pending_count() + huey.scheduled_count()
