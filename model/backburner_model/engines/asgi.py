"""An engine that is the surrounding ASGI app: vLLM's own routes, called in process."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from backburner_model.engine import Engine
from backburner_model.wire import CHAT, COMPLETIONS, EMBEDDINGS, Answer, foreign_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope

#: vLLM's own health route; an app without it is as healthy as its process.
HEALTH = "/health"


class AsgiEngine(Engine):
    """Calls the app as a web server would, without a socket in between."""

    routes = frozenset({CHAT, COMPLETIONS, EMBEDDINGS, "/v1/messages", "/v1/rerank", "/v1/score"})

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def start(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def answer(self, route: str, body: bytes) -> Answer:
        return foreign_answer(*await self._call("POST", route, body))

    async def is_healthy(self) -> bool:
        status_code, _ = await self._call("GET", HEALTH, b"")
        return status_code in {200, 404}

    async def _call(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        exchange = _Exchange(body)
        try:
            await self._app(_scope(self._app, method, path, body), exchange.receive, exchange.send)
        finally:
            exchange.is_over.set()
        return exchange.status_code, b"".join(exchange.parts)


class _Exchange:
    """The two channels of one call."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.is_over = asyncio.Event()
        self.status_code = 500
        self.parts: list[bytes] = []

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        # The client never hangs up before the answer: our task is cancelled instead.
        await self.is_over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status_code = message["status"]
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))


def _scope(app: ASGIApp, method: str, path: str, body: bytes) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 8080),
        "state": {},
        "app": app,
    }
