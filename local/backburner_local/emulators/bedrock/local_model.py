"""What answers the records of jobs: one local model, whatever model a job names."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import aiohttp

from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.instance import Instance, InstanceState
from backburner_local.emulators.sagemaker.knobs import Knobs as InstanceKnobs

#: Real seconds without a record after which an instance is stopped.
_IDLE_SECONDS = 60.0


class ModelUnavailable(Exception):  # noqa: N818 - an outcome of the record
    """The model can't be asked; the record fails with a 503."""


class LocalModel(Protocol):
    """Answers requests of OpenAI's API; used on one event loop."""

    async def answer(self, route: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer.

        Raises:
            ModelUnavailable: there is none.
        """

    async def close(self) -> None:
        """Let go of everything."""


class EngineModel:
    """An engine in this process: the echo, or one that asks an OpenAI-compatible server."""

    def __init__(self, *, base_url: str | None = None, upstream_model: str | None = None) -> None:
        """Prepare.

        Args:
            base_url: of the server; None: the echo, which answers with the last message.
            upstream_model: what the server calls its model; None: it has only one.
        """
        from backburner_model.engines import engine_for
        from backburner_model.settings import Settings

        settings = dataclasses.replace(
            Settings.from_environment(),
            engine="openai" if base_url else "null",
            base_url=base_url or "",
            upstream_model_name=upstream_model or "",
            served_model_name="local",
        )
        self._engine = engine_for(settings, None)  # type: ignore[arg-type]  # no app is needed
        self._starting = asyncio.Lock()
        self._is_started = False

    async def answer(self, route: str, body: bytes) -> tuple[int, bytes]:
        async with self._starting:
            if not self._is_started:
                await self._engine.start()
                self._is_started = True
        answer = await self._engine.answer(route, body)
        return answer.status_code, answer.body

    async def close(self) -> None:
        if self._is_started:
            await self._engine.close()


class InstanceModel:
    """A model server in a process of its own, which runs while records are to be answered."""

    def __init__(self, command: Sequence[str], log_dir: Path) -> None:
        """Prepare; nothing is started before the first record.

        Args:
            command: Starts the server, with ``{port}``: `GET /ping`, and OpenAI's routes.
            log_dir: Where its output goes.
        """
        self._endpoint = Endpoint(name="bedrock", instance_command=command)
        self._log_dir = log_dir
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout())
        self._instance: Instance | None = None
        self._running: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._starting = asyncio.Lock()
        self._in_use = 0
        self._idling: asyncio.TimerHandle | None = None

    async def answer(self, route: str, body: bytes) -> tuple[int, bytes]:
        self._in_use += 1
        if self._idling is not None:
            self._idling.cancel()
        try:
            instance = await self._in_service()
            headers = {"Content-Type": "application/json"}
            url = f"{instance.url}{route}"
            async with self._session.post(url, data=body, headers=headers) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ModelUnavailable("The local model went away.") from error
        finally:
            self._in_use -= 1
            if not self._in_use:
                loop = asyncio.get_running_loop()
                self._idling = loop.call_later(_IDLE_SECONDS, self._stop_if_idle)

    async def close(self) -> None:
        if self._idling is not None:
            self._idling.cancel()
        if self._instance is not None:
            self._instance.stop()
        if self._running is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        await self._session.close()

    async def _in_service(self) -> Instance:
        async with self._starting:
            if self._instance is None or self._instance.leaving.is_set():
                self._instance = Instance(
                    self._endpoint,
                    InstanceKnobs(),
                    self._session,
                    self._log_dir,
                    lambda _: self._changed.set(),
                )
                self._running = asyncio.create_task(self._instance.run())
            instance = self._instance
            while instance.state is not InstanceState.IN_SERVICE:
                if instance.leaving.is_set():
                    raise ModelUnavailable("The local model could not be started.")
                self._changed.clear()
                await self._changed.wait()
            return instance

    def _stop_if_idle(self) -> None:
        if not self._in_use and self._instance is not None:
            self._instance.stop()
