"""The container on one machine: `python -m backburner_model.server`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import FrameType

from backburner_model.parent import die_with_parent

if __name__ == "__main__" and "--die-with-parent" in sys.argv:
    die_with_parent()  # before the imports that take time

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from backburner_model import handlers
from backburner_model.container import Container
from backburner_model.engine import EngineStartError
from backburner_model.engines import ENGINES, engine_for
from backburner_model.settings import InvalidSettingError, Settings
from backburner_model.wire import bad_request

logger = logging.getLogger(__name__)

#: Where `model.py` may be: beside this package, or in it when installed from a wheel.
_SCRIPT_DIRS = (Path(__file__).resolve().parent.parent, Path(__file__).resolve().parent)


def create_app(settings: Settings) -> FastAPI:
    """The routes of the container contract and OpenAI's own, over one engine."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        container = Container(engine_for(settings, app), settings)
        app.state.backburner = container
        # Not awaited: while the model loads, /ping answers 503.
        app.state.starting = asyncio.create_task(container.start())
        try:
            yield
        finally:
            app.state.starting.cancel()
            await container.close()

    app = FastAPI(
        title="Backburner model", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.add_api_route("/v1/models", list_models, methods=["GET"])
    app.add_api_route("/metrics", show_metrics, methods=["GET"])
    app.add_api_route("/v1/{rest:path}", answer_directly, methods=["POST"])
    _mount_handlers(app)
    return app


async def list_models(request: Request) -> Response:
    container: Container = request.app.state.backburner
    models = [
        {"id": name, "object": "model", "created": 0, "owned_by": "backburner"}
        for name in await container.engine.model_names()
    ]
    return JSONResponse({"object": "list", "data": models})


async def show_metrics(request: Request) -> Response:
    container: Container = request.app.state.backburner
    text = container.engine.metrics()
    return Response(text, 404 if text is None else 200, media_type="text/plain")


async def answer_directly(request: Request) -> Response:
    """OpenAI's own routes: the same requests without the container contract around them."""
    container: Container = request.app.state.backburner
    content_type = request.headers.get("content-type", "application/json")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return handlers.respond(bad_request("The content type must be application/json."))
    work = asyncio.ensure_future(container.answer(request.url.path, await request.body()))
    return handlers.respond(await handlers.unless_gone(request, work))


def _mount_handlers(app: FastAPI) -> None:
    """Let the container standards find `model.py` and mount it, as they do on AWS."""
    script_dir = next(folder for folder in _SCRIPT_DIRS if (folder / "model.py").is_file())
    os.environ["SAGEMAKER_MODEL_PATH"] = str(script_dir)
    from model_hosting_container_standards.sagemaker import bootstrap

    bootstrap(app)


class DrainingServer(uvicorn.Server):
    """A server that goes on answering while it drains, and then exits with 0."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, settings: Settings) -> None:
        super().__init__(config)
        self.has_failed = False
        self._app = app
        self._settings = settings
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._announcing = asyncio.create_task(self._announce())

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drain, where uvicorn would stop listening; a second Ctrl-C leaves at once."""
        if self._loop is None:
            self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self._begin_drain, sig)

    def _begin_drain(self, sig: int) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        elif sig == signal.SIGINT:
            self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        await self._app.state.backburner.drain()
        self.should_exit = True

    async def _announce(self) -> None:
        """Say in one line that requests are taken in, and where."""
        started_at = time.perf_counter()
        try:
            await self._app.state.starting
        except EngineStartError as error:
            logger.error("engine.not_started error=%s", error)
            self.has_failed = self.should_exit = True
            return
        except Exception:
            logger.exception("engine.not_started")
            self.has_failed = self.should_exit = True
            return
        seconds = time.perf_counter() - started_at
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        sys.stdout.write(
            f"ready http://{host}:{port} engine={self._settings.engine} "
            f"model={self._settings.model_name} loaded_in={seconds:.2f}s\n"
        )
        sys.stdout.flush()


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Run until SIGTERM; the exit status is 0 unless the engine could not start."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=5,
        backlog=2048,
    )
    server = DrainingServer(config, app, settings)
    server.run()
    return 1 if server.has_failed else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m backburner_model.server",
        description="Serve a model by the SageMaker container contract and OpenAI's routes.",
        epilog="Every setting can also be given as BACKBURNER_<NAME>; see model/README.md.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 picks a free one")
    parser.add_argument("--engine", choices=[name for name in ENGINES if name != "asgi"])
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--served-model-name")
    parser.add_argument("--base-url", help="of an OpenAI-compatible server (engine openai)")
    parser.add_argument("--upstream-model-name", help="what that server calls the model")
    parser.add_argument("--precision", choices=["default", "f32"])
    parser.add_argument("--max-batch", type=int, help="requests stepped together (openvino)")
    parser.add_argument("--max-concurrency", type=int, help="requests in the engine at once")
    parser.add_argument("--drain-seconds", type=float)
    parser.add_argument("--request-timeout-seconds", type=float)
    parser.add_argument("--null-delay-seconds", type=float)
    parser.add_argument("--die-with-parent", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    given = {
        field.name: value
        for field in dataclasses.fields(Settings)
        if (value := getattr(arguments, field.name, None)) is not None
    }
    try:
        settings = dataclasses.replace(Settings.from_environment(), **given)
        if settings.engine == "asgi":
            settings = dataclasses.replace(settings, engine="openvino")
        return serve(settings, host=arguments.host, port=arguments.port)
    except InvalidSettingError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
