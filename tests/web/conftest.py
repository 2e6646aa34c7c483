"""The handler over a world of local adapters, and clients that ask it things."""

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from backburner import bootstrap
from backburner.domain.catalog import Catalog, Model
from backburner.domain.shard import Cut, Shard
from backburner.ports import AttemptState, Environment, Limits, Look, QueueName, Submitted
from backburner.services import collect, dispatch, finalize, keys, plan
from backburner.wire.openai import OpenAIDialect
from backburner.wire.shard import JsonlShards
from backburner_local.adapters.clock import FixedClock, SequentialIds
from backburner_local.adapters.events import LocalEvents
from backburner_local.adapters.files import DirectoryBlobs
from backburner_local.adapters.metrics import LocalMetrics
from backburner_local.adapters.outbox import OutboxMailer
from backburner_local.adapters.queue import SqliteQueue
from backburner_local.adapters.sqlite import Database
from backburner_local.adapters.store import SqliteStore
from functions.api import app

CHAT = "/v1/chat/completions"
PUBLIC_URL = "http://127.0.0.1:8088"


class HeldBackend:
    """A backend that keeps what it is given until the test answers."""

    def __init__(self) -> None:
        self.held: list[tuple[Shard, bytes | str]] = []

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        self.held.append((shard, payload))
        return Submitted()

    def look(self, shard: Shard) -> Look:
        return Look(state=AttemptState.UNKNOWN)

    def stop(self, shard: Shard) -> None:
        pass

    def instances(self, model: Model) -> int:
        return 1

    def wake(self, model: Model, wanted: int) -> None:
        pass


def completion(text: str = "hi", **message: Any) -> dict[str, Any]:
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
    world: "World"
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
        return answer_of(app.handler(event, None))

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


@dataclass
class World:
    """The environment, and what happens in it beside the API."""

    env: Environment
    queue: SqliteQueue
    backend: HeldBackend
    clock: FixedClock

    def client(self, tenant: str, **options: Any) -> Client:
        secret, _ = keys.create(self.env, tenant, secret=f"secret-of-{tenant}")
        return Client(secret, self, **options)

    def work(self) -> None:
        """Have the queues' functions run until nothing is left to do but to wait for models."""
        actions = {
            QueueName.PLAN: lambda m: plan.plan(self.env, m["tenant"], m["batch_id"]),
            QueueName.DISPATCH: lambda m: dispatch.dispatch(self.env, m["pool"]),
            QueueName.FINALIZE: lambda m: finalize.finalize(self.env, m["tenant"], m["batch_id"]),
        }
        while sum(self._work_one(queue, action) for queue, action in actions.items()):
            pass

    def _work_one(self, queue: QueueName, action: Any) -> bool:
        messages = self.queue.receive(queue, 10, 30)
        for message in messages:
            action(msgspec.json.decode(message.body))
        self.queue.delete(messages)
        return bool(messages)

    def answer(self, *, count: int | None = None, status: int = 200, body: Any = None) -> None:
        """Have the models answer the first `count` shards that they hold."""
        held = self.backend.held[:count]
        del self.backend.held[:count]
        for shard, payload in held:
            data = self.env.blobs.get(payload) if isinstance(payload, str) else payload
            lines = []
            for request in map(json.loads, data.splitlines()):
                told = body or completion(f"re {request['custom_id']}")
                lines.append({"line": request["line"], "status_code": status, "body": told})
            key = f"raw/{shard.ref}"
            self.env.blobs.put(key, b"".join(json.dumps(one).encode() + b"\n" for one in lines))
            collect.collect_result(self.env, shard.ref, result_key=key)

    def keys(self, prefix: str) -> list[str]:
        return [stat.key for stat in self.env.blobs.list(prefix)]


MODEL = Model(
    name="tiny",
    backend="held",
    endpoint="tiny",
    context_window=4096,
    routes=(CHAT,),
    slots=4,
    slots_per_instance=4,
    max_instances=1,
    cut=Cut(lines=2, bytes=1_000_000, tokens=1_000_000),
)


@pytest.fixture
def limits() -> Limits:
    return Limits(canary_lines=2)


@pytest.fixture
def world(tmp_path, limits):
    clock = FixedClock()
    database = Database(tmp_path / "store.db", durable=False)
    queue = SqliteQueue(database, clock)
    backend = HeldBackend()
    blobs = DirectoryBlobs(tmp_path, "bucket", clock, b"key", PUBLIC_URL, durable=False)
    models = (
        MODEL,
        replace(MODEL, name="acme/large"),
        replace(MODEL, name="embedder", routes=("/v1/embeddings",)),
        replace(MODEL, name="mistral-tiny"),
    )
    env = Environment(
        store=SqliteStore(database),
        blobs=blobs,
        queue=queue,
        backends={"held": backend},
        mailer=OutboxMailer(tmp_path / "outbox", "backburner@example.com", clock),
        events=LocalEvents(),
        metrics=LocalMetrics(),
        clock=clock,
        ids=SequentialIds(),
        catalog=Catalog({model.name: model for model in models}),
        dialects={"openai": OpenAIDialect()},
        shards=JsonlShards(),
        limits=limits,
        public_url=PUBLIC_URL,
    )
    bootstrap.install(env)
    yield World(env, queue, backend, clock)
    bootstrap.install(None)
    database.close()


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
