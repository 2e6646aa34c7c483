"""Batches of a model that runs as jobs of Bedrock, on the whole stack of one machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import lines, names, request, requests, text_of

CATALOG = """
[models.mistral-tiny]
backend = "bedrock_batch"
context_window = 1024
routes = ["/v1/chat/completions"]
price = { input = 1.0, output = 3.0 }
jobs = { model_id = "mistral.mistral-large-2407-v1:0", least_lines = 5, fewer = "pad" }
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("bedrock")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG)
    options = Options(
        data_dir=folder / "data",
        port=0,
        engine="null",
        catalog=catalog,
        minute_seconds=1.0,
        durable=False,
        bedrock_knobs={
            "min_records": 5,
            "submitted_seconds": 0.0,
            "validating_seconds": 0.0,
            "scheduled_seconds": 0.0,
        },
    )
    with Stack(options) as stack:
        key = (options.data_dir / "dev.key").read_text().strip()
        with Client.connect(stack.url, key) as found:
            yield found


def run(client: Client, folder: Path, data: bytes) -> dict[str, Any]:
    """A batch of these lines, once it has ended."""
    path = folder / "in.jsonl"
    path.write_bytes(data)
    batch = client.create_batch(
        input_file_id=client.upload(path)["id"],
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )
    (*_, ended) = client.watch(batch["id"], every_seconds=0.05)
    return ended


def test_a_batch_runs_as_a_job_and_comes_out_as_from_any_other_backend(client, tmp_path):
    batch = run(client, tmp_path, requests(12) + request(13, n=2))
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 13, "completed": 12, "failed": 1}
    assert batch["usage"]["output_tokens"] > 0
    output = lines(client.content(batch["output_file_id"]))
    assert [line["custom_id"] for line in output] == names(12)
    assert text_of(output[11]) == "say 12"
    (failed,) = lines(client.content(batch["error_file_id"]))
    assert failed["custom_id"] == "r13"
    assert failed["response"]["status_code"] == 400
    assert failed["response"]["body"]["error"]["param"] == "n"


def test_a_batch_too_small_for_a_job_is_filled_up_and_nobody_sees(client, tmp_path):
    batch = run(client, tmp_path, requests(2))
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert len(lines(client.content(batch["output_file_id"]))) == 2
