"""The engines behind the container: the app around it, a process of its own, other servers."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from backburner_model.engines.asgi import AsgiEngine
from backburner_model.engines.chat import read_chat, refuse
from backburner_model.settings import InvalidSettingError, Settings
from backburner_model.wire import foreign_answer
from tests.late import Late
from tests.model.servers import MODEL_DIR

if TYPE_CHECKING:
    import fastapi
    from model_hosting_container_standards import sagemaker
else:
    fastapi = Late("fastapi")
    sagemaker = Late("model_hosting_container_standards.sagemaker")


def foreign_app() -> "fastapi.FastAPI":
    """An app like vLLM's: its own OpenAI routes, and `/ping` and `/invocations` of its own."""
    app = fastapi.FastAPI()
    app.state.is_well = True
    router = fastapi.APIRouter()

    @router.get("/ping")
    @router.post("/invocations")
    async def replaced():
        return fastapi.Response(status_code=418)

    @app.get("/health")
    async def health(request: fastapi.Request):
        return fastapi.Response(status_code=200 if request.app.state.is_well else 503)

    @app.post("/v1/chat/completions")
    async def chat(request: fastapi.Request):
        asked = await request.json()
        if asked["messages"] == "boom":
            raise ValueError
        return fastapi.responses.JSONResponse({"echo": asked["messages"]}, headers={"x-extra": "1"})

    app.include_router(router)
    return app


def test_inside_a_foreign_app_its_own_routes_are_the_engine(monkeypatch, caplog, line_of):
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", str(MODEL_DIR))
    caplog.set_level(logging.WARNING)  # the package sets the root logger's as it is imported
    app = sagemaker.bootstrap(foreign_app())
    lines = [line_of(1), line_of(2), line_of(3)]
    lines[1]["body"] = {"messages": "boom"}

    async def run() -> Any:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            ready = await client.get("/ping")
            single = await client.post("/invocations", json=lines[0]["body"])
            shard = await client.post(
                "/invocations",
                content="\n".join(map(json.dumps, lines)),
                headers={"content-type": "application/jsonl"},
            )
            app.state.is_well = False
            return ready, single, shard, await client.get("/ping")

    ready, single, shard, unwell = asyncio.run(run())
    assert (ready.status_code, ready.content, unwell.status_code) == (200, b"", 503)
    assert single.json() == {"echo": [{"role": "user", "content": "hello"}]}
    outcomes = [json.loads(line) for line in shard.text.splitlines()]
    assert [(o["line"], o["status_code"]) for o in outcomes] == [(1, 200), (2, 500), (3, 200)]


def test_the_artifacts_script_finds_its_package_without_installation(tmp_path):
    script = "import runpy; runpy.run_path('model.py'); print('found')"
    (tmp_path / "model.py").write_bytes((MODEL_DIR / "model.py").read_bytes())
    (tmp_path / "backburner_model").symlink_to(MODEL_DIR / "backburner_model")
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert ran.stdout == "found\n", ran.stderr


def test_an_app_without_a_health_route_is_healthy():
    assert asyncio.run(AsgiEngine(fastapi.FastAPI()).is_healthy())


@pytest.mark.parametrize(
    ("status_code", "body", "expected_status", "expected_body"),
    [
        (200, b'{\n "a": 1\r\n}\n', 200, {"a": 1}),
        (500, b"<html>", 500, None),
        (200, b"fine", 502, None),
        (429, b"", 429, None),
        (200, b"[1]", 502, None),
    ],
)
def test_a_foreign_answer_always_fits_in_a_line(status_code, body, expected_status, expected_body):
    answer = foreign_answer(status_code, body)
    assert answer.status_code == expected_status
    assert b"\n" not in answer.body
    read = json.loads(answer.body)
    assert read == expected_body if expected_body else read["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function"}]),
        ("logit_bias", {"1": 2.0}),
        ("top_logprobs", 3),
        ("response_format", {"type": "json_schema"}),
        ("model", "another"),
    ],
)
def test_what_the_local_engine_cannot_do_is_refused_by_name(member, value):
    body = {"messages": [{"role": "user", "content": "x"}], member: value}
    refusal = refuse(read_chat(json.dumps(body)), "mistral-tiny")
    assert refusal is not None
    assert json.loads(refusal.body)["error"]["param"] == member


def test_messages_may_come_in_parts_and_developers_are_the_system():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": parts}]
    body = read_chat(json.dumps({"messages": messages, "stop": "x", "seed": None}))
    assert body.turns == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a\nb"},
    ]
    assert body.stops == ["x"]


def test_settings_come_from_the_environment_and_survive_it():
    read = Settings.from_environment(
        {"BACKBURNER_MAX_BATCH": "3", "BACKBURNER_DRAIN_SECONDS": "1.5", "BACKBURNER_ENGINE": ""}
    )
    assert (read.max_batch, read.drain_seconds, read.engine) == (3, 1.5, "asgi")
    assert Settings.from_environment(read.as_environment()) == read


@pytest.mark.parametrize(
    ("name", "text"),
    [("MAX_BATCH", "many"), ("MAX_BATCH", "0"), ("PRECISION", "int1"), ("DRAIN_SECONDS", "nan")],
)
def test_a_wrong_setting_is_named(name, text):
    with pytest.raises(InvalidSettingError, match=f"BACKBURNER_{name}"):
        Settings.from_environment({f"BACKBURNER_{name}": text})


def test_the_engine_process_dies_with_its_server(shipped_server, start_server):
    server = start_server("--engine", "openvino")
    found = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True)
    server.process.kill()
    ends_at = time.monotonic() + 10
    while _is_there(int(found.stdout)):
        assert time.monotonic() < ends_at
        time.sleep(0.05)


def test_after_a_crash_of_the_engine_process_it_is_started_anew(shipped_server, line_of):
    # Given a shard that is running
    replies = []
    lines = [line_of(n, "x", max_tokens=900, ignore_eos=True) for n in range(32)]
    running = threading.Thread(target=lambda: replies.append(shipped_server.invoke_shard(lines)))
    running.start()
    time.sleep(0.3)
    # When the engine dies
    found = subprocess.run(
        ["pgrep", "-P", str(shipped_server.process.pid)], capture_output=True, text=True
    )
    os.kill(int(found.stdout), signal.SIGKILL)
    running.join()
    # Then its requests may be tried again, and a new engine answers
    assert {o["status_code"] for o in replies[0].outcomes} == {500}
    assert shipped_server.send("GET", "/ping").status == 503
    ends_at = time.monotonic() + 15
    while shipped_server.send("GET", "/ping").status != 200 and time.monotonic() < ends_at:
        time.sleep(0.1)
    assert shipped_server.invoke_shard([line_of(1)]).outcomes[0]["status_code"] == 200


def _is_there(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
