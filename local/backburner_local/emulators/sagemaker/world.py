"""Everything of one emulated region on one event loop, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from backburner_local.emulators import wire
from backburner_local.emulators.autoscaling.service import AutoScaling
from backburner_local.emulators.cloudwatch import notification
from backburner_local.emulators.cloudwatch.service import Alarm, CloudWatch
from backburner_local.emulators.cloudwatch.store import MetricStore
from backburner_local.emulators.objects import Objects
from backburner_local.emulators.sagemaker.control import ControlPlane
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.hosting import Surroundings
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.publisher import Publish, Publisher
from backburner_local.emulators.sagemaker.queue import InvocationQueue
from backburner_local.emulators.sagemaker.runtime import Runtime
from backburner_local.emulators.sagemaker.transform.events import EventSender, PutEvent
from backburner_local.emulators.sagemaker.transform.kept import KeptJobs
from backburner_local.emulators.sagemaker.transform.service import TransformJobs
from backburner_local.emulators.wire import ApiError, Message

logger = logging.getLogger(__name__)

#: The name boto3 gives a service, by the prefix of its X-Amz-Target.
_TARGETS = {
    "SageMaker": "sagemaker",
    "AnyScaleFrontendService": "application-autoscaling",
    "GraniteServiceVersion20100801": "cloudwatch",
}

_MAX_REQUEST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an emulator is given to work with."""

    objects: Objects
    publish: Publish
    data_dir: Path
    knobs: Knobs = field(default_factory=Knobs)
    #: Starts an instance of any endpoint that does not bring its own command or known image.
    instance_command: Sequence[str] = ()
    #: Commands by the container image of CreateModel.
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    endpoints: Sequence[Endpoint] = ()
    #: Takes events for the default bus of EventBridge; None: nobody does.
    put_event: PutEvent | None = None


class World:
    """One region of one account; made and used on one event loop."""

    def __init__(self, settings: Settings) -> None:
        knobs = self._knobs = settings.knobs
        self._session = aiohttp.ClientSession(
            # Below any server's own keep-alive, so that no call meets a closing connection.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
            timeout=aiohttp.ClientTimeout(),
            # A container's cookies go nowhere; to look for some would take a third of each call.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_field_size=64 * 1024,
            max_line_size=64 * 1024,
        )
        self._queue = InvocationQueue(settings.data_dir)
        self._publisher = Publisher(settings.publish, knobs)
        self.store = MetricStore(knobs.cloud_time_scale)
        around = Surroundings(
            knobs=knobs,
            session=self._session,
            queue=self._queue,
            objects=settings.objects,
            publisher=self._publisher,
            store=self.store,
            log_dir=settings.data_dir / "logs",
        )
        self.control = ControlPlane(
            around,
            instance_command=settings.instance_command,
            images=settings.images,
            on_delete=self._forget_target,
            on_model=self._resume_jobs,
        )
        self.transform = TransformJobs(
            around,
            KeptJobs(settings.data_dir / "transform"),
            EventSender(settings.put_event, knobs),
            self.control.container,
        )
        where = {"region": knobs.region, "account_id": knobs.account_id}
        self.cloudwatch = CloudWatch(self.store, on_action=self._on_action, **where)
        self.autoscaling = AutoScaling(
            self.control, self.cloudwatch, time_scale=knobs.cloud_time_scale, **where
        )
        self._operations: dict[str, dict[str, Callable[[Message], Message | None]]] = {
            "sagemaker": {**self.control.operations, **self.transform.operations},
            "application-autoscaling": dict(self.autoscaling.operations),
            "cloudwatch": self.cloudwatch.operations,
        }
        self.runtime = Runtime(self.control, self._queue, knobs)
        self._minutes = asyncio.create_task(self._count_minutes())
        for endpoint in settings.endpoints:
            self.control.host(endpoint)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_REQUEST_BYTES)
        app.add_routes(self.runtime.routes())
        app.add_routes(
            [
                web.post("/", self._json),
                web.post("/service/{prefix}/operation/{operation}", self._cbor),
                web.get("/_emulator/status", self._status),
            ]
        )
        return app

    def inference_ids(self) -> set[str]:
        """Of all that was accepted and is not told yet."""
        return self._queue.inference_ids()

    async def close(self) -> None:
        """Drain the instances; what is not finished or not told stays in the queue."""
        self._minutes.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._minutes
        await asyncio.gather(self.control.close(), self.transform.close())
        await self._publisher.close()
        self._queue.close()
        await self._session.close()

    # ---- operations

    def call(self, service: str, operation: str, request: Message) -> Message | None:
        """One operation, by boto3's name of the service and AWS's of the operation.

        Raises:
            ApiError: as the service would answer.
        """
        known = self._operations.get(service, {}).get(operation)
        if known is None:
            raise ApiError("UnknownOperationException", f"{operation} is not emulated.", status=404)
        try:
            return known(request)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            logger.exception("operation.misread service=%s operation=%s", service, operation)
            raise ApiError("ValidationException", f"Malformed request: {error!r}") from error

    async def _json(self, request: web.Request) -> web.Response:
        prefix, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        try:
            message = wire.decode_json(await wire.read_body(request))
            return wire.json_response(self.call(_TARGETS.get(prefix, ""), operation, message))
        except ApiError as error:
            return wire.json_error(error)

    async def _cbor(self, request: web.Request) -> web.Response:
        service = _TARGETS.get(request.match_info["prefix"], "")
        try:
            message = wire.decode_cbor(await wire.read_body(request))
            answer = self.call(service, request.match_info["operation"], message)
            return wire.cbor_response(answer)
        except ApiError as error:
            return wire.cbor_error(error)

    # ---- status

    def status(self) -> Message:
        """What a console shows of every endpoint."""
        return {
            name: {
                "status": hosted.status,
                "desired": hosted.pool.desired,
                "instances": hosted.pool.counts(),
                "waiting": hosted.load().waiting,
                "in_flight": hosted.load().in_flight,
                "history": hosted.history,
            }
            for name, hosted in self.control.endpoints.items()
        }

    async def _status(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return wire.json_response(self.status())

    # ---- time

    async def _count_minutes(self) -> None:
        """At the end of every simulated minute: metrics, alarms, scaling."""
        length = self._knobs.minute_seconds
        minute = math.floor(time.time() / length)
        while True:
            await asyncio.sleep((minute + 1) * length - time.time())
            now = time.time()
            if now < (minute + 1) * length:
                continue
            minute = math.floor(now / length)
            try:
                self._end_minute(minute * length, now)
            except Exception:
                logger.exception("minute.broke")

    def _end_minute(self, boundary: float, now: float) -> None:
        for hosted in self.control.endpoints.values():
            hosted.publish_minute(boundary - self._knobs.minute_seconds, now)
        self.cloudwatch.evaluate(boundary)
        self.autoscaling.act(now)

    def _on_action(self, action: str, alarm: Alarm, before: str) -> None:
        if self.autoscaling.trigger(action, alarm) or alarm.state == before:
            return
        if action.split(":")[2:3] == ["sns"]:
            where = {"region": self._knobs.region, "account_id": self._knobs.account_id}
            message = notification.state_change(alarm, before, **where)
            self._publisher.tell_unasked(action, message)

    def _forget_target(self, endpoint: Endpoint) -> None:
        self.autoscaling.forget(f"endpoint/{endpoint.name}/variant/{endpoint.variant}")

    def _resume_jobs(self, model_name: str) -> None:
        self.transform.resume(model_name)
