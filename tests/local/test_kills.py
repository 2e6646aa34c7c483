"""Killed again and again, as a whole or an instance of it, a stack loses and repeats nothing."""

import os
import random
import signal
import time
from contextlib import suppress
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from tests.local.stacks import CHAT, MODEL, Up, lines, names, requests, text_of, wait_until

CATALOG = f"""
[models.{MODEL}]
backend = "sagemaker_async"
context_window = 1024
routes = ["{CHAT}"]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "count", "of_a_shard", "instances"),
    [(10, 240, 8, 1), pytest.param(100, 40_000, 50, 2, marks=pytest.mark.long)],
)
def test_a_stack_and_instances_killed_at_random_moments_finish_with_every_line_once(
    tmp_path, tally, kills, count, of_a_shard, instances
):
    """Of five kills, one is of the stack, one of the stack while it starts, three of instances."""
    seed = random.randrange(1_000_000)
    moments = random.Random(seed)
    print(f"seed {seed}")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f"{CATALOG}shard = {{ lines = {of_a_shard} }}\n")
    options = ("--catalog", str(catalog), "--max-instances", str(instances))
    up = Up(tmp_path / "data", *options, delay_seconds=0.5)
    try:
        batch_id = _submit(up.start(), tmp_path, count)
        unfinished = 0
        for number in range(kills):
            if number % 5 == 1:
                _kill_while_it_starts(up, moments)
                up.start()
                continue
            if number % 5 in (0, 3):  # while results come in; else, more likely while others start
                _wait_for_progress(up, batch_id)
            time.sleep(moments.uniform(0.0, 0.7))

            unfinished += up.client.batch(batch_id)["status"] != "completed"
            if number % 5 == 0:
                _kill_all(up)
            else:
                _kill_an_instance(up, moments)
        assert unfinished > kills // 2, "the batch was done too early"
        batch = wait_until(lambda: _ended(up, batch_id), "the end of the batch", 600)
        _assert_every_line_came_out_once(up, batch, count)
        wait_until(lambda: _mails(up), "the mail")
        assert up.stop() == 0
        _assert_nothing_is_left(up, batch_id)
        tally("kills at random moments", kills)
        tally("lines that came out once through kills", count)
    finally:
        up.end()


def _kill_all(up: Up) -> None:
    assert up.processes(), "there is nothing to kill"
    up.kill()
    wait_until(lambda: not up.processes(), "the end of the killed stack's instances")


def _kill_while_it_starts(up: Up, dice: random.Random) -> None:
    """Of all moments, those before it is ready: files and tables are half made."""
    up.launch()
    time.sleep(dice.uniform(0.2, 1.0))
    _kill_all(up)


def _kill_an_instance(up: Up, dice: random.Random) -> None:
    """One of those that are there, whatever it is at."""
    victim = dice.choice(wait_until(up.servers, "an instance"))
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    # The next kill is of another one.
    wait_until(lambda: victim not in up.servers(), "the end of the instance")


def _submit(up: Up, folder: Path, count: int) -> str:
    path = folder / "in.jsonl"
    path.write_bytes(requests(count))
    batch = up.client.create_batch(
        input_file_id=up.client.upload(path)["id"],
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"notify_email": "me@example.com"},
    )
    return str(batch["id"])


def _wait_for_progress(up: Up, batch_id: str) -> None:
    def done() -> int:
        return int(up.client.batch(batch_id)["request_counts"]["completed"])

    seen = done()
    wait_until(lambda: done() > seen or _ended(up, batch_id), "progress")


def _ended(up: Up, batch_id: str) -> dict[str, Any] | None:
    batch = up.client.batch(batch_id)
    return batch if batch["status"] in ("completed", "failed", "expired", "cancelled") else None


def _assert_every_line_came_out_once(up: Up, batch: dict[str, Any], count: int) -> None:
    assert batch["status"] == "completed", batch
    assert _errors(up, batch) == []
    assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}
    assert batch["error_file_id"] is None
    output = lines(up.client.content(batch["output_file_id"]))
    assert [line["custom_id"] for line in output] == names(count)
    assert [text_of(line) for line in output] == [f"say {n}" for n in range(1, count + 1)]


def _errors(up: Up, batch: dict[str, Any]) -> list[dict[str, Any]]:
    file_id = batch["error_file_id"]
    return lines(up.client.content(file_id)) if file_id is not None else []


def _mails(up: Up) -> list[Path]:
    return list((up.data_dir / "outbox").glob("*.eml"))


def _assert_nothing_is_left(up: Up, batch_id: str) -> None:
    """One mail under one event id, no slot, no process, no object that only the run needed."""
    (mail,) = _mails(up)
    told = message_from_bytes(mail.read_bytes(), policy=policy.default)
    assert f"evt_{batch_id}@" in told["Message-ID"]
    pool = up.pool()
    assert (pool.in_flight, pool.waiting_lines, pool.running_lines) == (0, 0, 0)
    assert up.processes() == []
    (bucket,) = (path for path in (up.data_dir / "buckets").iterdir() if path.name[0] != ".")
    left = [path.relative_to(bucket) for path in bucket.rglob("*") if path.is_file()]
    # What the endpoint says of failures is for its operator; on AWS it expires.
    kept = ("files", "async/failure")
    assert [path for path in left if not any(map(path.is_relative_to, kept))] == []
