"""Run the failed requests of a batch that has ended again: as a batch of its own, linked to it.

Of a batch and its retries one runs at a time, and a request that succeeded in any of them never
runs again: a retry has what failed in the first batch and has succeeded in no retry since.
"""

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from backburner.domain import budget
from backburner.domain.batch import Batch, BatchStatus, window_seconds
from backburner.domain.errors import Conflict, InvalidRequest, NotFound, StateConflict
from backburner.domain.finding import Finding
from backburner.domain.quota import Quota
from backburner.ports import Environment, QueueName
from backburner.services import batches, files, quotas, records, transitions

#: Planning a retry reads the output of each before it.
MAX_RETRIES = 16

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRetry:
    """What a client asks for; checked by `retry`."""

    #: custom_ids of the requests that are meant; None: all that failed.
    request_ids: Any = None
    #: None: as the first batch.
    completion_window: Any = None
    max_cost_usd: Any = None
    max_tokens: Any = None


def retry(
    env: Environment,
    tenant: str,
    batch_id: str,
    new: NewRetry,
    *,
    quota: Quota | None = None,
) -> Batch:
    """Run again what failed, expired or was cancelled; a retry of a retry is one of the first.

    While a retry runs, asking for the same again returns it.

    Args:
        env: the world.
        tenant: whose it is.
        batch_id: of the first batch, or of a retry of it.
        new: what is asked for.
        quota: of the tenant; None: whatever waits already.

    Raises:
        InvalidRequest: a field is wrong.
        NotFound: the tenant has no such batch.
        OverQuota: too many requests of the tenant wait for one model.
        StateConflict: the batch runs, nothing of it is left to retry, or what it takes is gone.
    """
    wanted = _checked_ids(new.request_ids)
    for _ in range(_TRIES):
        first, others = _family(env, tenant, batch_id)
        if others and not others[-1].is_terminal:
            return _same(others[-1], wanted)
        _check(env, first, others)
        if quota is not None:
            quotas.check_waiting(env, tenant, quota)
        batch = _retry_of(env, first, new, wanted)
        if batch.request_ids_key is not None:
            env.blobs.put(batch.request_ids_key, wanted)
        check_at = batch.created_at + env.limits.batch_check_seconds
        try:
            env.store.transact(*transitions.retry(first, batch, check_at=check_at))
        except Conflict:  # another one was first
            env.blobs.delete(*filter(None, [batch.request_ids_key]))
            continue
        env.queue.send(QueueName.PLAN, {"tenant": tenant, "batch_id": batch.id})
        return batch
    raise Conflict(f"batch {batch_id} keeps being retried")


def _checked_ids(given: Any) -> bytes:
    """The custom_ids as they are kept; empty if none are given."""
    if given is None:
        return b""
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise InvalidRequest("'request_ids' must be a list of custom_ids.", param="request_ids")
    return msgspec.json.encode(sorted(set(given)))


def _family(env: Environment, tenant: str, batch_id: str) -> tuple[Batch, list[Batch]]:
    """The first batch, and its retries, oldest first."""
    first = batches.find(env, tenant, batch_id)
    if not first.is_terminal:
        raise StateConflict(f"The batch can't be retried: it is {first.status}.", param="id")
    if first.retry_of is not None:
        first = batches.find(env, tenant, first.retry_of)
    return first, _retries(env, first)


def _retries(env: Environment, first: Batch) -> list[Batch]:
    items = env.store.get(*(records.batch_key(first.tenant, one) for one in first.retries))
    return [records.to_batch(item) for item in items if item is not None]


def _same(running: Batch, wanted: bytes) -> Batch:
    if running.request_ids_key != _ids_key(running, wanted):
        raise StateConflict(
            f"{running.id} retries the batch already, and with other requests; wait for its end.",
            param="request_ids",
        )
    return running


def _check(env: Environment, first: Batch, others: list[Batch]) -> None:
    """Refuse what could not run, or would pay twice."""
    if first.plan_prefix is None:
        raise StateConflict("The batch ended before it was planned: submit it again.", param="id")
    if first.failed - sum(one.completed for one in others) <= 0 or first.error_file_id is None:
        raise StateConflict("Nothing is left to retry: no request of it failed.", param="id")
    if len(first.retries) >= MAX_RETRIES:
        raise StateConflict(f"The batch was retried {MAX_RETRIES} times already.", param="id")
    outputs = [one.output_file_id for one in others]
    for file_id in filter(None, (first.input_file_id, first.error_file_id, *outputs)):
        try:
            files.find(env, first.tenant, file_id)
        except NotFound:
            raise StateConflict(
                f"The batch can't be retried: its file {file_id} is gone.", param="id"
            ) from None


def _retry_of(env: Environment, first: Batch, new: NewRetry, wanted: bytes) -> Batch:
    max_cost_nanos = budget.checked_cost(new.max_cost_usd)
    max_tokens = budget.checked_tokens(new.max_tokens)
    window = first.completion_window if new.completion_window is None else new.completion_window
    now = env.clock.now()
    expires_at = now + window_seconds(window)
    batch_id = env.ids.new("batch")
    batch = Batch(
        tenant=first.tenant,
        id=batch_id,
        status=BatchStatus.VALIDATING,
        dialect=first.dialect,
        route=first.route,
        input_file_id=first.input_file_id,
        input_key=first.input_key,
        is_inline=first.is_inline,
        completion_window=window,
        metadata=first.metadata,
        on_invalid=first.on_invalid,
        priority=first.priority,
        max_cost_nanos=first.max_cost_nanos if max_cost_nanos is None else max_cost_nanos,
        max_tokens=first.max_tokens if max_tokens is None else max_tokens,
        output_expires_seconds=first.output_expires_seconds,
        callback_url=first.callback_url,
        created_at=now,
        expires_at=expires_at,
        ttl=records.ttl(env.limits, expires_at, first.output_expires_seconds),
        retry_of=first.id,
    )
    return msgspec.structs.replace(batch, request_ids_key=_ids_key(batch, wanted))


def _ids_key(batch: Batch, wanted: bytes) -> str | None:
    """Of the object with the custom_ids, and telling what is in it; None: there are none."""
    if not wanted:
        return None
    return f"{batch.blob_prefix}request_ids-{hashlib.sha256(wanted).hexdigest()[:16]}.json"


class Chosen:
    """The lines of the input file that a batch runs: all of them, unless it is a retry."""

    def __init__(self, env: Environment, batch: Batch) -> None:
        self._asked = _asked(env, batch)
        self._seen: set[str] = set()
        #: Whether nobody has to ask: the batch is no retry.
        self.are_all = batch.retry_of is None
        self._lines = iter(()) if self.are_all else chosen_lines(env, batch)
        self._next: tuple[int, str] | None = (0, "")

    def has(self, number: int) -> bool:
        """Whether the line is one of them; lines are asked for in their order."""
        if self.are_all:
            return True
        while self._next is not None and self._next[0] < number:
            self._next = next(self._lines, None)
            if self._asked and self._next is not None:
                self._seen.add(self._next[1])
        return self._next is not None and self._next[0] == number

    def missing(self) -> list[Finding]:
        """Requests that were asked for, and that no retry may run; once all lines were seen."""
        return [
            Finding(
                code="unknown_request_id",
                message=f"No request '{one[:64]}' of the batch is left to retry.",
                param="request_ids",
            )
            for one in sorted(self._asked - self._seen)
        ]


def chosen_lines(env: Environment, batch: Batch) -> Iterator[tuple[int, str]]:
    """Number and custom_id of each line of a retry, by number.

    Raises:
        NotFound: a file of the first batch or of an earlier retry is gone.
    """
    asked = _asked(env, batch)
    return (line for line in _failed_lines(env, batch) if not asked or line[1] in asked)


def _asked(env: Environment, batch: Batch) -> set[str]:
    """custom_ids that the retry is limited to; empty where it is not."""
    if batch.request_ids_key is None:
        return set()
    return set(msgspec.json.decode(env.blobs.get(batch.request_ids_key), type=list[str]))


def _failed_lines(env: Environment, batch: Batch) -> Iterator[tuple[int, str]]:
    """Lines that failed in the first batch, and have succeeded in no retry since."""
    first, before = _before(env, batch)
    succeeded = heapq.merge(*(_heads(env, one, one.output_file_id) for one in before))
    done = next(succeeded, None)
    for line in _heads(env, first, first.error_file_id):
        while done is not None and done[0] < line[0]:
            done = next(succeeded, None)
        if done is None or done[0] != line[0]:
            yield line


def earlier_answers(env: Environment, batch: Batch) -> Iterator[tuple[int, bytes]]:
    """Lines of the outputs of the first batch and of the retries before this one, by number.

    Raises:
        NotFound: one of the files is gone.
    """
    first, before = _before(env, batch)
    dialect = env.dialects[batch.dialect]

    def numbered(one: Batch) -> Iterator[tuple[int, bytes]]:
        for data in _lines(env, one, one.output_file_id):
            yield dialect.head(data)[0], data

    return heapq.merge(*(numbered(one) for one in (first, *before)))


def _before(env: Environment, batch: Batch) -> tuple[Batch, list[Batch]]:
    """The first batch of a retry, and the retries before it."""
    first = batches.find(env, batch.tenant, batch.retry_of or "")
    known = _retries(env, first)
    own = [one.id for one in known].index(batch.id)
    return first, known[:own]


def _heads(env: Environment, batch: Batch, file_id: str | None) -> Iterator[tuple[int, str]]:
    return map(env.dialects[batch.dialect].head, _lines(env, batch, file_id))


def _lines(env: Environment, batch: Batch, file_id: str | None) -> Iterator[bytes]:
    """Lines of a file that the batch wrote; none if it wrote none."""
    if file_id is not None:
        file = files.find(env, batch.tenant, file_id)
        with env.blobs.read(file.key or "") as stream:
            yield from stream
