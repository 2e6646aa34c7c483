"""One file, three models, three backends: one output file in input order."""

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backburner_local.client import Client
from backburner_local.options import Options
from backburner_local.stack import Stack
from tests.late import Late
from tests.local.stacks import CHAT

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

LINES = 30_000
MODELS = ("own", "large", "offline")
CATALOG = f"""
[models.own]
backend = "sagemaker_async"
context_window = 4096
routes = ["{CHAT}"]
price = {{ input = 0.5, output = 0.5 }}

[models.large]
backend = "bedrock_batch"
context_window = 4096
routes = ["{CHAT}"]
price = {{ input = 1.0, output = 3.0 }}
slots = 3
jobs = {{ model_id = "mistral.mistral-large-2407-v1:0" }}
shard = {{ lines = 2000 }}

[models.offline]
backend = "sagemaker_transform"
context_window = 4096
routes = ["{CHAT}"]
price = {{ input = 0.25, output = 0.75 }}
slots = 2
jobs = {{ model_id = "offline", instance_type = "ml.g5.2xlarge" }}
shard = {{ lines = 2500 }}
"""


def line(number: int) -> bytes:
    body = {
        "model": MODELS[number % 3],
        "max_tokens": 8,
        "messages": [{"role": "user", "content": f"say {number}"}],
    }
    whole = {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}
    return json.dumps(whole).encode() + b"\n"


class Watch:
    """The most shards of each pool that were seen in flight at once."""

    def __init__(self, client: Client) -> None:
        self.most: dict[str, int] = {}
        self._client = client
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            for own in self._client.backlog():
                before = self.most.get(own["backend"], 0)
                self.most[own["backend"]] = max(before, own["shards_in_flight"])


@pytest.mark.long
def test_one_file_of_three_models_runs_on_three_backends(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    options = Options(
        data_dir=tmp_path / "data",
        port=0,
        engine="null",
        catalog=catalog,
        minute_seconds=1.0,
        durable=False,
        bedrock_knobs={"validating_seconds": 0.2, "scheduled_seconds": 0.2},
    )
    source = tmp_path / "in.jsonl"
    with source.open("wb") as stream:
        stream.writelines(map(line, range(1, LINES + 1)))
    with Stack(options) as stack:
        key = (options.data_dir / "dev.key").read_text().strip()
        ours = Client.connect(stack.url, key)
        client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key)
        with ours, client, Watch(ours) as watch:
            file = client.files.create(file=source, purpose="batch")
            batch = client.batches.create(
                input_file_id=file.id, endpoint=CHAT, completion_window="24h"
            )
            batch = _wait(client, batch.id)
            assert batch.output_file_id is not None
            output = client.files.content(batch.output_file_id).content
        judge(batch, output)
        assert watch.most["bedrock_batch"] <= 3
        assert watch.most["sagemaker_transform"] <= 2
        assert all(watch.most.values()), "each backend ran some of it"
        assert stack.bedrock is not None
        ran = stack.bedrock.totals().by_content
        assert (len(ran), set(ran.values())) == (LINES // 3, {1})


def _wait(client: "openai.OpenAI", batch_id: str) -> Any:
    until = time.monotonic() + 400
    while (batch := client.batches.retrieve(batch_id)).status not in ("completed", "failed"):
        assert time.monotonic() < until, batch.request_counts
        time.sleep(0.5)
    return batch


def judge(batch: Any, output: bytes) -> None:
    counts = batch.request_counts
    assert (batch.status, counts.total, counts.completed) == ("completed", LINES, LINES)
    found = [json.loads(data) for data in output.split(b"\n")[:-1]]
    assert [one["custom_id"] for one in found] == [f"r{number}" for number in range(1, LINES + 1)]
    cost, prices = 0.0, {"own": (0.5, 0.5), "large": (1.0, 3.0), "offline": (0.25, 0.75)}
    for number, one in enumerate(found, start=1):
        body = one["response"]["body"]
        assert f"say {number}" in body["choices"][0]["message"]["content"]
        read, written = prices[MODELS[number % 3]]
        usage = body["usage"]
        cost += usage["prompt_tokens"] * read + usage["completion_tokens"] * written
    told = batch.model_extra["x_progress"]["cost_so_far"]
    assert told == pytest.approx(cost / 1e6, rel=1e-6)
