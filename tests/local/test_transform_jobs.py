"""Batches of a model that runs as transform jobs, on the whole stack of one machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.local.stacks import lines, names, requests, text_of, wait_until

CATALOG = """
[models.mistral-tiny]
backend = "sagemaker_transform"
context_window = 1024
routes = ["/v1/chat/completions"]
jobs = { model_id = "mistral", instance_type = "ml.g5.2xlarge", object_lines = 5 }
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("transform")
    catalog = folder / "catalog.toml"
    catalog.write_text(CATALOG)
    options = Options(
        data_dir=folder / "data",
        port=0,
        engine="null",
        catalog=catalog,
        minute_seconds=1.0,
        durable=False,
    )
    with Stack(options) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack) -> Iterator[Client]:
    key = (stack.options.data_dir / "dev.key").read_text().strip()
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


def test_a_batch_runs_as_a_job_and_no_line_is_run_twice(stack, client, tmp_path):
    batch = run(client, tmp_path, requests(12))
    assert batch["request_counts"] == {"total": 12, "completed": 12, "failed": 0}
    output = lines(client.content(batch["output_file_id"]))
    assert [line["custom_id"] for line in output] == names(12)
    assert text_of(output[11]) == "say 12"
    (counts,) = stack.emulator.transform_counts().values()
    assert (counts.invocations, counts.lines) == (3, 12)
    wait_until(lambda: not list(stack.env.blobs.list("batches/")), "the end of the job's objects")
