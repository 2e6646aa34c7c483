"""What a newcomer sees: the demo, and the model that is shipped answering through the stack."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import CHAT, lines, text_of, wait_until

ROOT = Path(__file__).parents[2]
MODEL_DIR = ROOT / "model" / "mistral-tiny"

pytestmark = pytest.mark.slow


@pytest.mark.long  # `make demo` runs it at every commit
def test_the_demo_says_yes_to_everything_and_exits_with_0(tmp_path):
    command = [sys.executable, "-m", "backburner_local.demo"]
    result = subprocess.run(
        [*command, "--engine", "null", "--data-dir", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=170,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    said = re.findall(r"^  (yes| no)  (.*)$", result.stdout, re.MULTILINE)
    assert [answer for answer, _ in said] == ["yes"] * 6
    checks = "\n".join(check for _, check in said)
    assert "good lines came out exactly once, in input order" in checks
    assert "bad lines is in the error file, and nothing else" in checks
    assert re.search(r"instances went 0 → .*→ 0$", checks, re.MULTILINE)
    assert "To: you@example.com" in result.stdout
    assert str(tmp_path / "data") in result.stdout


@pytest.mark.skipif(not MODEL_DIR.is_dir(), reason="model/mistral-tiny is not there")
def test_the_shipped_model_answers_a_dozen_sample_requests(tmp_path):
    sample = (ROOT / "events" / "sample_batch.jsonl").read_bytes().split(b"\n")[:12]
    path = tmp_path / "sample.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in sample))
    options = Options(
        data_dir=tmp_path / "data", port=0, minute_seconds=1.0, max_instances=1, durable=False
    )
    with Stack(options) as stack, Client.connect(stack.url, _key(options)) as client:
        batch_id = client.create_batch(
            input_file_id=client.upload(path)["id"], endpoint=CHAT, completion_window="24h"
        )["id"]
        wait_until(lambda: client.batch(batch_id)["status"] == "completed", "the end", 150)
        batch = client.batch(batch_id)
        output = lines(client.content(batch["output_file_id"]))

    assert batch["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    assert [line["custom_id"] for line in output] == [
        json.loads(one)["custom_id"] for one in sample
    ]
    for line in output:
        answer = line["response"]["body"]
        assert text_of(line).strip()
        assert answer["model"] == "mistral-tiny"
        assert answer["choices"][0]["finish_reason"] in ("stop", "length")
        assert answer["usage"]["prompt_tokens"] > 0
        assert answer["usage"]["completion_tokens"] > 0


def _key(options: Options) -> str:
    return (options.data_dir / "dev.key").read_text().strip()
