"""The model in the repository: its files, its golden answers, and the engine that runs it."""

import hashlib
import json
import threading
import time
from collections.abc import Mapping

import pytest

from tests.model.servers import SHIPPED_MODEL

pytestmark = pytest.mark.skipif(
    not SHIPPED_MODEL.is_dir(), reason="model/mistral-tiny is not there"
)

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}


def with_schema(schema: Mapping[str, object]) -> dict[str, object]:
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}


def test_its_files_are_those_of_its_card():
    card = json.loads((SHIPPED_MODEL / "card.json").read_text())
    for name, expected in card["sha256"].items():
        assert hashlib.sha256((SHIPPED_MODEL / name).read_bytes()).hexdigest() == expected, name


def test_its_greedy_answers_are_the_golden_ones(shipped_server):
    golden = json.loads((SHIPPED_MODEL / "golden.json").read_text())
    lines = [
        {
            "line": number,
            "url": "/v1/chat/completions",
            "body": {
                "messages": one["messages"],
                "max_tokens": one["max_tokens"],
                "temperature": 0,
            },
        }
        for number, one in enumerate(golden)
    ]
    outcomes = shipped_server.invoke_shard(lines).outcomes
    answers = [outcome["body"]["choices"][0]["message"]["content"] for outcome in outcomes]
    assert answers == [one["answer"] for one in golden]


def test_usage_and_finish_reason_tell_the_truth(shipped_server, line_of):
    lines = [line_of(1, "hello", max_tokens=5, ignore_eos=True), line_of(2, "hello")]
    cut, ended = [o["body"] for o in shipped_server.invoke_shard(lines).outcomes]
    assert (cut["choices"][0]["finish_reason"], cut["usage"]["completion_tokens"]) == ("length", 5)
    assert ended["choices"][0]["finish_reason"] == "stop"
    usage = ended["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_prompt_that_is_too_long_is_refused_and_its_neighbours_are_not(shipped_server, line_of):
    lines = [line_of(1), line_of(2, "far too long " * 2000), line_of(3, max_tokens=100_000)]
    fine, *refused = shipped_server.invoke_shard(lines).outcomes
    assert fine["status_code"] == 200
    for outcome in refused:
        assert outcome["status_code"] == 400
        assert outcome["body"]["error"]["code"] == "context_length_exceeded"


def test_a_schema_binds_the_answer_and_one_that_cannot_be_compiled_harms_nobody(
    shipped_server, line_of
):
    lines = [
        line_of(1, max_tokens=20),
        line_of(2, max_tokens=20, response_format=with_schema({"type": "nonsense"})),
        line_of(3, max_tokens=20, response_format=with_schema(SCHEMA)),
        line_of(4, max_tokens=20, response_format=with_schema(SCHEMA)),
        line_of(5, max_tokens=20),
    ]
    outcomes = shipped_server.invoke_shard(lines).outcomes
    assert [outcome["status_code"] for outcome in outcomes] == [200, 400, 200, 200, 200]
    assert outcomes[1]["body"]["error"]["code"] == "invalid_schema"
    bound = outcomes[2]["body"]["choices"][0]["message"]["content"]
    assert bound.lstrip().startswith("{")
    assert outcomes[2]["body"]["choices"] == outcomes[3]["body"]["choices"]


def test_a_stop_string_ends_the_answer_before_it(shipped_server, line_of):
    whole = shipped_server.invoke_shard([line_of(1, max_tokens=30)]).outcomes[0]
    text = whole["body"]["choices"][0]["message"]["content"]
    stop = text[len(text) // 2 :][:3]
    cut = shipped_server.invoke_shard([line_of(1, max_tokens=30, stop=[stop])]).outcomes[0]
    choice = cut["body"]["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == text[: text.index(stop)]


def test_a_seed_repeats_a_sampled_answer_whoever_runs_beside_it(shipped_server, line_of):
    sampled = line_of(0, "hello", temperature=2, seed=11, max_tokens=20, ignore_eos=True)
    others = [line_of(n, f"other {n}", temperature=2, max_tokens=20) for n in range(1, 6)]
    alone = shipped_server.invoke_shard([sampled]).outcomes[0]
    among = shipped_server.invoke_shard([sampled, *others]).outcomes[0]
    assert alone["body"]["choices"] == among["body"]["choices"]


def test_log_probabilities_come_with_each_token(shipped_server, line_of):
    outcome = shipped_server.invoke_shard([line_of(1, max_tokens=4, logprobs=True)]).outcomes[0]
    choice = outcome["body"]["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(one["token"] for one in tokens).startswith(choice["message"]["content"])
    assert all(one["logprob"] <= 0 for one in tokens)


def test_embeddings_are_clearly_not_there(shipped_server):
    reply = shipped_server.send(
        "POST", "/v1/embeddings", b'{"input":"x"}', content_type="application/json"
    )
    assert (reply.status, reply.json["error"]["code"]) == (400, "no_embedding_model")


def test_ping_answers_while_the_engine_is_full(shipped_server, line_of):
    lines = [line_of(n, f"x {n}", max_tokens=60, ignore_eos=True) for n in range(64)]
    running = threading.Thread(target=lambda: shipped_server.invoke_shard(lines))
    running.start()
    slowest = 0.0
    while running.is_alive():
        started_at = time.perf_counter()
        assert shipped_server.send("GET", "/ping").status == 200
        slowest = max(slowest, time.perf_counter() - started_at)
        time.sleep(0.02)
    running.join()
    assert slowest < 2
