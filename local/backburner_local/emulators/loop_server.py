"""An emulator's server: on the loopback, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import fcntl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import IO, Generic, Protocol, Self, TypeVar

from aiohttp import web


class World(Protocol):
    """What is served: made, used and closed on one event loop."""

    def app(self) -> web.Application: ...

    async def close(self) -> None: ...


W = TypeVar("W", bound=World)
T = TypeVar("T")


class LoopServer(ABC, Generic[W]):
    """Serves a world from `start` to `stop`; its methods may be called from any other thread."""

    def __init__(self, *, name: str, data_dir: Path, port: int = 0) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            name: Of the thread.
            data_dir: One server at a time works in it.
            port: 0 takes a free one.
        """
        self._name = name
        self._data_dir = data_dir
        self._port = port
        self._started: Future[tuple[W, asyncio.AbstractEventLoop, asyncio.Event]]
        self._thread: threading.Thread | None = None
        #: Where boto3's ``endpoint_url`` must point; known after `start`.
        self.url = ""

    @abstractmethod
    def _make_world(self) -> W:
        """The world, made on the event loop."""

    def start(self) -> Self:
        """Return when the server answers."""
        self._started = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name=self._name)
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        return self

    def stop(self) -> None:
        """End; what is not finished goes on after the next start."""
        if self._thread is None:
            return
        _, loop, stopping = self._started.result()
        loop.call_soon_threadsafe(stopping.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _on_loop(self, act: Callable[[W], T]) -> T:
        world, loop, _ = self._started.result()

        async def on_loop() -> T:
            return act(world)

        return asyncio.run_coroutine_threadsafe(on_loop(), loop).result()

    # ---- the thread

    async def _serve(self) -> None:
        try:
            with locked(self._data_dir):
                await self._run()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _run(self) -> None:
        world = self._make_world()
        try:
            runner = web.AppRunner(world.app(), access_log=None, shutdown_timeout=2)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
            await site.start()
            host, port = runner.addresses[0][:2]
            self.url = f"http://{host}:{port}"
            stopping = asyncio.Event()
            self._started.set_result((world, asyncio.get_running_loop(), stopping))
            await stopping.wait()
            await runner.cleanup()
        finally:
            await world.close()


def locked(data_dir: Path) -> IO[bytes]:
    """A file that is locked while open: two emulators must not share a folder."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = (data_dir / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise RuntimeError(f"another emulator works in {data_dir}") from error
    return lock
