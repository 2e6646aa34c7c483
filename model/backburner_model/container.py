"""The container contract over any engine: shards, single requests, readiness, drain."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from enum import Enum

import msgspec

from backburner_model.engine import Engine
from backburner_model.settings import Settings
from backburner_model.wire import (
    SHARD_TYPES,
    UNREADABLE,
    Answer,
    RawBody,
    bad_request,
    invalid_body,
    is_text,
    line_number,
    outcome,
    read_body_shape,
    read_shard_line,
    route_from_attributes,
    route_from_shape,
    server_error,
    unknown_route,
)

logger = logging.getLogger(__name__)

#: Lines that are read or written before the event loop gets its turn: about a millisecond.
SLICE_LINES = 128

#: What is answered to requests that the drain's end finds unfinished.
UNFINISHED = server_error("The server is shutting down.", code="shutting_down", status_code=503)
LOADING = server_error("The model is still loading.", code="loading", status_code=503)
TOO_BUSY = server_error("Too many requests are waiting.", code="too_busy", status_code=503)
TIMED_OUT = server_error("The model took too long.", code="timeout", status_code=504)
FAILED = server_error("The model failed to answer.", code="engine_failure")


NOT_TEXT = bad_request("The body is not UTF-8.", code="invalid_json")


class Phase(Enum):
    """Where the container is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Asked(msgspec.Struct, gc=False):
    """A request that waits for the engine, and the place of its answer."""

    place: int
    route: str
    body: bytes
    #: What a body is that only the engine knows; None: it is one of the route's.
    raw: RawBody | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One `POST /invocations`."""

    body: bytes
    content_type: str = "application/json"
    custom_attributes: str = ""
    accept: str = ""

    @property
    def is_shard(self) -> bool:
        return self._media_type in SHARD_TYPES

    @property
    def is_raw(self) -> bool:
        """Whether only the engine can tell what the body is."""
        media_type = self._media_type
        return not self.is_shard and media_type != "application/json" and media_type != ""

    @property
    def _media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()


class Container:
    """Everything between HTTP and the engine; lives on one event loop."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine = engine
        self.settings = settings
        self.phase = Phase.LOADING
        self._limit = asyncio.Semaphore(settings.max_concurrency)
        self._workers: set[asyncio.Task[None]] = set()
        self._in_flight_count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        await self.engine.start()
        if self.phase is Phase.LOADING:
            self.phase = Phase.READY

    async def drain(self) -> None:
        """Let requests in flight finish; answer 503 to what has not when the time is over."""
        self.phase = Phase.DRAINING
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            logger.warning("drain.cut_short in_flight=%d", self._in_flight_count)
            for worker in list(self._workers):
                worker.cancel()
            await self._idle.wait()

    async def close(self) -> None:
        await self.engine.close()

    async def is_ready(self) -> bool:
        return self.phase is Phase.READY and await self.engine.is_healthy()

    async def invoke(self, invocation: Invocation) -> Answer:
        if invocation.is_shard:
            return await self._invoke_shard(invocation.body)
        if invocation.is_raw:
            return await self._invoke_raw(invocation)
        picked = route_from_attributes(invocation.custom_attributes)
        return await self.answer(picked, invocation.body)

    async def answer(self, route: str | None, body: bytes) -> Answer:
        """Answer one body; without a route its members tell which one is meant."""
        if refusal := self._refusal(1):
            return refusal
        if not is_text(body):
            return NOT_TEXT
        asked = self._read_body(0, route, body, unknown_status_code=404)
        if isinstance(asked, Answer):
            return asked
        if answer := self.engine.answer_now(asked.route, asked.body):
            return answer
        answers: list[Answer | None] = [None]
        await self._run(deque([asked]), answers)
        return answers[0] or UNFINISHED

    async def _invoke_raw(self, invocation: Invocation) -> Answer:
        if refusal := self._refusal(1):
            return refusal
        raw = RawBody(
            invocation.body,
            invocation.content_type,
            invocation.accept,
            invocation.custom_attributes,
        )
        answers: list[Answer | None] = [None]
        await self._run(deque([Asked(0, "", b"", raw)]), answers)
        return answers[0] or UNFINISHED

    async def _invoke_shard(self, body: bytes) -> Answer:
        lines = [line for line in body.split(b"\n") if line and not line.isspace()]
        if not lines:
            return bad_request("The shard has no lines.")
        if refusal := self._refusal(len(lines)):
            return refusal
        numbers: list[int | None] = [None] * len(lines)
        answers: list[Answer | None] = [None] * len(lines)
        waiting: deque[Asked] = deque()
        for place, line in enumerate(lines):
            number, asked = self._read_line(place, line)
            numbers[place] = number
            if isinstance(asked, Answer):
                answers[place] = asked
            else:
                waiting.append(asked)
            if place % SLICE_LINES == SLICE_LINES - 1:
                await asyncio.sleep(0)
        if waiting:
            await self._run(waiting, answers)
        return Answer(200, await _write_shard(numbers, answers))

    def _refusal(self, count: int) -> Answer | None:
        """Why an invocation is not taken in, if it is not."""
        if self.phase is Phase.DRAINING:
            return UNFINISHED
        if self.phase is Phase.LOADING:
            return LOADING
        if self._in_flight_count and self._in_flight_count + count > self.settings.max_waiting:
            return TOO_BUSY
        return None

    def _read_line(self, place: int, line: bytes) -> tuple[int | None, Asked | Answer]:
        if not is_text(line):
            return line_number(line), NOT_TEXT
        try:
            read = read_shard_line(line)
        except UNREADABLE as error:
            return line_number(line), invalid_body(error)
        asked = self._read_body(place, read.url, bytes(read.body), unknown_status_code=400)
        if isinstance(asked, Answer):
            return read.line, asked
        return read.line, self.engine.answer_now(asked.route, asked.body) or asked

    def _read_body(
        self, place: int, route: str | None, body: bytes, *, unknown_status_code: int
    ) -> Asked | Answer:
        try:
            shape = read_body_shape(body)
        except UNREADABLE as error:
            return invalid_body(error)
        route = route or route_from_shape(shape)
        if route is None:
            return bad_request("The body has neither `messages` nor `prompt` nor `input`.")
        if route not in self.engine.routes:
            return unknown_route(route, self.engine.routes, unknown_status_code)
        if shape.stream:
            return bad_request(
                "Answers are never streamed here: leave `stream` out.",
                param="stream",
                code="unsupported_value",
            )
        return Asked(place, route, body)

    async def _run(self, waiting: deque[Asked], answers: list[Answer | None]) -> None:
        """Fill in the answers; places stay empty where the drain's end came first."""
        count = len(waiting)
        self._in_flight_count += count
        self._idle.clear()
        worker_count = min(count, self.settings.max_concurrency)
        workers = [asyncio.create_task(self._work(waiting, answers)) for _ in range(worker_count)]
        self._workers.update(workers)
        try:
            await asyncio.gather(*workers, return_exceptions=True)
        finally:
            for worker in workers:
                worker.cancel()
            self._workers.difference_update(workers)
            self._in_flight_count -= count
            if not self._in_flight_count:
                self._idle.set()

    async def _work(self, waiting: deque[Asked], answers: list[Answer | None]) -> None:
        """Ask one after another, keeping the place in the engine until the shard has no more.

        So shards end one after another, in the order they came. If they took turns, all would end
        together, and the engine would run dry until others are here.
        """
        async with self._limit:
            while waiting:
                asked = waiting.popleft()
                answers[asked.place] = await self._ask(asked)

    async def _ask(self, asked: Asked) -> Answer:
        try:
            async with asyncio.timeout(self.settings.request_timeout_seconds):
                if asked.raw is not None:
                    return await self.engine.answer_raw(asked.raw)
                return await self.engine.answer(asked.route, asked.body)
        except TimeoutError:
            return TIMED_OUT
        except Exception as error:  # noqa: BLE001 - whatever an engine does, its neighbours go on
            # Not the message: it may hold a prompt.
            logger.error("request.failed error=%s", type(error).__name__)
            return FAILED


async def _write_shard(numbers: list[int | None], answers: list[Answer | None]) -> bytes:
    parts: list[bytes] = []
    for start in range(0, len(numbers), SLICE_LINES):
        stop = start + SLICE_LINES
        parts.extend(
            outcome(number, answer or UNFINISHED)
            for number, answer in zip(numbers[start:stop], answers[start:stop], strict=True)
        )
        await asyncio.sleep(0)
    return b"".join(parts)
