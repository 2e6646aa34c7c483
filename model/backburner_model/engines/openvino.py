"""An engine on this machine's CPU: OpenVINO GenAI with continuous batching, in its own process.

A step of the pipeline holds Python's global lock, so in this process `/ping` would wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

from backburner_model.engine import Engine, EngineStartError
from backburner_model.engines.frames import LENGTH_BYTES, Ask, Cancel, frame, read_replies
from backburner_model.settings import InvalidSettingError, Settings
from backburner_model.wire import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    Answer,
    bad_request,
    server_error,
)

logger = logging.getLogger(__name__)

#: Where the engine process finds this package, installed or not.
PACKAGE_DIR = str(Path(__file__).resolve().parents[2])

#: How long after a crash the engine process is started anew.
RESTART_SECONDS = 1.0

NO_EMBEDDINGS = bad_request(
    "No embedding model is configured here.", param="model", code="no_embedding_model"
)
ENGINE_DIED = server_error("The engine ended while answering.", code="engine_failure")
ENGINE_AWAY = server_error("The engine is starting.", code="engine_starting", status_code=503)


class OpenvinoEngine(Engine):
    """The near end of the engine process: hands requests over and answers back."""

    routes = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        model_folder(settings.model_dir)
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._count = 0

    async def start(self) -> None:
        process = await self._spawn()
        self._reading = asyncio.create_task(self._read(process))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await process.wait()

    async def is_healthy(self) -> bool:
        return self._process is not None

    async def model_names(self) -> list[str]:
        return [self._settings.model_name]

    async def answer(self, route: str, body: bytes) -> Answer:
        if route == EMBEDDINGS:
            return NO_EMBEDDINGS
        if self._process is None:
            return ENGINE_AWAY
        self._count += 1
        number = self._count
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self._send(frame(Ask(number, route, body)))
        try:
            return await answer
        except asyncio.CancelledError:
            self._send(frame(Cancel(number)))
            raise
        finally:
            self._waiting.pop(number, None)

    def _send(self, data: bytes) -> None:
        """Write without waiting: the container bounds how much can be on its way."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(data)

    async def _spawn(self) -> asyncio.subprocess.Process:
        """Start the engine process; return when it has loaded the model."""
        paths = [PACKAGE_DIR, os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            **self._settings.as_environment(),
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "backburner_model.engines.openvino_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        try:
            await _read_frame(process)
        except asyncio.IncompleteReadError as error:
            message = f"the engine process ended with status {await process.wait()}"
            raise EngineStartError(message) from error
        except asyncio.CancelledError:
            process.kill()
            raise
        self._process = process
        return process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand out answers; when the process has crashed, start it anew."""
        while True:
            try:
                while True:
                    for reply in read_replies(await _read_frame(process)):
                        answer = self._waiting.get(reply.number)
                        if answer is not None and not answer.done():
                            answer.set_result(Answer(reply.status_code, reply.body))
            except asyncio.IncompleteReadError:
                self._process = None
                logger.error("engine.died requests=%d", len(self._waiting))
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result(ENGINE_DIED)
            process = await self._respawn()

    async def _respawn(self) -> asyncio.subprocess.Process:
        while True:
            await asyncio.sleep(RESTART_SECONDS)
            try:
                return await self._spawn()
            except EngineStartError as error:
                logger.error("engine.not_restarted error=%s", error)


async def _read_frame(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        message = "the engine process has no pipe"
        raise EngineStartError(message)
    length = int.from_bytes(await process.stdout.readexactly(LENGTH_BYTES), "big")
    return await process.stdout.readexactly(length)


def model_folder(model_dir: Path) -> Path:
    """The folder with OpenVINO's form of the model: the given one, or `openvino` in it."""
    for folder in (model_dir, model_dir / "openvino"):
        if (folder / "openvino_model.xml").is_file():
            return folder
    message = f"no openvino_model.xml in {model_dir} or {model_dir / 'openvino'}"
    raise InvalidSettingError(message)
