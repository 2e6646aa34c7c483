"""The handler over a world of local adapters, and clients that ask it things."""

import base64
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from backburner.domain.shard import Cut
from backburner.ports import Limits
from backburner.services import keys
from functions.api import app
from tests.web import conformity
from tests.world import CHAT, EMBEDDINGS, MemoryWorld, World, a_catalog, a_model, a_raw_model


def completion(text: str | None = "hi", **message: Any) -> dict[str, Any]:
    """The answer that a chat model gives."""
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


@dataclass
class Answer:
    """What a client sees."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Client:
    """Asks as one tenant."""

    key: str | None
    world: "WebWorld"
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **query: Any) -> Answer:
        return self.ask("GET", path, query=query)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        data = b"" if body is None else json.dumps(body).encode()
        return self.ask("POST", path, data, {"content-type": "application/json"}, **options)

    def delete(self, path: str) -> Answer:
        return self.ask("DELETE", path)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        spool: str | None = None,
    ) -> Answer:
        sent = {**self.headers, **(headers or {})}
        if self.key is not None:
            sent.setdefault("authorization", f"Bearer {self.key}")
        event = make_event(method, path, body, sent, query or {})
        if spool is not None:
            self.world.env.blobs.put(spool, body)
            event["requestContext"]["backburner"] = {"bodyKey": spool}
            event["body"] = None
        answer = answer_of(app.handler(event, None))
        self.world.seen.add(
            conformity.check(method, path, answer.status, answer.headers, answer.body)
        )
        return answer

    def upload(self, content: bytes, *, spool: str | None = None, **fields: str) -> Answer:
        parts = [("purpose", fields.pop("purpose", "batch")), *fields.items()]
        body, kind = form([*parts, ("file", ("in.jsonl", content))])
        return self.ask("POST", "/v1/files", body, {"content-type": kind}, spool=spool)

    def batch(self, content: bytes, **options: Any) -> dict[str, Any]:
        """Upload a file and make a batch of it."""
        file_id = self.upload(content).json["id"]
        given = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **options}
        answer = self.post("/v1/batches", given)
        assert answer.status == 200, answer.body
        made: dict[str, Any] = answer.json
        return made


def form(parts: list[tuple[str, Any]], boundary: str = "xXboundaryXx") -> tuple[bytes, str]:
    """A multipart body of fields (name, text) and files (name, (filename or None, bytes))."""
    body = b""
    for name, value in parts:
        disposition = f'form-data; name="{name}"'
        if isinstance(value, tuple):
            filename, data = value
            if filename is not None:
                disposition += f'; filename="{filename}"'
        else:
            data = value.encode()
        body += f"--{boundary}\r\ncontent-disposition: {disposition}\r\n\r\n".encode()
        body += data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def make_event(
    method: str, path: str, body: bytes, headers: Mapping[str, str], query: Mapping[str, Any]
) -> dict[str, Any]:
    """The event that API Gateway makes of a request: payload format 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": urlencode(query),
        "headers": dict(headers),
        "queryStringParameters": {name: str(value) for name, value in query.items()},
        "requestContext": {
            "http": {"method": method, "path": path, "sourceIp": "127.0.0.1"},
            "requestId": "req_test",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def answer_of(result: dict[str, Any]) -> Answer:
    body = result.get("body") or ""
    data = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode()
    headers = {name.lower(): value for name, value in result["headers"].items()}
    return Answer(result["statusCode"], headers, data)


class WebWorld(World):
    """The world, and clients of its API."""

    @cached_property
    def seen(self) -> set[str]:
        """Operations and statuses of the answers that clients got, each as it is documented."""
        return set()

    def client(self, tenant: str, **options: Any) -> Client:
        secret, _ = keys.create(self.env, tenant, secret=f"secret-of-{tenant}")
        return Client(secret, self, **options)

    def reply(self, *, count: int | None = None, status: int = 200, body: Any = None) -> None:
        """Have the model answer the first `count` shards that it holds."""

        def one(request: dict[str, Any]) -> dict[str, Any]:
            told = body or completion(f"re {request['custom_id']}")
            return {"line": request["line"], "status_code": status, "body": told}

        for attempt in self.outstanding[:count]:
            self.answer(attempt, one)

    def finish(self, body: Any = None, *, status: int = 200) -> None:
        """Have the model answer whatever comes."""
        self.pump()
        while self.outstanding:
            self.reply(body=body, status=status)
            self.pump()

    def keys(self, prefix: str) -> list[str]:
        return [stat.key for stat in self.env.blobs.list(prefix)]


CATALOG = a_catalog(
    *(
        a_model(name, slots=4, slots_per_instance=4, cut=Cut(lines=2, bytes=10**6, tokens=10**6))
        for name in ("tiny", "acme/large", "mistral-tiny")
    ),
    a_model("embedder", routes=(EMBEDDINGS,)),
    a_raw_model(),
)


class WebMemoryWorld(WebWorld, MemoryWorld):
    """The same with nothing on disk."""


@pytest.fixture
def limits() -> Limits:
    return Limits(canary_lines=2)


@pytest.fixture
def world(limits):
    world = WebMemoryWorld(Path(os.devnull), limits=limits, catalog=CATALOG)
    yield world
    world.close()


@pytest.fixture
def world_on_disk(tmp_path, limits):
    world = WebWorld(tmp_path, limits=limits, catalog=CATALOG)
    yield world
    world.close()


@pytest.fixture
def acme(world):
    return world.client("acme")


@pytest.fixture
def other(world):
    return world.client("other")


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="backburner")
    return caplog


def requests(count: int, *, model: str = "tiny", content: str = "hello") -> bytes:
    """Lines of a batch."""
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    lines = [{"custom_id": f"r-{n}", "url": CHAT, "body": body} for n in range(1, count + 1)]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
