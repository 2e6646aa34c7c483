"""The life of a job, from its creation to its end: waits, validates, runs it, and tells."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from backburner_local.emulators.bedrock.events import Events
from backburner_local.emulators.bedrock.inputs import InvalidInput, read_files, validate
from backburner_local.emulators.bedrock.job import (
    Dwell,
    Facts,
    Job,
    Status,
    due_at,
    enter,
    following,
)
from backburner_local.emulators.bedrock.knobs import Knobs
from backburner_local.emulators.bedrock.models import FoundationModel
from backburner_local.emulators.bedrock.quotas import Quotas
from backburner_local.emulators.bedrock.run import Run
from backburner_local.emulators.bedrock.run import Surroundings as RunSurroundings
from backburner_local.emulators.bedrock.store import JobStore
from backburner_local.emulators.objects import Objects, ObjectUnavailable

logger = logging.getLogger(__name__)

#: A job whose work broke is looked at again after so many seconds.
_LONGEST_WAIT_SECONDS = 3600.0


class Clock:
    """The machine's clock, which tests may put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the lives of all jobs share."""

    knobs: Callable[[], Knobs]
    clock: Clock
    objects: Objects
    quotas: Quotas
    events: Events
    store: JobStore
    runs: RunSurroundings


def dwell_of(knobs: Knobs) -> Dwell:
    scale = knobs.time_scale
    return Dwell(
        submitted=knobs.submitted_seconds * scale,
        validating=knobs.validating_seconds * scale,
        scheduled=knobs.scheduled_seconds * scale,
        in_progress=knobs.in_progress_seconds * scale,
        stopping=knobs.stopping_seconds * scale,
    )


class Life:
    """Moves one job through its states; lives on one event loop."""

    def __init__(self, job: Job, model: FoundationModel, around: Surroundings) -> None:
        self.job = job
        self._model = model
        self._around = around
        self._changed = asyncio.Event()
        self._verdict: str | None = None
        #: Records that validation counted; the job tells them when it has left it.
        self._total = 0
        self._run: Run | None = None
        self._is_processed = False
        #: Validates the job, or runs it.
        self._work: asyncio.Task[None] | None = None
        self._living = asyncio.create_task(self._live())

    def look(self) -> None:
        """Something changed from outside: look again what must follow."""
        self._changed.set()

    def stop(self) -> None:
        """Let the job end: what the model works on is finished, nothing else is begun."""
        self._enter(Status.STOPPING)
        self._changed.set()

    async def close(self) -> None:
        """The emulator ends: the job goes on after its next start."""
        self._living.cancel()
        await asyncio.gather(self._living, return_exceptions=True)
        if self._run is not None:
            self._run.halt()
        if self._work is not None:
            await asyncio.wait([self._work], timeout=self._around.knobs().drain_seconds)
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _live(self) -> None:
        self._begin_work()
        while not self.job.is_over:
            self._changed.clear()
            now, dwell = self._around.clock.now(), dwell_of(self._around.knobs())
            status = following(self.job, now, self._facts(), dwell)
            if status is not None:
                self._enter(status)
                continue
            if self._run is not None and self._must_halt(now):
                self._run.halt()
            wait = min(due_at(self.job, now, dwell) - now, _LONGEST_WAIT_SECONDS)
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _must_halt(self, now: float) -> bool:
        return self.job.status is Status.STOPPING or now >= self.job.expires_at

    def _facts(self) -> Facts:
        return Facts(
            verdict=self._verdict,
            is_processed=self._is_processed,
            is_at_rest=self._work is None or self._work.done(),
        )

    def _enter(self, status: Status) -> None:
        job, knobs = self.job, self._around.knobs()
        now = self._around.clock.now()
        if status is Status.SCHEDULED:
            job.counts.total = self._total
        if status is Status.FAILED:
            job.message = self._verdict or job.fate.failure or ""
        enter(job, status, now, expired_ends_at_expiry=knobs.expired_end_time == "expiry")
        logger.info("job.state id=%s name=%s status=%s", job.id, job.name, status)
        try:
            self._around.store.save(job)
        except OSError as error:  # after a restart, it would be in its last state again
            logger.warning("job.not_saved id=%s error=%s", job.id, error)
        self._around.events.emit(job, now)
        self._begin_work()

    # ---- work

    def _begin_work(self) -> None:
        """Begin what the state asks for; after a restart, what was not finished."""
        if self._work is not None and not self._work.done():
            return
        if self.job.status is Status.VALIDATING:
            self._work = asyncio.create_task(self._validate())
        elif self.job.status is Status.IN_PROGRESS or self._was_running():
            self._work = asyncio.create_task(self._process())

    def _was_running(self) -> bool:
        """Whether the job was being stopped while it ran when the emulator ended."""
        is_stopping = self.job.status is Status.STOPPING and self._run is None
        return is_stopping and self._around.store.spool(self.job.id).exists()

    async def _validate(self) -> None:
        try:
            total = await asyncio.to_thread(
                validate,
                self._around.objects,
                self.job,
                self._model,
                self._around.quotas,
                self._around.knobs(),
            )
        except InvalidInput as error:
            self._verdict = str(error)
        except ObjectUnavailable as error:
            self._verdict = f"The input could not be read: {error}"
        except Exception as error:
            logger.exception("job.broke id=%s", self.job.id)
            self._verdict = f"The emulator broke: {error!r}"
        else:
            self._total, self._verdict = total, ""
        self._changed.set()

    async def _process(self) -> None:
        around = self._around
        spool = around.store.spool(self.job.id)
        try:
            files = await asyncio.to_thread(read_files, around.objects, self.job)
            self._run = Run(self.job, self._model, files, around.runs, spool)
            if self._must_halt(around.clock.now()):
                self._run.halt()
            self._is_processed = await self._run.go()
        except (InvalidInput, ObjectUnavailable) as error:
            self._fail(str(error))
        except Exception as error:
            logger.exception("job.broke id=%s", self.job.id)
            self._fail(f"The emulator broke: {error!r}")
        self._changed.set()

    def _fail(self, why: str) -> None:
        self.job.fate = replace(self.job.fate, failure=why)
        self._is_processed = True
