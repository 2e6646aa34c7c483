"""Batches that run as jobs of Bedrock, on a whole stack, while things go wrong there."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import CHAT, lines, names, text_of

LINES = 300
CATALOG = f"""
[models.large]
backend = "bedrock_batch"
context_window = 4096
routes = ["{CHAT}"]
price = {{ input = 1.0, output = 3.0 }}
jobs = {{ model_id = "mistral.mistral-large-2407-v1:0", least_lines = 10, fewer = "pad" }}
shard = {{ lines = 100 }}
"""
QUICK: dict[str, Any] = {
    "min_records": 10,
    "submitted_seconds": 0.0,
    "validating_seconds": 0.0,
    "scheduled_seconds": 0.0,
    "stopping_seconds": 0.0,
    "flush_seconds": 0.1,
}


def asked(count: int = LINES) -> bytes:
    body = {"model": "large", "max_tokens": 20}
    return b"".join(
        json.dumps(
            {
                "custom_id": f"r{number}",
                "method": "POST",
                "url": CHAT,
                "body": body | {"messages": [{"role": "user", "content": f"say {number}"}]},
            }
        ).encode()
        + b"\n"
        for number in range(1, count + 1)
    )


def run(folder: Path, **knobs: Any) -> tuple[dict[str, Any], list[dict[str, Any]], Counter[str]]:
    """A batch on a fresh stack: itself, its output, and how often each request was paid for."""
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG)
    options = Options(
        data_dir=folder / "data",
        port=0,
        engine="null",
        catalog=catalog,
        minute_seconds=1.0,
        durable=False,
        bedrock_knobs=QUICK | knobs,
    )
    with Stack(options) as stack:
        key = (options.data_dir / "dev.key").read_text().strip()
        source = folder / "in.jsonl"
        source.write_bytes(asked())
        with Client.connect(stack.url, key) as client:
            file = client.upload(source)
            batch = client.create_batch(input_file_id=file["id"], endpoint=CHAT)
            *_, ended = client.watch(batch["id"], 0.2)
            output = lines(client.content(ended["output_file_id"]))
        assert stack.bedrock is not None
        paid = Counter(
            ran.content for ran in stack.bedrock.ran() if not ran.record_id.startswith("P")
        )
    return ended, output, paid


FAULTS: dict[str, dict[str, Any]] = {
    "answers to creating are lost": {"lose_answer_every_nth": 2},
    "events are lost": {"lose_event_every_nth": 1},
    "events come twice, and in disorder": {
        "duplicate_event_every_nth": 1,
        "swap_event_every_nth": 3,
    },
    "creating is throttled": {"throttle_create_every_nth": 2},
    "the account has one slot": {"slots_per_model": 1},
    "jobs end in the middle": {"partial_every_nth": 2},
    "records fail": {"fail_records_percent": 20.0},
}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[pytest.mark.long] if number else [])  # 4 s each, and a minute
        for number, fault in enumerate(FAULTS)
    ],
)
def test_no_request_is_lost_and_none_is_paid_for_twice_though(tmp_path, fault):
    ended, output, paid = run(tmp_path, **FAULTS[fault])
    counts = ended["request_counts"]
    assert (ended["status"], counts["completed"], counts["failed"]) == ("completed", LINES, 0)
    assert [line["custom_id"] for line in output] == names(LINES)
    assert "say 7" in text_of(output[6])
    assert set(paid.values()) == {1}
    assert len(paid) == LINES
