"""Files and batches by litellm, which many gateways use."""

import json

import litellm
from conftest import KEY, URL, a_file, until

WHERE = {"custom_llm_provider": "openai", "api_base": f"{URL}/v1", "api_key": KEY}


def test_a_batch_runs_from_its_file_to_its_output():
    file = litellm.create_file(file=("in.jsonl", a_file(5)), purpose="batch", **WHERE)
    batch = litellm.create_batch(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=file.id,
        metadata={"team": "blue"},
        **WHERE,
    )
    done = until(
        lambda: (
            (now := litellm.retrieve_batch(batch_id=batch.id, **WHERE)).status == "completed"
            and now
        ),
        "the batch's end",
    )
    content = litellm.file_content(file_id=done.output_file_id, **WHERE).content
    lines = [json.loads(line) for line in content.split(b"\n")[:-1]]
    assert [line["custom_id"] for line in lines] == [f"r{n}" for n in range(1, 6)]
    assert done.id in [one.id for one in litellm.list_batches(limit=5, **WHERE).data]


def test_a_batch_is_cancelled():
    file = litellm.create_file(file=("in.jsonl", a_file(1000)), purpose="batch", **WHERE)
    batch = litellm.create_batch(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, **WHERE
    )
    assert litellm.cancel_batch(batch_id=batch.id, **WHERE).status in ("cancelling", "cancelled")
