"""The container as a process: HTTP, signals, and its parent's death."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.late import Late
from tests.model.servers import command, read_port

if TYPE_CHECKING:
    import openai
else:
    openai = Late("openai")

CHAT_BODY = {"messages": [{"role": "user", "content": "hello"}]}


def test_ping_is_200_and_empty(null_server):
    reply = null_server.send("GET", "/ping")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")


def test_batch_transform_is_told_what_suits_the_container(null_server):
    reply = null_server.send("GET", "/execution-parameters")
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    told = reply.json
    assert told["BatchStrategy"] == "SINGLE_RECORD"
    assert told["MaxConcurrentTransforms"] * told["MaxPayloadInMB"] <= 100


def test_a_container_of_a_transform_job_takes_shards_as_any_other(
    start_server, monkeypatch, line_of
):
    told = {"SAGEMAKER_BATCH": "true", "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    server = start_server("--engine", "null")
    body = "\n".join(map(json.dumps, [line_of(1), line_of(2)]))
    reply = server.invoke(body, "application/jsonl", accept="application/jsonl")
    assert [one["status_code"] for one in reply.outcomes] == [200, 200]


def test_an_engine_that_keeps_no_account_has_no_metrics(null_server):
    assert null_server.send("GET", "/metrics").status == 404


def test_an_engine_in_steps_tells_how_busy_it_was(start_server, monkeypatch):
    monkeypatch.setenv("BACKBURNER_NULL_STEP_SECONDS", "0.001")
    monkeypatch.setenv("BACKBURNER_NULL_BATCH", "8")
    server = start_server("--engine", "null")
    assert server.invoke(CHAT_BODY | {"max_tokens": 3}).status == 200
    values = dict(
        line.split() for line in server.send("GET", "/metrics").body.decode().splitlines()
    )
    assert (values["backburner_engine_batch"], values["backburner_engine_requests_total"]) == (
        "8",
        "1",
    )
    assert float(values["backburner_engine_request_seconds_total"]) >= 0.003


def test_a_single_body_is_answered_as_it_would_be_by_openai(null_server):
    reply = null_server.invoke(CHAT_BODY)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["object"] == "chat.completion"
    assert reply.json["choices"][0]["message"] == {"role": "assistant", "content": "hello"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, "chat.completion"),
        ({"prompt": "x"}, "text_completion"),
        ({"input": "x"}, "list"),
    ],
)
def test_the_shape_of_a_body_picks_its_route(null_server, body, kind):
    assert null_server.invoke(body).json["object"] == kind


def test_the_custom_attributes_pick_a_route(null_server):
    body = {"messages": [{"role": "user", "content": "x"}], "input": "x"}
    header = {"x_amzn_sagemaker_custom_attributes": "trace=1,route=/v1/embeddings,other=2"}
    assert null_server.invoke(body, **header).json["object"] == "list"
    header = {"x_amzn_sagemaker_custom_attributes": "route=/v1/nowhere"}
    refused = null_server.invoke(body, **header)
    assert (refused.status, refused.json["error"]["code"]) == (404, "unknown_url")


def test_a_body_of_another_kind_is_the_engines_alone(null_server):
    reply = null_server.invoke(b"\x89PNG\x00", "image/png; a=1")
    assert (reply.status, reply.body) == (200, b"\x89PNG\x00")
    assert reply.headers["content-type"] == "image/png; a=1"
    refused = null_server.invoke(b"null:status=422 \xff", "image/png")
    assert (refused.status, refused.headers["content-type"]) == (422, "application/json")


@pytest.mark.parametrize(
    "body", [b"{oops", b"[]", b'{"model": "x"}', b'{"messages":[],"stream":true}']
)
def test_a_bad_single_body_is_a_400(null_server, body):
    reply = null_server.invoke(body)
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")


def test_every_answer_has_a_length_few_headers_and_no_chunks(null_server, line_of):
    replies = [
        null_server.invoke(CHAT_BODY),
        null_server.invoke_shard([line_of(n, "x" * 500) for n in range(1000)]),
        null_server.invoke(b"oops"),
        null_server.send("GET", "/ping"),
    ]
    for reply in replies:
        assert int(reply.headers["content-length"]) == len(reply.body)
        assert "transfer-encoding" not in reply.headers
        assert sum(len(name) + len(text) for name, text in reply.headers.items()) < 1000
    assert replies[1].headers["content-type"] == "application/jsonl"


def test_ping_answers_while_a_big_shard_runs(null_server, line_of):
    lines = [line_of(n, "null:delay=0.5" if n % 100 == 0 else "x" * 1000) for n in range(10_000)]
    replies = []
    running = threading.Thread(target=lambda: replies.append(null_server.invoke_shard(lines)))
    running.start()
    slowest = 0.0
    while running.is_alive():
        started_at = time.perf_counter()
        assert null_server.send("GET", "/ping").status == 200
        slowest = max(slowest, time.perf_counter() - started_at)
        time.sleep(0.02)
    running.join()
    assert len(replies[0].outcomes) == 10_000
    assert slowest < 2


def test_sigterm_lets_requests_in_flight_finish_and_exits_with_0(start_server, line_of):
    server = start_server("--engine", "null")
    replies = []
    lines = [line_of(n, "null:delay=0.9") for n in range(3)]
    running = threading.Thread(target=lambda: replies.append(server.invoke_shard(lines)))
    running.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGTERM)  # supervisors repeat themselves
    time.sleep(0.2)
    assert server.send("GET", "/ping").status == 503
    assert server.invoke(CHAT_BODY).status == 503
    running.join()
    assert [outcome["status_code"] for outcome in replies[0].outcomes] == [200, 200, 200]
    assert server.process.wait(timeout=5) == 0


def test_what_a_drain_cannot_finish_is_answered_503(start_server, line_of):
    server = start_server("--engine", "null", "--drain-seconds", "0.2")
    replies = []
    lines = [line_of(1, "done"), line_of(2, "null:delay=60")]
    running = threading.Thread(target=lambda: replies.append(server.invoke_shard(lines)))
    running.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    running.join()
    assert [outcome["status_code"] for outcome in replies[0].outcomes] == [200, 503]
    assert server.process.wait(timeout=5) == 0


def test_a_server_dies_with_its_parent():
    script = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    server = command("--engine", "null", "--die-with-parent")
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *server],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    read_port(parent)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    # The pipe ends when nobody is left who could write to it: the server is gone.
    assert parent.stdout is not None
    assert parent.stdout.read() == ""
    parent.stdout.close()


def test_a_client_that_hangs_up_does_not_hold_up_the_drain(start_server, line_of):
    server = start_server("--engine", "null")
    with pytest.raises(openai.APITimeoutError), _client(server, timeout=0.3) as client:
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "null:delay=60"}]
        )
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=5) == 0


def test_the_openai_client_works_unchanged(null_server):
    with _client(null_server) as client:
        assert [model.id for model in client.models.list()] == ["mistral-tiny"]
        chat = client.chat.completions.create(
            model="mistral-tiny", messages=[{"role": "user", "content": "hello"}]
        )
        assert chat.choices[0].message.content == "hello"
        assert chat.usage is not None
        assert chat.usage.total_tokens == 4
        assert client.completions.create(model="m", prompt="hi").choices[0].text == "hi"
        embeddings = client.embeddings.create(model="m", input=["a", "b"])
        assert [len(one.embedding) for one in embeddings.data] == [8, 8]
        with pytest.raises(openai.BadRequestError, match="stream"):
            client.chat.completions.create(model="m", messages=[], stream=True)
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model="m", input="hi")


def test_an_openai_compatible_server_can_be_the_engine(start_server, null_server, line_of):
    server = start_server(
        "--engine", "openai", "--base-url", f"{null_server.url}/v1", "--upstream-model-name", "up"
    )
    lines = [line_of(1), line_of(2, "null:status=429"), line_of(3, "null:status=400"), line_of(4)]
    outcomes = server.invoke_shard(lines).outcomes
    assert [outcome["status_code"] for outcome in outcomes] == [200, 429, 400, 200]
    assert outcomes[0]["body"]["model"] == "up"
    assert [one["id"] for one in server.send("GET", "/v1/models").json["data"]] == ["mistral-tiny"]


def test_an_engine_behind_http_that_goes_away_is_a_503(start_server, line_of):
    upstream = start_server("--engine", "null")
    server = start_server("--engine", "openai", "--base-url", upstream.url)
    upstream.process.kill()
    upstream.process.wait()
    outcomes = server.invoke_shard([line_of(1)]).outcomes
    assert outcomes[0]["status_code"] == 503
    assert outcomes[0]["body"]["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--engine", "openai"], "BACKBURNER_BASE_URL"),
        (["--engine", "openvino", "--model-dir", "/nowhere"], "openvino_model.xml"),
    ],
)
def test_a_setting_that_cannot_be_ends_the_server_with_a_reason(arguments, reason):
    ended = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=20)
    assert ended.returncode != 0
    assert reason in ended.stderr


def _client(server, **options: Any) -> "openai.OpenAI":
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, **options)


def test_shard_lines_survive_any_unicode(null_server, line_of):
    text = 'é \u2028 \x85 🙂 \\ " \n \t'
    reply = null_server.invoke(
        json.dumps(line_of(1, text), ensure_ascii=False).encode(), "application/jsonl"
    )
    assert reply.outcomes[0]["body"]["choices"][0]["message"]["content"] == text
