"""Killed while its batch runs as jobs of Bedrock, a stack pays for no line twice.

On AWS the jobs would run on without it; here they stop with it, and go on when it is back.
"""

from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
import pytest

from backburner_local.emulators.bedrock.ledger import Ran
from backburner_local.emulators.bedrock.lines import read_lines
from tests.local.stacks import CHAT, Up, lines, names, requests, wait_until

CATALOG = """
[models.mistral-tiny]
backend = "bedrock_batch"
context_window = 1024
routes = ["/v1/chat/completions"]
shard = { lines = 60 }
jobs = { model_id = "mistral.mistral-large-2407-v1:0", least_lines = 1 }
"""
KNOBS = ("min_records=1", "seconds_per_record=0.03", "concurrency=2", "drain_seconds=0")
#: The creator of every second job never hears of it, and nobody of the end of every second one.
LOST = ("lose_answer_every_nth=2", "lose_event_every_nth=2")
COUNT = 150

pytestmark = pytest.mark.long


def ran(up: Up) -> list[Ran]:
    """What the emulated model was paid for."""
    found = read_lines(up.data_dir / "bedrock" / "ledger.jsonl")
    return [msgspec.json.decode(line, type=Ran) for line in found]


def has_run(up: Up, count: int) -> bool:
    return len(ran(up)) >= count


@pytest.mark.parametrize("faults", [(), pytest.param(LOST, id="lost")])
def test_a_killed_stack_takes_its_jobs_up_again(tmp_path: Path, faults: tuple[str, ...]):
    (tmp_path / "catalog.toml").write_text(CATALOG)
    (tmp_path / "in.jsonl").write_bytes(requests(COUNT))
    options = [part for knob in (*KNOBS, *faults) for part in ("--bedrock-knob", knob)]
    up = Up(tmp_path / "data", "--catalog", str(tmp_path / "catalog.toml"), *options)
    try:
        up.start()
        batch_id = up.client.create_batch(
            input_file_id=up.client.upload(tmp_path / "in.jsonl")["id"],
            endpoint=CHAT,
            completion_window="24h",
        )["id"]
        for count in (5, 40):
            wait_until(partial(has_run, up, count), f"{count} answers")
            up.kill()
            up.start()
        wait_until(lambda: up.client.batch(batch_id)["status"] == "completed", "the end", 120)
        batch = up.client.batch(batch_id)
        assert batch["request_counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
        output = lines(up.client.content(batch["output_file_id"]))
        assert [line["custom_id"] for line in output] == names(COUNT)
        paid = Counter(one.content for one in ran(up))
        assert (len(paid), set(paid.values())) == (COUNT, {1})
        assert up.stop() == 0
    finally:
        up.end()
