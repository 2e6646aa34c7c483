"""Servers of the model container as subprocesses on free loopback ports."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

MODEL_DIR = Path(__file__).resolve().parents[2] / "model"
SHIPPED_MODEL = MODEL_DIR / "mistral-tiny"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def outcomes(self):
        return [json.loads(line) for line in self.body.split(b"\n") if line]


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body=None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            lower = {name.lower(): text for name, text in response.getheaders()}
            return Reply(response.status, lower, response.read())
        finally:
            connection.close()

    def invoke(self, body, content_type="application/json", **headers: str) -> Reply:
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        return self.send("POST", "/invocations", data, content_type=content_type, **headers)

    def invoke_shard(self, lines) -> Reply:
        return self.invoke("\n".join(map(json.dumps, lines)), "application/jsonl")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "backburner_model.server", "--port", "0", *arguments]


def read_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready http://127.0.0.1:"), line
    return int(line.split()[1].rsplit(":", 1)[1])


def _start(*arguments: str) -> Server:
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True)
    try:
        return Server(process, read_port(process))
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    import os

    for name in [name for name in os.environ if name.startswith("BACKBURNER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(MODEL_DIR))


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*arguments: str) -> Server:
        servers.append(_start(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        _end(server.process)


@pytest.fixture(scope="session")
def null_server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(MODEL_DIR))
        server = _start("--engine", "null")
    yield server
    _end(server.process)


@pytest.fixture(scope="session")
def shipped_server() -> Iterator[Server]:
    if not SHIPPED_MODEL.is_dir():
        pytest.skip("model/mistral-tiny is not there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(MODEL_DIR))
        server = _start("--engine", "openvino", "--precision", "f32")
    yield server
    _end(server.process)


@pytest.fixture
def line_of() -> Callable[..., dict[str, object]]:
    def line(number: int, text: str = "hello", **body: object) -> dict[str, object]:
        messages = [{"role": "user", "content": text}]
        return {
            "line": number,
            "url": "/v1/chat/completions",
            "body": {"messages": messages, **body},
        }

    return line
