"""The run of one job: instances, objects, outputs."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
import zlib
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from typing import Any, Protocol

from backburner_local.emulators.objects import NoRoom, ObjectUnavailable
from backburner_local.emulators.sagemaker.hosting import Surroundings
from backburner_local.emulators.sagemaker.knobs import Every
from backburner_local.emulators.sagemaker.transform.container import (
    Container,
    InvocationFailed,
    NoInstance,
)
from backburner_local.emulators.sagemaker.transform.inputs import Input, output_of
from backburner_local.emulators.sagemaker.transform.job import Job
from backburner_local.emulators.sagemaker.transform.records import BadRecord, Handling, Payload

logger = logging.getLogger(__name__)

_ROOM_PAUSE_SECONDS = 0.5

#: FailureReasons, as jobs of AWS have them.
ALGORITHM_ERROR = "AlgorithmError: See job logs for more information"
CLIENT_ERROR = "ClientError: See job logs for more information"
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a"
    " different ML instance type."
)


class JobFailed(Exception):  # noqa: N818 - told as the job's FailureReason
    """The job ends Failed."""


class Watcher(Protocol):
    """Whoever keeps the job."""

    def changed(self, job: Job) -> None: ...

    def finished(self, job: Job, key: str) -> None:
        """The output of an object is there."""


class Run:
    """What a job does from its first instance to its last output; lives on one event loop."""

    def __init__(
        self,
        job: Job,
        inputs: Sequence[Input],
        around: Surroundings,
        command: Sequence[str],
        *,
        bad_record: Every,
        lost_output: Every,
        watcher: Watcher,
    ) -> None:
        self._job = job
        self._inputs = [one for one in inputs if one.key not in job.finished]
        self._around = around
        self._lost_output = lost_output
        self._watcher = watcher
        self._containers = [
            Container(job, number, around, tuple(command), bad_record)
            for number in range(1, job.instance_count + 1)
        ]
        #: Why objects failed: whether each was the record's fault.
        self._failures: list[bool] = []

    async def run(self) -> None:
        """Return when everything is transformed and the instances are gone.

        Raises:
            JobFailed: it is not, or not all.
        """
        try:
            await self._transform()
        except NoInstance as error:
            raise JobFailed(ALGORITHM_ERROR) from error
        finally:
            await asyncio.gather(*(one.close() for one in self._containers))
        if self._failures:
            raise JobFailed(CLIENT_ERROR if all(self._failures) else ALGORITHM_ERROR)

    async def _transform(self) -> None:
        for container in self._containers:
            container.start()
        await _all_of(container.ready() for container in self._containers)
        self._job.started_at = self._job.started_at or time.time()
        self._watcher.changed(self._job)
        count = len(self._containers)
        await _all_of(
            self._work(container, self._inputs[number::count])
            for number, container in enumerate(self._containers)
        )

    async def _work(self, container: Container, inputs: Sequence[Input]) -> None:
        """Transform an instance's share: so many invocations at once, of one object or several."""
        offered = await container.offered()
        handling, at_once = self._job.handling(offered), self._job.at_once(offered)
        waiting, room = iter(inputs), asyncio.Semaphore(at_once)

        async def take() -> None:
            for one in waiting:
                await self._transform_one(container, one, handling, room, at_once)

        await _all_of(take() for _ in range(min(at_once, len(inputs))))

    async def _transform_one(
        self,
        container: Container,
        one: Input,
        handling: Handling,
        room: asyncio.Semaphore,
        at_once: int,
    ) -> None:
        """An object's output is written whole, or not at all."""
        try:
            data = self._unpacked(
                await asyncio.to_thread(self._around.objects.get, one.bucket, one.key)
            )
            answers = await self._answers(container, handling, data, room, at_once)
            await self._store(one, b"".join(answers))
        except (
            InvocationFailed,
            BadRecord,
            ObjectUnavailable,
            OSError,
            EOFError,
            zlib.error,
        ) as error:
            logger.warning(
                "transform.failed job=%s %s/%s: %s", self._job.name, one.bucket, one.key, error
            )
            is_refused = isinstance(error, BadRecord) or getattr(error, "is_refused", False)
            self._failures.append(is_refused)

    def _unpacked(self, data: bytes) -> bytes:
        is_packed = self._job.request["TransformInput"].get("CompressionType") == "Gzip"
        return gzip.decompress(data) if is_packed else data

    async def _answers(
        self,
        container: Container,
        handling: Handling,
        data: bytes,
        room: asyncio.Semaphore,
        at_once: int,
    ) -> list[bytes]:
        answers: dict[int, bytes] = {}
        waiting: Iterator[tuple[int, Payload]] = enumerate(handling.payloads(data))

        async def ask() -> None:
            for number, payload in waiting:
                async with room:
                    answers[number] = handling.answered(payload, await container.answer(payload))

        await _all_of(ask() for _ in range(at_once))
        return [answers[number] for number in sorted(answers)]

    async def _store(self, one: Input, output: bytes) -> None:
        if self._lost_output.hit():
            raise ObjectUnavailable("the output was lost")
        bucket, key = output_of(one, self._job.output_path)
        accept = self._job.request["TransformOutput"].get("Accept")
        while True:
            try:
                await asyncio.to_thread(self._around.objects.put, bucket, key, output, accept)
                break
            except NoRoom:  # of one machine: AWS has always some
                await asyncio.sleep(_ROOM_PAUSE_SECONDS)
        self._job.finished.append(one.key)
        self._watcher.finished(self._job, one.key)


async def _all_of(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Do all at once; the first that fails ends the others, and is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
