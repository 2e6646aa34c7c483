"""Single requests and small batches that travel together, on a whole stack that is killed."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.effort import IS_LONG
from tests.local.stacks import CHAT, MODEL, Up, lines, names, requests, text_of, wait_until

REQUESTS, KILLS = (400, 6) if IS_LONG else (60, 2)

ONE_SLOT = f"""
[models.{MODEL}]
backend = "sagemaker_async"
context_window = 1024
routes = ["{CHAT}"]
slots = 1
shard = {{ lines = 40 }}
"""

COMBINED = f"""
[models.{MODEL}]
backend = "bedrock_batch"
context_window = 4096
routes = ["{CHAT}"]
jobs = {{ model_id = "mistral.mistral-large-2407-v1:0", least_lines = 12, fewer = "combine" }}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def up(tmp_path) -> Iterator[Up]:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(ONE_SLOT)
    with Up(tmp_path / "data", "--catalog", str(catalog), delay_seconds=0.05) as stack:
        yield stack


def ask(up: Up, number: int) -> str:
    """Submit a response until it is accepted, under one key; its id."""
    body = {"model": MODEL, "input": f"say {number}", "background": True}
    headers = {"Idempotency-Key": f"request-{number}", "Authorization": f"Bearer {up.key}"}
    for _ in range(400):
        with suppress(httpx.HTTPError, OSError):
            answer = httpx.post(f"{up.url}/v1/responses", json=body, headers=headers)
            if answer.status_code == httpx.codes.OK:
                found: str = answer.json()["id"]
                return found
        time.sleep(0.05)
    raise AssertionError(f"request {number} was never accepted")


def said(up: Up, response_id: str) -> str:
    response = up.client.http.get(f"/v1/responses/{response_id}").json()
    assert response["status"] == "completed", response
    text: str = response["output"][0]["content"][0]["text"]
    return text


def bundles(data_dir: Path) -> int:
    """How many were ever made."""
    with closing(sqlite3.connect(data_dir / "backburner.sqlite")) as database:
        (count,) = database.execute(
            "SELECT count(*) FROM items WHERE partition GLOB '*/bundle_*'"
        ).fetchone()
    return int(count)


def test_a_burst_of_single_requests_travels_together_and_each_gets_its_answer_despite_kills(up):
    dice = random.Random(7)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, up, number) for number in range(REQUESTS)]
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.1, 0.6))
            up.kill()
            for pid in up.servers():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            up.start()
        ids = [one.result() for one in asked]
    assert len(set(ids)) == REQUESTS

    wait_until(lambda: up.pool().backlog == 0, "the end of them all")
    assert [said(up, one) for one in ids] == [f"say {number}" for number in range(REQUESTS)]
    assert up.pool().in_flight == 0
    assert bundles(up.data_dir) > 0


def test_small_batches_of_a_tenant_run_as_one_job_and_come_out_apart(tmp_path):
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(COMBINED)
    quick = ("submitted_seconds", "validating_seconds", "scheduled_seconds")
    options = Options(
        data_dir=tmp_path / "data",
        port=0,
        engine="null",
        catalog=catalog,
        minute_seconds=1.0,
        durable=False,
        bedrock_knobs={"min_records": 12, **dict.fromkeys(quick, 0.0)},
    )
    with Stack(options) as stack:
        key = (options.data_dir / "dev.key").read_text().strip()
        with Client.connect(stack.url, key) as client:
            some = [small_batch(client, tmp_path, number) for number in range(3)]
            ended = [(*client.watch(one["id"], 0.1),)[-1] for one in some]
            outputs = [lines(client.content(one["output_file_id"])) for one in ended]
        assert stack.bedrock is not None
        ran = stack.bedrock.ran()
    for number, output in enumerate(outputs):
        assert [line["custom_id"] for line in output] == names(4)
        assert {text_of(line) for line in output} == {f"say {number}"}
    assert len({one.job_id for one in ran}) == 1
    assert len(ran) == 12


def small_batch(client: Client, folder: Path, number: int) -> dict[str, Any]:
    path = folder / f"{number}.jsonl"
    path.write_bytes(requests(4, text=f"say {number}"))
    file = client.upload(path)
    return client.create_batch(input_file_id=file["id"], endpoint=CHAT)
