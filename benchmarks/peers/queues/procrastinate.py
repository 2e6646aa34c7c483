"""procrastinate on PostgreSQL: one process, ten jobs at once, stalled jobs retried each minute."""

import os

from procrastinate import App, JobContext, PsycopgConnector

from benchmarks.peers import effects

WORKER = [
    "procrastinate", "--app", "benchmarks.peers.queues.procrastinate.app",
    "--log-level", "error", "worker", "--concurrency", "10",
]  # fmt: skip

app = App(
    connector=PsycopgConnector(conninfo=os.environ["PEERS_POSTGRES"], min_size=4, max_size=20)
)


@app.task(name="work")
async def work(number: int, payload: str) -> None:
    await effects.work_async(number, payload)


@app.periodic(cron="* * * * *")
@app.task(name="retry_stalled", queueing_lock="retry_stalled", pass_context=True)
async def retry_stalled(_context: JobContext, timestamp: int) -> None:  # noqa: ARG001 - its name
    """What its documentation shows for workers that died."""
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def connect() -> None:
    await app.open_async()
    await app.schema_manager.apply_schema_async()


async def submit(number: int, payload: str) -> None:
    await work.defer_async(number=number, payload=payload)


async def held() -> int:
    row = await app.connector.execute_query_one_async(
        "SELECT count(*) AS held FROM procrastinate_jobs"
        " WHERE task_name = 'work' AND status IN ('todo', 'doing', 'failed')"
    )
    return int(row["held"])
