"""As many instances as are desired: started, replaced when they die, drained when too many."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp

from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.instance import Instance, InstanceState
from backburner_local.emulators.sagemaker.knobs import Knobs

logger = logging.getLogger(__name__)

_GOING = (InstanceState.STOPPING, InstanceState.GONE)


class InstancePool:
    """The fleet of one endpoint configuration; lives on one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        knobs: Knobs,
        session: aiohttp.ClientSession,
        log_dir: Path,
        on_change: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self.desired = 0
        self.instances: list[Instance] = []
        #: Instances in a row that died before they were ever healthy.
        self.failed_starts = 0
        self._knobs = knobs
        self._session = session
        self._log_dir = log_dir
        self._on_change = on_change
        self._tasks: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None

    @property
    def ready(self) -> list[Instance]:
        return [one for one in self.instances if one.state is InstanceState.IN_SERVICE]

    @property
    def is_settled(self) -> bool:
        """Whether exactly the desired instances are there, all in service."""
        return len(self.instances) == self.desired == len(self.ready)

    def counts(self) -> dict[str, int]:
        """Instances by state."""
        return dict(Counter(one.state.value for one in self.instances))

    def idlest(self, limit: int) -> Instance | None:
        """The instance with most room below this many invocations at once."""
        best: Instance | None = None
        for one in self.instances:
            if one.state is InstanceState.IN_SERVICE and one.in_flight < limit:
                limit, best = one.in_flight, one
        return best

    def scale(self, desired: int) -> None:
        """Start or drain until this many are left; returns at once."""
        self.desired = desired
        self._reconcile()
        self._on_change()

    async def close(self) -> None:
        """Drain everything and return when the last process is gone."""
        self.scale(0)
        if self._retry is not None:
            self._retry.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _reconcile(self) -> None:
        staying = [one for one in self.instances if one.state not in _GOING]
        for one in self._least_useful(staying)[self.desired :]:
            one.stop()
        missing = self.desired - len(staying)
        if missing <= 0 or self._retry is not None:
            return
        if self.failed_starts == 0:
            for _ in range(missing):
                self._start()
            return
        pause = min(0.5 * 2 ** min(self.failed_starts, 16), self._knobs.replace_backoff_seconds)
        self._retry = asyncio.get_running_loop().call_later(pause, self._start_again)

    def _start_again(self) -> None:
        self._retry = None
        staying = [one for one in self.instances if one.state not in _GOING]
        for _ in range(self.desired - len(staying)):
            self._start()

    @staticmethod
    def _least_useful(staying: list[Instance]) -> list[Instance]:
        """Best first: in service before starting, busy before idle. AWS does not say."""
        return sorted(
            staying, key=lambda one: (one.state is InstanceState.IN_SERVICE, one.in_flight)
        )[::-1]

    def _start(self) -> None:
        instance = Instance(self.endpoint, self._knobs, self._session, self._log_dir, self._changed)
        self.instances.append(instance)
        task = asyncio.create_task(instance.run())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("instance.broke", exc_info=task.exception())

    def _changed(self, instance: Instance) -> None:
        if instance.state is InstanceState.IN_SERVICE:
            self.failed_starts = 0
        if instance.state is InstanceState.GONE:
            self.instances.remove(instance)
            if not instance.was_healthy and len(self.instances) < self.desired:
                self.failed_starts += 1
            self._reconcile()
        self._on_change()
