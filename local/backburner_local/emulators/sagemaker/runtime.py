"""InvokeEndpointAsync over HTTP: validate, commit, answer 202.

Signatures (SigV4) are not verified: whoever reaches the loopback port may invoke.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec
from aiohttp import web

from backburner_local import names
from backburner_local.emulators.sagemaker.control import ControlPlane
from backburner_local.emulators.sagemaker.hosting import HostedEndpoint
from backburner_local.emulators.sagemaker.invocation import Invocation, accept, check
from backburner_local.emulators.sagemaker.knobs import Every, Knobs
from backburner_local.emulators.sagemaker.queue import InvocationQueue
from backburner_local.emulators.wire import ApiError

logger = logging.getLogger(__name__)

_ERROR_TYPE = "{code}:http://internal.amazon.com/coral/com.amazon.coral.validate/"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    headers: dict[str, str]
    body: bytes


class Runtime:
    """The data plane: ``POST /endpoints/{name}/async-invocations``."""

    def __init__(self, control: ControlPlane, queue: InvocationQueue, knobs: Knobs) -> None:
        self._control = control
        self._queue = queue
        self._knobs = knobs
        self._loop = asyncio.get_running_loop()
        #: Held by the one thread that counts calls, for the faults that some of them meet.
        self._counting = threading.Lock()
        self._throttle = Every(knobs.throttle_every_nth)
        self._refuse = Every(knobs.unavailable_every_nth)
        self._refuse_late = Every(knobs.unavailable_after_enqueue_every_nth)
        self._duplicate = Every(knobs.duplicate_enqueue_every_nth)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/endpoints/{name}/async-invocations", self.invoke_async),
            web.post("/endpoints/{name}/invocations", self.invoke),
            web.post("/endpoints/{name}/invocations-response-stream", self.invoke),
        ]

    async def invoke_async(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return _response(self.answer(name, request.headers, await request.read()))

    def answer(self, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What an invocation is answered, however it came; any thread may call it.

        Args:
            name: of the endpoint.
            headers: of the request, looked up whatever their case.
            body: of the request.

        Raises:
            ConnectionRefusedError: the emulator has ended.
        """
        try:
            invocation = self._accept(name, headers, body)
        except ApiError as error:
            return _error(error)
        told = {"x-amzn-RequestId": str(names.new()), "Content-Type": "application/json"}
        if invocation.output_location:
            told["X-Amzn-SageMaker-OutputLocation"] = invocation.output_location
        if invocation.failure_location:
            told["X-Amzn-SageMaker-FailureLocation"] = invocation.failure_location
        return Answer(202, told, msgspec.json.encode({"InferenceId": invocation.inference_id}))

    async def invoke(self, request: web.Request) -> web.Response:
        """The synchronous call, which an asynchronous endpoint refuses."""
        await request.read()
        try:
            hosted = self._find(request.match_info["name"])
        except ApiError as error:
            return _response(_error(error))
        what = "asynchronous" if hosted.endpoint.is_async else "emulated, hence asynchronous"
        message = f"Endpoint {hosted.endpoint.name} can only receive {what} invocations."
        return _response(_error(ApiError("ValidationError", message)))

    def _accept(self, name: str, headers: Mapping[str, str], body: bytes) -> Invocation:
        with self._counting:
            self._inject_faults()
        values = check(name, headers, body)
        hosted = self._find(name)
        if not hosted.endpoint.is_async:
            raise ApiError("ValidationError", f"Endpoint {name} has no AsyncInferenceConfig.")
        invocation = accept(
            values, hosted.endpoint, self._knobs, number=self._queue.next_id(), now=time.time()
        )
        self._enqueue(hosted, invocation, body or None)
        with self._counting:
            is_duplicate, is_refused = self._duplicate.hit(), self._refuse_late.hit()
        if is_duplicate:
            twin = dataclasses.replace(invocation, id=self._queue.next_id())
            self._enqueue(hosted, twin, body or None)
        if is_refused:
            raise ApiError("ServiceUnavailable", "The answer was lost.", status=503)
        return invocation

    def _enqueue(self, hosted: HostedEndpoint, invocation: Invocation, body: bytes | None) -> None:
        try:
            self._queue.accept(invocation, body)
        except sqlite3.Error as error:
            logger.exception("invocation.not_stored")
            raise ApiError("InternalFailure", str(error), status=500) from error
        with suppress(RuntimeError):  # the loop has ended: the next start takes it up
            self._loop.call_soon_threadsafe(hosted.enqueue, invocation)

    def _inject_faults(self) -> None:
        if self._throttle.hit():
            raise ApiError("ThrottlingException", "Rate exceeded", status=429)
        if self._refuse.hit():
            raise ApiError("ServiceUnavailable", "The service is unavailable.", status=503)

    def _find(self, name: str) -> HostedEndpoint:
        hosted = self._control.endpoints.get(name)
        if hosted is None or hosted.status == "Deleting":
            raise ApiError(
                "ValidationError",
                f"Endpoint {name} of account {self._knobs.account_id} not found.",
            )
        return hosted


def _error(error: ApiError) -> Answer:
    headers = {
        "x-amzn-RequestId": str(names.new()),
        "x-amzn-ErrorType": _ERROR_TYPE.format(code=error.code),
        "Content-Type": "application/json",
    }
    return Answer(error.status, headers, msgspec.json.encode({"Message": error.message}))


def _response(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
