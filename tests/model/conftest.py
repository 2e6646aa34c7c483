"""Running servers and request lines for the tests of the model container."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.model.servers import MODEL_DIR, SHIPPED_MODEL, Server, end, start


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("BACKBURNER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(MODEL_DIR))


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start_one(*arguments: str) -> Server:
        servers.append(start(*arguments))
        return servers[-1]

    yield start_one
    for server in servers:
        end(server.process)


@pytest.fixture(scope="session")
def null_server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(MODEL_DIR))
        server = start("--engine", "null")
    yield server
    end(server.process)


@pytest.fixture(scope="session")
def shipped_server() -> Iterator[Server]:
    if not SHIPPED_MODEL.is_dir():
        pytest.skip("model/mistral-tiny is not there")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(MODEL_DIR))
        server = start("--engine", "openvino", "--precision", "f32")
    yield server
    end(server.process)


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
