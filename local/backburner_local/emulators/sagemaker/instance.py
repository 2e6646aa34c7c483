"""One instance of an endpoint: a model server in a process of its own, from start to SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

import aiohttp

from backburner_local.emulators.sagemaker import launch
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.knobs import Knobs


class InstanceState(enum.Enum):
    """Where an instance is in its life."""

    #: Bought, but the machine is not there yet.
    PROVISIONING = "provisioning"
    #: Its process runs and does not answer the ping yet.
    STARTING = "starting"
    IN_SERVICE = "in_service"
    #: It takes nothing new and has until SIGKILL to finish.
    STOPPING = "stopping"
    GONE = "gone"


class Instance:
    """A process that is started, pinged, and stopped; `run` is its whole life."""

    def __init__(
        self,
        endpoint: Endpoint,
        knobs: Knobs,
        session: aiohttp.ClientSession,
        log_dir: Path,
        on_change: Callable[[Instance], None],
    ) -> None:
        self.id = f"i-{uuid.uuid4().hex[:17]}"
        self.endpoint = endpoint
        self.state = InstanceState.PROVISIONING
        #: Invocations it works on.
        self.in_flight = 0
        #: Whether it ever answered a ping.
        self.was_healthy = False
        self.url = ""
        self.pid: int | None = None
        self._knobs = knobs
        self._session = session
        self._log_path = log_dir / endpoint.name / endpoint.variant / f"{self.id}.log"
        self._on_change = on_change
        self._stop = asyncio.Event()
        #: Set when it takes nothing new any more: it drains, dies, or is dead.
        self.leaving = asyncio.Event()

    def stop(self) -> None:
        """Ask it to drain and go: scale-in."""
        if self.state is not InstanceState.GONE:
            self._become(InstanceState.STOPPING)
            self._stop.set()

    async def run(self) -> None:
        """Live until stopped, dead or unhealthy; return when the process is gone."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._knobs.provisioning_delay_seconds):
                    await self._stop.wait()
            if not self._stop.is_set():
                await self._run_process()
        finally:
            self._become(InstanceState.GONE)

    async def _run_process(self) -> None:
        self._become(InstanceState.STARTING)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        process = await self._spawn(port)
        self.pid = process.pid
        exited = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(self._stop.wait())
        sickened = asyncio.create_task(self._stay_healthy())
        try:
            await asyncio.wait((exited, stopped, sickened), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            sickened.cancel()
            await asyncio.gather(stopped, sickened, return_exceptions=True)
            await self._terminate(process, exited)

    async def _spawn(self, port: int) -> asyncio.subprocess.Process:
        shim = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        with self._open_log() as log:
            return await asyncio.create_subprocess_exec(
                *shim,
                *self.endpoint.command(port),
                stdin=asyncio.subprocess.PIPE,  # its end tells the instance that we are gone
                stdout=log,
                stderr=log,
                env={**os.environ, **self.endpoint.environment},
                start_new_session=True,  # Ctrl-C is for us; we tell the instances
            )

    def _open_log(self) -> IO[bytes]:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        return self._log_path.open("ab")

    async def _stay_healthy(self) -> None:
        """Return when the instance never answers, or no longer answers, the ping."""
        limit = self.endpoint.startup_timeout_seconds or self._knobs.startup_timeout_seconds
        deadline = time.monotonic() + limit
        pause = 0.02
        while not await self._ping():
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.5)
        self.was_healthy = True
        self._become(InstanceState.IN_SERVICE)
        failures = 0
        while failures < self._knobs.ping_failures_allowed:
            await asyncio.sleep(self._knobs.ping_interval_seconds)
            failures = 0 if await self._ping() else failures + 1

    async def _ping(self) -> bool:
        try:
            async with asyncio.timeout(self._knobs.ping_timeout_seconds):
                async with self._session.get(f"{self.url}/ping") as response:
                    return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _terminate(
        self, process: asyncio.subprocess.Process, exited: asyncio.Task[int]
    ) -> None:
        self._become(InstanceState.STOPPING)
        if not exited.done():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait([exited], timeout=self._knobs.stop_grace_seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # also what it left behind
        await exited
        if process.stdin is not None:
            process.stdin.close()

    def _become(self, state: InstanceState) -> None:
        if self.state is not state and self.state is not InstanceState.GONE:
            self.state = state
            if state in (InstanceState.STOPPING, InstanceState.GONE):
                self.leaving.set()
            self._on_change(self)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
