"""Hand claimed shards to their backend, and take back what it does not start."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from typing import Self

from msgspec.structs import replace

from backburner.domain.bundle import is_bundle
from backburner.domain.errors import (
    BackendError,
    BackendFull,
    BackendRefused,
    BackendThrottled,
    BackendUnready,
    Conflict,
)
from backburner.domain.shard import Shard
from backburner.ports import Environment, Write
from backburner.services import bundles, capacity, collect, membership, transitions

_logger = logging.getLogger(__name__)

#: Shortest and longest pause of a backend that is not set up.
UNREADY_SECONDS = (60.0, 300.0)


class Sender:
    """Hands claimed shards to their backend beside each other: a call takes longer than a claim.

    One is held back until the next comes, so that a lone one needs no thread. All are sent by the
    time that the context ends, however it does.
    """

    def __init__(self, env: Environment, *, at_once: int) -> None:
        self.count = 0
        #: Whether the backend asked for less.
        self.is_refused = False
        self._env = env
        self._held: Shard | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._at_once = at_once
        self._room = Semaphore(at_once)
        self._sent: list[Future[None]] = []

    def send(self, shard: Shard) -> None:
        """Take a claimed shard; returns while at most `at_once` are on their way."""
        self.count += 1
        held, self._held = self._held, shard
        if self._at_once <= 1:
            self._send_held()
        elif held is not None:
            self._room.acquire()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._at_once)
            self._sent.append(self._threads.submit(self._send_beside, held))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._send_held()
        finally:
            if self._threads is not None:
                self._threads.shutdown()
        for sent in self._sent:
            sent.result()

    def _send_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._send(held)

    def _send_beside(self, shard: Shard) -> None:
        try:
            self._send(shard)
        finally:
            self._room.release()

    def _send(self, shard: Shard) -> None:
        if not send(self._env, shard):
            self.is_refused = True


def send(env: Environment, shard: Shard) -> bool:
    """Hand a claimed shard to its backend; False: the backend asks for less.

    The record was there first. If it is unknown whether the backend took the shard, it stays in
    flight: the notification will come, or the lease will end.
    """
    model = env.catalog.running(shard.model, shard.pool)
    if model is None:  # the catalog lost it since the claim
        return True
    backend = env.backends[model.backend]
    payload = shard.input_inline if shard.input_inline is not None else shard.input_key
    try:
        submitted = backend.submit(shard, model, payload or b"")
    except BackendThrottled as error:
        if isinstance(error, BackendFull):
            capacity.learn(env, model)
        give_back(env, shard, pause=_pause(env, shard, error))
        return False
    except BackendRefused as error:
        collect.collect_failure(env, shard.ref, code="backend_refused", reason=error.message)
        return True
    except BackendError:
        return True
    # A single request is as cheap to wait for as this write: should the word of its failure get
    # lost, the end of its lease shows it. A raw one's failure is read.
    is_read = shard.line_count > 1 or shard.is_raw
    is_told = submitted.output_location or submitted.job
    if is_told or (submitted.failure_location and is_read):
        watched = replace(
            shard,
            output_location=submitted.output_location,
            failure_location=submitted.failure_location,
            job=submitted.job,
        )
        _try(env, transitions.watch(shard, watched))
    return True


def _pause(env: Environment, shard: Shard, error: BackendThrottled) -> float:
    """Seconds until the shard's backend is asked again.

    People mend set-ups, not seconds, and to ask for a job is dear: all of its requests are written
    first. So a quarter as long as the batch has waited already, within bounds.
    """
    if not isinstance(error, BackendUnready):
        return env.limits.retry.pause_seconds(1, env.ids.random())
    _logger.warning(
        "backend.unready pool=%s reason=%s", shard.pool, error.message
    )  # an alarm rings
    least, most = UNREADY_SECONDS
    return min(most, max(least, (env.clock.now() - shard.created_at) / 4))


def give_back(env: Environment, shard: Shard, *, pause: float) -> None:
    """Make what the backend did not start wait again: the attempt does not count."""
    not_before = env.clock.now() + pause
    bundle = membership.load(env, shard.ref) if is_bundle(shard.batch_id) else None
    if bundle is not None:
        is_back = bundles.give_back(env, bundle, not_before=not_before)
    else:
        waiting = replace(shard.waiting(), attempt=shard.attempt - 1, not_before=not_before)
        is_back = _try(env, transitions.wait_again(shard, waiting))
    if is_back:
        capacity.hold(env, shard.pool, seconds=pause)


def _try(env: Environment, writes: list[Write]) -> bool:
    try:
        env.store.transact(*writes)
    except Conflict:
        return False
    return True
