"""Who is measured: how each is set up, and what an acknowledged job may count on."""

from dataclasses import dataclass
from typing import Literal

#: What a job that Redis has acknowledged may count on.
_EVERYSEC = "in Redis's memory; on disk within a second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One row of the tables."""

    name: str
    title: str
    #: Environment in `.venv-peers`, with pinned packages in `requirements/`; None is our own.
    environment: str | None
    #: Module below `queues`, or None where the stack is measured over HTTP.
    module: str | None = None
    server: Literal["redis", "postgres"] | None = None
    #: Jobs of a burst: some seconds of work.
    jobs: int
    settings: str
    promise: str

    @property
    def floor(self) -> str:
        """The floor that promises as much: in memory, or fsynced."""
        return "redis-list" if self.server == "redis" else "sqlite-table"

    @property
    def is_floor(self) -> bool:
        return self.floor == self.name


PEERS = (
    Peer(
        name="redis-list",
        title="floor: bare Redis list",
        environment="floors",
        module="redis_list",
        server="redis",
        jobs=10_000,
        settings="`BLMOVE` to a second list, `LREM` when done; 1 worker",
        promise=_EVERYSEC,
    ),
    Peer(
        name="sqlite-table",
        title="floor: bare SQLite table",
        environment=None,
        module="sqlite_table",
        jobs=1000,
        settings="WAL, `synchronous = FULL`; insert, claim and finish fsynced one by one; polled "
        "every 2 ms; 1 worker",
        promise="fsynced",
    ),
    Peer(
        name="celery",
        title="Celery",
        environment="celery",
        module="celery",
        server="redis",
        jobs=2500,
        settings="prefork, 2 processes; `task_acks_late`, `task_reject_on_worker_lost`, "
        "`worker_prefetch_multiplier = 1`, no results; visibility timeout as it comes (1 h)",
        promise=f"{_EVERYSEC}; redelivered after the visibility timeout",
    ),
    Peer(
        name="dramatiq",
        title="dramatiq",
        environment="dramatiq",
        module="dramatiq",
        server="redis",
        jobs=4000,
        settings="as it comes: 2 processes of 8 threads, acknowledged when done, retries",
        promise=f"{_EVERYSEC}; redelivered 60 s after the worker's last heartbeat, at a random "
        "later command",
    ),
    Peer(
        name="rq",
        title="RQ",
        environment="rq",
        module="rq",
        server="redis",
        jobs=300,
        settings="2 workers that fork for each job (as it comes); `Retry(max=3)`, no results",
        promise=f"{_EVERYSEC}; retried when the started job's heartbeat has expired",
    ),
    Peer(
        name="huey-redis",
        title="huey, Redis",
        environment="huey",
        module="huey",
        server="redis",
        jobs=8000,
        settings="2 threads, `retries=3`, no results",
        promise=f"{_EVERYSEC}; a job is popped when it starts and dies with its worker",
    ),
    Peer(
        name="huey-sqlite",
        title="huey, SQLite",
        environment="huey",
        module="huey_sqlite",
        jobs=800,
        settings="2 threads, `fsync=True`, `retries=3`, no results",
        promise="fsynced; a job is popped when it starts and dies with its worker",
    ),
    Peer(
        name="taskiq",
        title="taskiq, Redis stream",
        environment="taskiq",
        module="taskiq",
        server="redis",
        jobs=5000,
        settings="2 processes, acknowledged when saved (as it comes), "
        "`unacknowledged_lock_timeout=60`; `idle_timeout` as it comes (10 min)",
        promise=f"{_EVERYSEC}; redelivered after the idle timeout",
    ),
    Peer(
        name="saq",
        title="SAQ",
        environment="saq",
        module="saq",
        server="redis",
        jobs=4000,
        settings="1 process, 10 jobs at once (as it comes), `retries=5`, `timeout` as it comes "
        "(10 s), results for 60 s",
        promise=f"{_EVERYSEC}; swept up once a minute when the timeout has passed",
    ),
    Peer(
        name="arq",
        title="arq",
        environment="arq",
        module="arq",
        server="redis",
        jobs=3000,
        settings="1 process, 10 jobs at once (as it comes), `poll_delay` 10 ms instead of 500, "
        "no results",
        promise=f"{_EVERYSEC}; run again when the job's time-out (5 min) has passed",
    ),
    Peer(
        name="procrastinate",
        title="procrastinate",
        environment="procrastinate",
        module="procrastinate",
        server="postgres",
        jobs=600,
        settings="1 process, 10 jobs at once, stalled jobs retried each minute, as documented",
        promise="committed and fsynced; retried 30 to 90 s after the worker's last heartbeat",
    ),
    Peer(
        name="backburner",
        title="**Backburner**, single requests",
        environment=None,
        jobs=1000,
        settings="`POST /v1/responses`, 16 connections; engine: echo; the result is stored and "
        "read by the client",
        promise="fsynced; run again when the instance or the stack has died, visible once",
    ),
    Peer(
        name="backburner-batch",
        title="**Backburner**, one file",
        environment=None,
        jobs=50_000,
        settings="the same requests as lines of one batch; uploaded, run, merged in order, read",
        promise="fsynced; run again when the instance or the stack has died, visible once",
    ),
)

BY_NAME = {peer.name: peer for peer in PEERS}
