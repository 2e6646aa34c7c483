"""The emulator as one object: a loopback server in a thread of its own.

It speaks what boto3 speaks to bedrock (the control plane) and to service-quotas, at one URL.
Signatures are not verified; it listens on loopback only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from backburner_local.emulators import wire
from backburner_local.emulators.bedrock.events import Events, Tell
from backburner_local.emulators.bedrock.job import describe
from backburner_local.emulators.bedrock.knobs import Every, Knobs
from backburner_local.emulators.bedrock.ledger import Ledger, Ran, Totals
from backburner_local.emulators.bedrock.life import Clock, Surroundings
from backburner_local.emulators.bedrock.local_model import EngineModel, LocalModel
from backburner_local.emulators.bedrock.models import ModelDirectory
from backburner_local.emulators.bedrock.quotas import Quota, Quotas
from backburner_local.emulators.bedrock.run import Surroundings as RunSurroundings
from backburner_local.emulators.bedrock.service import BatchInference
from backburner_local.emulators.bedrock.store import JobStore
from backburner_local.emulators.loop_server import LoopServer
from backburner_local.emulators.objects import Objects
from backburner_local.emulators.wire import ApiError, Message

logger = logging.getLogger(__name__)

_CREATE = "CreateModelInvocationJob"
_NUMBERS = frozenset({"maxResults"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an emulator is given to work with."""

    objects: Objects
    tell: Tell
    data_dir: Path
    knobs: Knobs = field(default_factory=Knobs)
    #: Makes what answers the records; called on the event loop.
    make_model: Callable[[], LocalModel] = EngineModel


class World:
    """Batch inference and its quotas in one Region of one account."""

    def __init__(self, settings: Settings) -> None:
        self.knobs = settings.knobs
        self.clock = Clock()
        self._throttle_create, self._throttle, self._lose_answer = Every(), Every(), Every()
        knobs = settings.knobs
        directory = self._directory = ModelDirectory(
            region=knobs.region,
            account_id=knobs.account_id,
            more=knobs.models,
            application_profiles=knobs.application_profiles,
        )
        self._check(knobs)
        self._model = settings.make_model()
        self.quotas = Quotas(directory, self._get_knobs)
        self.ledger = Ledger(settings.data_dir / "ledger.jsonl")
        self._events = Events(settings.tell, self._get_knobs)
        runs = RunSurroundings(
            knobs=self._get_knobs,
            objects=settings.objects,
            model=self._model,
            ledger=self.ledger,
            limit=asyncio.Semaphore(knobs.concurrency),
        )
        around = Surroundings(
            knobs=self._get_knobs,
            clock=self.clock,
            objects=settings.objects,
            quotas=self.quotas,
            events=self._events,
            store=JobStore(settings.data_dir / "jobs"),
            runs=runs,
        )
        self.service = BatchInference(directory, around)
        self._operations: dict[str, dict[str, Callable[[Message], Message]]] = {
            "bedrock": self.service.operations,
            "service-quotas": self.quotas.operations,
        }

    def _get_knobs(self) -> Knobs:
        return self.knobs

    def turn(self, **changes: Any) -> None:
        knobs = replace(self.knobs, **changes)
        self._check(knobs)
        self.knobs = knobs
        self.service.look()

    def _check(self, knobs: Knobs) -> None:
        for model_id in knobs.foreign_jobs:
            self._directory.known(model_id)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.service.look()

    async def close(self) -> None:
        await self.service.close()
        await self._events.close()
        await self._model.close()
        self.ledger.close()

    # ---- operations

    def call(self, service: str, operation: str, request: Message) -> Message:
        """One operation, by boto3's name of the service and AWS's of the operation.

        Raises:
            ApiError: as the service would answer.
        """
        known = self._operations.get(service, {}).get(operation)
        if known is None:
            raise ApiError("UnknownOperationException", f"{operation} is not emulated.", status=404)
        if self._is_throttled(service, operation):
            raise ApiError(
                "ThrottlingException",
                "Too many requests, please wait before trying again.",
                status=429,
            )
        try:
            return known(request)
        except OSError as error:  # a full disk
            logger.exception("operation.broke operation=%s", operation)
            message = f"The emulator can't write its data: {error}"
            raise ApiError("InternalServerException", message, status=500) from error

    def _is_throttled(self, service: str, operation: str) -> bool:
        if service != "bedrock":
            return False
        if operation == _CREATE:
            return self._throttle_create.hit(self.knobs.throttle_create_every_nth)
        return self._throttle.hit(self.knobs.throttle_every_nth)

    # ---- HTTP

    def app(self) -> web.Application:
        app = web.Application()
        job = "/model-invocation-job/{jobIdentifier}"
        app.add_routes(
            [
                web.post("/model-invocation-job", self._route(_CREATE)),
                web.get(job, self._route("GetModelInvocationJob")),
                web.get("/model-invocation-jobs", self._route("ListModelInvocationJobs")),
                web.post(f"{job}/stop", self._route("StopModelInvocationJob")),
                web.post("/tagResource", self._route("TagResource")),
                web.post("/untagResource", self._route("UntagResource")),
                web.post("/listTagsForResource", self._route("ListTagsForResource")),
                web.post("/", self._json),
                web.get("/_emulator/status", self._status),
            ]
        )
        return app

    def _route(self, operation: str) -> Callable[[web.Request], Any]:
        async def answer(request: web.Request) -> web.Response:
            try:
                message = await _message(request)
                told = self.call("bedrock", operation, message)
            except ApiError as error:
                return wire.rest_error(error)
            if operation == _CREATE and self._lose_answer.hit(self.knobs.lose_answer_every_nth):
                _break_connection(request)
            return wire.rest_response(told)

        return answer

    async def _json(self, request: web.Request) -> web.Response:
        target, _, operation = request.headers.get("X-Amz-Target", "").partition(".")
        service = "service-quotas" if target == "ServiceQuotasV20190624" else ""
        try:
            message = wire.decode_json(await wire.read_body(request))
            return wire.json_response(self.call(service, operation, message))
        except ApiError as error:
            return wire.json_error(error)

    def status(self) -> Message:
        """What a console shows of every job."""
        return {job.id: describe(job) for job in self.service.jobs}

    async def _status(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return wire.rest_response(self.status())


async def _message(request: web.Request) -> Message:
    """The members of a request: of its path, its query, and its body."""
    message: Message = dict(request.match_info)
    for name, value in request.query.items():
        message[name] = int(value) if name in _NUMBERS and value.isdecimal() else value
    body = await wire.read_body(request)
    return {**message, **wire.decode_json(body)} if body else message


def _break_connection(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


class BedrockEmulator(LoopServer[World]):
    """Batch inference on this machine, from `start` to `stop`.

    Its methods may be called from any thread but its own; `tell` is called in others.
    """

    def __init__(
        self,
        *,
        objects: Objects,
        data_dir: Path | str,
        tell: Tell = lambda _: None,
        knobs: Knobs | None = None,
        make_model: Callable[[], LocalModel] = EngineModel,
        port: int = 0,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            objects: Where inputs are read and outputs written.
            data_dir: Holds the jobs; one emulator at a time.
            tell: Called with each event of EventBridge, until it returns without an exception.
            knobs: Choices where AWS is undocumented or slow.
            make_model: Makes what answers records; the default echoes them.
            port: 0 takes a free one.
        """
        super().__init__(name="bedrock-emulator", data_dir=Path(data_dir), port=port)
        self._settings = Settings(
            objects=objects,
            tell=tell,
            data_dir=Path(data_dir),
            knobs=knobs or Knobs(),
            make_model=make_model,
        )

    def _make_world(self) -> World:
        return World(self._settings)

    def call(self, service: str, operation: str, request: Message) -> Message:
        """An operation without HTTP: ``call("bedrock", "GetModelInvocationJob", {...})``.

        Raises:
            ApiError: as the service would answer.
        """
        return self._on_loop(lambda world: world.call(service, operation, request))

    def turn(self, **changes: Any) -> None:
        """Turn knobs while it runs; those of what is created at start stay as they were."""
        self._on_loop(lambda world: world.turn(**changes))

    def advance(self, seconds: float) -> None:
        """Put the emulated service's clock forward: hours of waiting pass at once."""
        self._on_loop(lambda world: world.advance(seconds))

    def status(self) -> Message:
        """By id: each job as GetModelInvocationJob tells it, other people's too."""
        return self._on_loop(lambda world: world.status())

    def quotas(self) -> list[Quota]:
        """All quotas, as they are now."""
        return self._on_loop(lambda world: world.quotas.all())

    def ran(self) -> list[Ran]:
        """Every record that the model answered, in this run or an earlier one, oldest first."""
        return self._on_loop(lambda world: world.ledger.ran())

    def totals(self) -> Totals:
        """How often each record was answered: more than once means paid twice."""
        return self._on_loop(lambda world: world.ledger.totals())
