"""One instance of a job, as the job sees it: its container's parameters, and invocations."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.hosting import Surroundings
from backburner_local.emulators.sagemaker.instance import Instance
from backburner_local.emulators.sagemaker.knobs import Every
from backburner_local.emulators.sagemaker.pool import InstancePool
from backburner_local.emulators.sagemaker.transform.job import Job
from backburner_local.emulators.sagemaker.transform.records import Payload
from backburner_local.emulators.sagemaker.worker import is_lost

logger = logging.getLogger(__name__)

#: Headers that aiohttp would add by itself.
_NOT_ADDED = (aiohttp.hdrs.ACCEPT, aiohttp.hdrs.ACCEPT_ENCODING, aiohttp.hdrs.USER_AGENT)

_PARAMETERS_SECONDS = 10.0
_REFUSED = range(400, 500)
_THROTTLED = 429


class InvocationFailed(Exception):  # noqa: N818 - told in the job's log
    """The container did not answer as it should."""

    def __init__(self, message: str, *, is_refused: bool = False) -> None:
        super().__init__(message)
        #: Whether the container found the record bad.
        self.is_refused = is_refused


class NoInstance(Exception):  # noqa: N818 - told as the job's FailureReason
    """No instance of the job becomes healthy."""


class Container:
    """A machine of the job; when it dies, another one takes its place."""

    def __init__(
        self, job: Job, number: int, around: Surroundings, command: tuple[str, ...], bad: Every
    ) -> None:
        self._job = job
        self._around = around
        self._bad = bad
        self._changed = asyncio.Event()
        endpoint = Endpoint(
            name=job.name,
            variant=f"algo-{number}",
            instance_command=command,
            environment=job.container_environment(),
            instance_type=job.instance_type,
        )
        logs = around.log_dir / "TransformJobs"
        self._pool = InstancePool(endpoint, around.knobs, around.session, logs, self._changed.set)

    def start(self) -> None:
        self._pool.scale(1)

    async def ready(self) -> Instance:
        """The instance once it is in service; raises NoInstance."""
        while not self._pool.ready:
            if self._pool.failed_starts >= self._around.knobs.transform.failed_starts_allowed:
                raise NoInstance
            self._changed.clear()
            await self._changed.wait()
        return self._pool.ready[0]

    async def close(self) -> None:
        """SIGTERM, SIGKILL after the grace; return when the process is gone."""
        await self._pool.close()

    async def offered(self) -> Mapping[str, Any]:
        """What `GET /execution-parameters` tells; nothing where the container has none."""
        instance = await self.ready()
        try:
            async with (
                asyncio.timeout(_PARAMETERS_SECONDS),
                self._around.session.get(f"{instance.url}/execution-parameters") as response,
            ):
                if response.status != 200:
                    return {}
                return msgspec.json.decode(await response.read(), type=dict[str, Any])
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError) as error:
            logger.warning("execution_parameters.unreadable job=%s error=%r", self._job.name, error)
            return {}

    async def answer(self, payload: Payload) -> bytes:
        """The container's answer to a payload, tried as often as the job wants.

        Raises:
            InvocationFailed: it had none.
            NoInstance: there is nobody to ask.
        """
        knobs = self._around.knobs.transform
        if self._bad.hit():
            self._job.counts.failed_invocations += 1
            raise InvocationFailed("Bad HTTP status received from algorithm: 400", is_refused=True)
        left = self._job.retries
        while True:
            try:
                return await self._invoke(payload)
            except InvocationFailed as error:
                self._job.counts.failed_invocations += 1
                if not left or (error.is_refused and not knobs.retries_refused):
                    raise
                left -= 1
            await asyncio.sleep(knobs.retry_pause_seconds)

    async def _invoke(self, payload: Payload) -> bytes:
        instance = await self.ready()
        instance.in_flight += 1
        self._job.counts.invocations += 1
        self._job.counts.lines += sum(1 for line in payload.body.split(b"\n") if line.strip())
        seconds = self._job.timeout_seconds * self._around.knobs.time_scale
        try:
            async with (
                asyncio.timeout(seconds),
                self._around.session.post(
                    f"{instance.url}/invocations",
                    data=io.BytesIO(payload.body) if payload.is_large else payload.body,
                    headers=self._headers(),
                    skip_auto_headers=_NOT_ADDED,
                ) as response,
            ):
                body = await response.read()
        except TimeoutError as error:
            raise InvocationFailed("Unable to get response from algorithm: it timed out") from error
        except (aiohttp.ClientError, OSError) as error:
            await is_lost(instance)  # if it is, nobody else should be sent to it
            raise InvocationFailed("Unable to get response from algorithm") from error
        finally:
            instance.in_flight -= 1
        if not 200 <= response.status < 300:
            is_refused = response.status in _REFUSED and response.status != _THROTTLED
            text = f"Bad HTTP status received from algorithm: {response.status}"
            raise InvocationFailed(text, is_refused=is_refused)
        return body

    def _headers(self) -> dict[str, str]:
        source, target = self._job.request["TransformInput"], self._job.request["TransformOutput"]
        told = {"Content-Type": source.get("ContentType"), "Accept": target.get("Accept")}
        return {name: value for name, value in told.items() if value}
