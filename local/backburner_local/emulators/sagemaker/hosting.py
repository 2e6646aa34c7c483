"""A hosted endpoint: its queue, its instances, and the way of each invocation between them."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from backburner_local.emulators.cloudwatch.store import MetricStore
from backburner_local.emulators.objects import NoRoom, Objects, ObjectUnavailable
from backburner_local.emulators.sagemaker import notifications, worker
from backburner_local.emulators.sagemaker.endpoint import Endpoint
from backburner_local.emulators.sagemaker.instance import Instance
from backburner_local.emulators.sagemaker.invocation import Invocation
from backburner_local.emulators.sagemaker.knobs import Knobs
from backburner_local.emulators.sagemaker.metrics import CpuMeter, EndpointMetrics, Load
from backburner_local.emulators.sagemaker.pool import InstancePool
from backburner_local.emulators.sagemaker.publisher import Publisher
from backburner_local.emulators.sagemaker.queue import InvocationQueue
from backburner_local.emulators.sagemaker.worker import Outcome, failure

logger = logging.getLogger(__name__)

#: Looking through everything that waits is not done more often than this.
_EXPIRY_PAUSE_SECONDS = 0.25
#: Pause before what a full disk did not take is written again. The queue still has the invocation.
_ROOM_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all endpoints of one emulator share."""

    knobs: Knobs
    session: aiohttp.ClientSession
    queue: InvocationQueue
    objects: Objects
    publisher: Publisher
    store: MetricStore
    log_dir: Path


class HostedEndpoint:
    """Runs what is enqueued, as fast as its instances can; lives on one event loop."""

    def __init__(self, endpoint: Endpoint, around: Surroundings) -> None:
        self.endpoint = endpoint
        self.created_at = self.changed_at = time.time()
        #: DescribeEndpoint's word.
        self.status = "Creating"
        #: Time and number of instances in service at each change: the demo's 0 -> n -> 0.
        self.history: list[tuple[float, int]] = [(self.created_at, 0)]
        self._around = around
        self._metrics = EndpointMetrics(around.store, endpoint, around.knobs)
        self._cpu = CpuMeter()
        self._waiting: deque[Invocation] = deque()
        self._running: set[asyncio.Task[None]] = set()
        #: By invocation: instances that were lost with it.
        self._losses: Counter[int] = Counter()
        #: When the next waiting invocation may expire, seconds since 1970.
        self._expiry: tuple[float, asyncio.TimerHandle] | None = None
        self._is_open = True
        #: Every fleet that may still have a process; more than one during an update.
        self._pools: list[InstancePool] = []
        self._replacement: asyncio.Task[None] | None = None
        self._is_replacing = False
        self._fleet_changed = asyncio.Event()
        self.pool = self._new_pool(endpoint)

    # ---- life

    def start(self) -> None:
        """Take up what an earlier run left and start the first instances."""
        for invocation, topic, message in self._around.queue.left(self.endpoint.name):
            if message is None:
                self.enqueue(invocation)
            else:
                self._tell(invocation, topic or "", message)
        self.pool.scale(self.endpoint.initial_instance_count)
        self.send_test_notification()

    def scale(self, desired: int) -> None:
        """UpdateEndpointWeightsAndCapacities."""
        self._begin_update()
        self.pool.scale(desired)
        self.send_test_notification()

    def replace(self, endpoint: Endpoint, desired: int) -> None:
        """UpdateEndpoint: a new fleet starts before the old one goes."""
        self._begin_update()
        self.endpoint = endpoint
        self._is_replacing = True
        self._replacement = asyncio.create_task(self._replace(endpoint, desired))
        self.send_test_notification()

    async def _replace(self, endpoint: Endpoint, desired: int) -> None:
        old, new = self.pool, self._new_pool(endpoint)
        new.scale(desired)
        while not new.is_settled:
            self._fleet_changed.clear()
            await self._fleet_changed.wait()
        self.pool = new
        self._is_replacing = False
        self._changed()
        await old.close()
        self._pools.remove(old)

    def delete(self) -> None:
        """DeleteEndpoint: what waits is lost, and nobody is told."""
        self._is_open = False
        self.status = "Deleting"
        self._waiting.clear()
        self._around.queue.forget_endpoint(self.endpoint.name)

    async def close(self) -> None:
        """Stop dispatching, drain the instances; what is not finished stays in the queue."""
        self._is_open = False
        if self._expiry is not None:
            self._expiry[1].cancel()
        if self._replacement is not None:
            self._replacement.cancel()
        await asyncio.gather(*(pool.close() for pool in self._pools))
        if self._running:
            await asyncio.wait(self._running, timeout=2)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _new_pool(self, endpoint: Endpoint) -> InstancePool:
        around = self._around
        pool = InstancePool(endpoint, around.knobs, around.session, around.log_dir, self._changed)
        self._pools.append(pool)
        return pool

    def _begin_update(self) -> None:
        self.changed_at = time.time()
        if self.status == "InService":
            self.status = "Updating"

    def _changed(self) -> None:
        """An instance changed its state, or the fleet its size."""
        self._fleet_changed.set()
        now = time.time()
        count = len(self.pool.ready)
        if self.history[-1][1] != count:
            self.history.append((now, count))
            del self.history[:-10_000]
        if self.status == "Creating" and self.pool.failed_starts >= 3:
            self.status = "Failed"
        is_waiting = self.status in {"Creating", "Updating", "Failed"}
        if is_waiting and self.pool.is_settled and not self._is_replacing:
            self.status = "InService"
            self.changed_at = now
        self._dispatch()

    # ---- queue

    @property
    def concurrency(self) -> int:
        """Invocations one instance may work on at once."""
        limit = self.endpoint.max_concurrent_invocations_per_instance
        return self._around.knobs.default_concurrency if limit is None else limit

    def load(self) -> Load:
        return Load(
            waiting=len(self._waiting),
            in_flight=len(self._running),
            instances=len(self.pool.ready),
            oldest_accepted_at=self._waiting[0].accepted_at if self._waiting else None,
        )

    def enqueue(self, invocation: Invocation) -> None:
        """Run it when there is room; it is on disk already."""
        self._waiting.append(invocation)
        self._watch_expiry(self._expires_at(invocation))
        self._dispatch()

    def publish_minute(self, minute_start: float, now: float) -> None:
        """The gauges of a simulated minute that is over."""
        self._metrics.publish_load(self.load(), minute_start=minute_start, now=now)
        pids = [one.pid for one in self.pool.ready if one.pid is not None]
        percents = self._cpu.percents(pids, now)
        self._metrics.publish_hosts(percents, minute_start=minute_start)

    def send_test_notification(self) -> None:
        if not self._around.knobs.test_notifications:
            return
        for topic in (self.endpoint.success_topic, self.endpoint.error_topic):
            if topic:
                self._around.publisher.tell_unasked(topic, notifications.TEST_NOTIFICATION)

    def _dispatch(self) -> None:
        while self._waiting and self._is_open:
            instance = self.pool.idlest(self.concurrency)
            if instance is None:
                return
            invocation = self._waiting.popleft()
            if self._expires_at(invocation) <= time.time():
                self._run(self._expire(invocation))
                continue
            instance.in_flight += 1
            self._run(self._process(invocation, instance))

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("invocation.broke", exc_info=task.exception())

    # ---- expiry

    def _expires_at(self, invocation: Invocation) -> float:
        return invocation.accepted_at + invocation.ttl_seconds * self._around.knobs.time_scale

    def _watch_expiry(self, at: float) -> None:
        if self._expiry is not None:
            if self._expiry[0] <= at:
                return
            self._expiry[1].cancel()
        pause = max(_EXPIRY_PAUSE_SECONDS, at - time.time())
        timer = asyncio.get_running_loop().call_later(pause, self._expire_waiting)
        self._expiry = (at, timer)

    def _expire_waiting(self) -> None:
        self._expiry = None
        if not self._is_open:
            return
        now = time.time()
        waiting, self._waiting = self._waiting, deque()
        for invocation in waiting:
            if self._expires_at(invocation) <= now:
                self._run(self._expire(invocation))
            else:
                self._waiting.append(invocation)
        if self._waiting:
            self._watch_expiry(min(map(self._expires_at, self._waiting)))

    async def _expire(self, invocation: Invocation) -> None:
        self._metrics.add("ExpiredRequests", 1, time.time())
        await self._conclude(
            invocation,
            failure(worker.EXPIRED),
            is_told=self._around.knobs.notify_expired,
        )

    # ---- one invocation

    async def _process(self, invocation: Invocation, instance: Instance) -> None:
        try:
            outcome = await self._work(invocation, instance)
        except worker.InstanceLost:
            self._lost(invocation)
            return
        finally:
            instance.in_flight -= 1
            self._dispatch()
        await self._conclude(invocation, outcome)

    async def _work(self, invocation: Invocation, instance: Instance) -> Outcome:
        around, metrics = self._around, self._metrics
        started = time.time()
        metrics.add("TimeInBacklog", started - invocation.accepted_at, started)
        try:
            body = await self._input(invocation)
        except (ObjectUnavailable, ValueError) as error:
            return failure(f"Unable to download the request. {error}", "RequestDownloadFailures")
        fetched = time.time()
        metrics.add("RequestDownloadLatency", fetched - started, fetched)
        outcome = await worker.invoke(around.session, instance, invocation, body, around.knobs)
        answered = time.time()
        metrics.add("ModelLatency", answered - fetched, answered)
        return outcome

    async def _input(self, invocation: Invocation) -> bytes:
        if invocation.input_location is None:
            return self._around.queue.body(invocation)
        return await worker.fetch(self._around.objects, invocation.input_location)

    def _lost(self, invocation: Invocation) -> None:
        logger.warning("invocation.lost inference_id=%s", invocation.inference_id)
        self._losses[invocation.id] += 1
        allowed = self._around.knobs.redeliveries_allowed
        if self._around.knobs.on_instance_loss == "lose":
            self._around.queue.forget(invocation.id)
        elif self._is_open and allowed is not None and self._losses[invocation.id] > allowed:
            self._run(self._conclude(invocation, failure(worker.LOST)))
        elif self.status != "Deleting":
            self._waiting.appendleft(invocation)
            self._watch_expiry(self._expires_at(invocation))
            self._dispatch()

    async def _conclude(
        self, invocation: Invocation, outcome: Outcome, *, is_told: bool = True
    ) -> None:
        """Write the object, then commit the notification, then publish it."""
        self._losses.pop(invocation.id, None)
        started = time.time()
        outcome = await self._save(invocation, outcome)
        now = time.time()
        self._metrics.add("ResponseUploadLatency", now - started, now)
        for name in outcome.metrics:
            self._metrics.add(name, 1, now)
        self._metrics.processed(now)
        if outcome.reason is not None:
            self._metrics.add("InvocationFailures", 1, now)
        topic, message = self._notification(invocation, outcome, now)
        if topic and is_told:
            await self._finish(invocation, topic, message)
            self._tell(invocation, topic, message)
        else:
            self._around.queue.forget(invocation.id)

    async def _save(self, invocation: Invocation, outcome: Outcome) -> Outcome:
        """Write the output or failure object; an output that cannot be written is a failure."""
        is_success = outcome.reason is None
        location = invocation.output_location if is_success else invocation.failure_location
        if not location:
            return outcome
        body = outcome.response
        if body is None:
            body = (outcome.reason or "").encode()
        try:
            await self._store(location, body, outcome.content_type)
        except (ObjectUnavailable, ValueError) as error:
            now = time.time()
            self._metrics.add("ResponseUploadFailures", 1, now)
            logger.warning("output.refused error=%s", error)
            if is_success:
                return failure(f"Unable to upload the response. {error}")
        return outcome

    async def _store(self, location: str, body: bytes, content_type: str | None) -> None:
        """Write the object, as soon as there is room for it."""
        while True:
            try:
                await worker.store(self._around.objects, location, body, content_type)
            except NoRoom as error:
                logger.warning("disk.full error=%s", error)
                await asyncio.sleep(_ROOM_PAUSE_SECONDS)
            else:
                return

    async def _finish(self, invocation: Invocation, topic: str, message: str) -> None:
        """Commit that it only has to be told, as soon as that can be written."""
        while True:
            try:
                self._around.queue.finish(invocation, topic, message)
            except sqlite3.Error as error:
                logger.warning("disk.full error=%s", error)
                await asyncio.sleep(_ROOM_PAUSE_SECONDS)
            else:
                return

    def _notification(
        self, invocation: Invocation, outcome: Outcome, at: float
    ) -> tuple[str | None, str]:
        endpoint, knobs = self.endpoint, self._around.knobs
        if outcome.reason is None:
            message = notifications.completed(
                invocation,
                endpoint,
                knobs,
                at=at,
                response=outcome.response or b"",
                content_type=outcome.content_type,
            )
            return endpoint.success_topic, message
        message = notifications.failed(
            invocation, endpoint, knobs, at=at, reason=outcome.reason, response=outcome.response
        )
        return endpoint.error_topic, message

    def _tell(self, invocation: Invocation, topic: str, message: str) -> None:
        """Publish what is finished, then forget it."""

        def told() -> None:
            self._around.queue.forget(invocation.id)
            now = time.time()
            self._metrics.add("TotalProcessingTime", now - invocation.accepted_at, now)

        def refused() -> None:
            self._metrics.add("NotificationFailures", 1, time.time())

        self._around.publisher.tell(topic, message, told, refused)
