"""Slots of jobs, with dispatchers in processes of their own and Bedrock's emulator."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from statistics import median
from typing import Any

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.file import FilePurpose
from backburner.ports import QueueName
from backburner.services import batches, capacity, files, finalize, looks, plan, submit
from backburner.wire.jobs import ended_job
from backburner_local.emulators.bedrock import BedrockEmulator, Knobs
from backburner_local.emulators.objects import DirectoryObjects
from backburner_local.world import LocalWorld
from tests.local.dispatcher import opened
from tests.local.stacks import CHAT
from tests.world import chat, jsonl

SLOTS, BATCHES, LINES, DISPATCHERS = 2, 50, 3, 4
MODEL = "mistral.mistral-large-2407-v1:0"
CATALOG = f"""
[models.mistral]
backend = "bedrock_batch"
context_window = 4096
routes = ["{CHAT}"]
slots = {SLOTS}
jobs = {{ model_id = "{MODEL}", least_lines = 1 }}
"""
KNOBS = Knobs(
    slots_per_model=SLOTS,
    min_records=1,
    submitted_seconds=0.0,
    validating_seconds=0.0,
    scheduled_seconds=0.0,
    in_progress_seconds=0.2,
    flush_seconds=0.05,
)


@contextmanager
def dispatchers(count: int, *arguments: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.local.dispatcher", *arguments]
    with ExitStack() as ending:
        started = [
            ending.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            for _ in range(count)
        ]
        for one in started:
            ending.callback(one.kill)
        for one in started:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        yield


def hand_in(world: LocalWorld, name: str) -> str:
    """A batch that is planned: one job."""
    env, tenant = world.env, f"tenant-{name[0]}"
    file_id = env.ids.new("file")
    key = files.blob_key(tenant, file_id)
    env.blobs.put(key, jsonl(chat(f"{name}-{line}") for line in range(LINES)))
    purpose = FilePurpose.BATCH
    files.add(env, tenant, file_id=file_id, filename="in", purpose=purpose, size=1)
    new = submit.NewBatch(input_file_id=file_id, route=CHAT)
    batch = submit.submit_batch(env, tenant, new)
    plan.plan(env, tenant, batch.id)
    return f"{tenant}/{batch.id}"


def finalize_all(world: LocalWorld) -> None:
    while messages := world.queue.receive(QueueName.FINALIZE, 10, 60.0):
        for message in messages:
            body = json.loads(message.body)
            finalize.finalize(world.env, body["tenant"], body["batch_id"])
        world.queue.forget(messages)


@pytest.mark.long  # 25 s: processes, and jobs that take their time
def test_fifty_jobs_share_two_slots_among_four_dispatchers(tmp_path):
    """Each is submitted once, at once when a slot is free, and never beside two."""
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    told: list[dict[str, Any]] = []
    heard = threading.Condition()

    def tell(event: dict[str, Any]) -> None:
        with heard:
            told.append(event)
            heard.notify()

    folder = tmp_path / "data"
    emulator = BedrockEmulator(
        objects=DirectoryObjects(folder / "buckets"),
        data_dir=tmp_path / "bedrock",
        tell=tell,
        knobs=KNOBS,
    ).start()
    try:
        with opened(folder, catalog, emulator.url) as world:
            known = [hand_in(world, f"{number % 5}-{number}") for number in range(BATCHES)]
            with dispatchers(DISPATCHERS, str(folder), str(catalog), emulator.url):
                ended = hear(world, told, heard)
            finalize_all(world)
            judge(world, known, ended, emulator)
    finally:
        emulator.stop()


def hear(world: LocalWorld, told: list[dict[str, Any]], heard: threading.Condition) -> int:
    """Take in what is told until all jobs have ended; how many did."""
    ended, until = 0, time.monotonic() + 120
    while ended < BATCHES and time.monotonic() < until:
        with heard:
            heard.wait_for(lambda: told, timeout=1.0)
            events, told[:] = list(told), []
        for event in events:
            job = ended_job(event)
            if job is not None:
                looks.ended(world.env, job.backend, job.name)
                ended += 1
    return ended


def instant(told: str) -> float:
    return datetime.fromisoformat(told).timestamp()


def judge(world: LocalWorld, known: list[str], ended: int, emulator: BedrockEmulator) -> None:
    assert ended == BATCHES
    jobs = sorted(emulator.status().values(), key=lambda job: str(job["submitTime"]))
    assert len(jobs) == len({job["jobName"] for job in jobs}) == BATCHES
    spans = [(instant(job["submitTime"]), instant(job["endTime"])) for job in jobs]
    for at, _ in spans:
        assert sum(start <= at < end for start, end in spans) <= SLOTS
    # A slot is free from a job's end on: the n-th job has that of the (n - 2)th end.
    ends = sorted(end for _, end in spans)
    waits = [start - free for (start, _), free in zip(spans[SLOTS:], ends, strict=False)]
    assert median(waits) < 1.0
    assert max(waits) < 3.0, f"{max(waits):.2f} s"  # of a busy machine; the schedule's is a minute
    for one in known:
        tenant, batch_id = one.split("/")
        batch = batches.load(world.env, tenant, batch_id)
        assert batch is not None
        assert (batch.status, batch.completed) == (BatchStatus.COMPLETED, LINES)
    pool = capacity.load(world.env, f"bedrock_batch:{MODEL}")
    assert (pool.in_flight, pool.waiting_lines, pool.running_lines) == (0, 0, 0)
    assert set(emulator.totals().by_content.values()) == {1}
