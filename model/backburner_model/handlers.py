"""What the contract's routes do, in front of our engines and inside a foreign server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from backburner_model.container import Container, Invocation
from backburner_model.engines import engine_for
from backburner_model.settings import Settings
from backburner_model.wire import SHARD_TYPE, Answer

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

#: One record at a time is right for JSON as well as for shards; all that are sent at once may have
#: 100 MB together (SageMaker's API reference, CreateTransformJob, MaxPayloadInMB).
_EXECUTION_PARAMETERS = (
    b'{"MaxConcurrentTransforms":16,"BatchStrategy":"SINGLE_RECORD","MaxPayloadInMB":6}'
)

#: Nginx's word for a client that did not wait; nobody reads it.
CLIENT_CLOSED_REQUEST = 499


async def ping(request: Request) -> Response:
    """Say whether requests are taken in: 200 or 503, with an empty body."""
    container = await container_of(request.app)
    return Response(status_code=200 if await container.is_ready() else 503)


async def invoke(request: Request) -> Response:
    """Answer one OpenAI body, a shard of them, or a body that only the engine knows."""
    container = await container_of(request.app)
    invocation = Invocation(
        body=await request.body(),
        content_type=request.headers.get("content-type", "application/json"),
        custom_attributes=request.headers.get("x-amzn-sagemaker-custom-attributes", ""),
        accept=request.headers.get("accept", ""),
    )
    answer = await unless_gone(request, asyncio.ensure_future(container.invoke(invocation)))
    is_outcomes = invocation.is_shard and answer is not None and answer.status_code == 200
    return respond(answer, SHARD_TYPE if is_outcomes else None)


async def execution_parameters(request: Request) -> Response:  # noqa: ARG001
    """Tell batch transform what suits the container, where a job leaves that open."""
    return Response(_EXECUTION_PARAMETERS, media_type="application/json")


_HANDLERS: dict[tuple[str, str], Callable[[Request], Awaitable[Response]]] = {
    ("GET", "/ping"): ping,
    ("GET", "/execution-parameters"): execution_parameters,
    ("POST", "/invocations"): invoke,
}


class ContractMiddleware:
    """Answers the contract's own routes before the app's own can."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = None
        if scope["type"] == "http":
            handler = _HANDLERS.get((scope["method"], scope["path"]))
        if handler is None:
            await self._app(scope, receive, send)
            return
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)


def respond(answer: Answer | None, media_type: str | None = None) -> Response:
    """Build the response; its length is always known, so it is never chunked.

    Args:
        answer: None if nobody waits for it any more.
        media_type: of the body; None: as the answer says.
    """
    if answer is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    told = {"content-type": media_type or answer.content_type}
    return Response(answer.body, answer.status_code, headers=told)


async def unless_gone(request: Request, work: asyncio.Future[Answer]) -> Answer | None:
    """The answer; None if the client hung up, and then the work is cancelled."""
    gone = asyncio.ensure_future(_hang_up(request))
    first_of: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(first_of, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        gone.cancel()
        if not work.done():
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


async def container_of(app: Starlette) -> Container:
    """The app's container; where nobody made one, the app itself is the engine."""
    container: Container | None = getattr(app.state, "backburner", None)
    if container is None:
        settings = Settings.from_environment()
        container = app.state.backburner = Container(engine_for(settings, app), settings)
        await container.start()
    return container


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
