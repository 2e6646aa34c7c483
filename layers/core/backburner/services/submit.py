"""Take work in: after these functions return, no crash loses it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from backburner.domain import budget
from backburner.domain.batch import (
    Batch,
    BatchStatus,
    checked_metadata,
    window_seconds,
)
from backburner.domain.delivery import is_address
from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.quota import Quota
from backburner.ports import Environment, QueueName
from backburner.services import files, quotas, records, transitions, webhooks
from backburner.services.once import Note

#: Routes that a batch may be for.
ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

PRIORITIES = range(10)


_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What a client asks for; checked by `submit_batch`."""

    input_file_id: Any = None
    route: Any
    completion_window: Any = "24h"
    metadata: Any = field(default_factory=dict)
    on_invalid: Any = "fail"
    priority: Any = 0
    #: Seconds that the files it writes are kept; None: as long as the operator keeps files.
    output_expires_seconds: float | None = None
    dropped_key: str | None = None
    #: Whether its requests, and what becomes of them, stand in calls instead of files.
    is_inline: bool = False
    #: Most that it may cost, in US dollars, and most tokens; None: as many as it takes.
    max_cost_usd: Any = None
    max_tokens: Any = None
    #: URL that is told of the end; None: none but the tenant's endpoints.
    callback_url: Any = None


def check(new: NewBatch) -> None:
    """Raise InvalidRequest for whatever is wrong with it, but for its input file."""
    _route(new.route)
    window_seconds(new.completion_window)
    check_notify(checked_metadata(new.metadata))
    if new.on_invalid not in ("fail", "skip"):
        raise InvalidRequest("'x_on_invalid' must be 'fail' or 'skip'.", param="x_on_invalid")
    check_priority(new.priority)
    budget.checked_cost(new.max_cost_usd)
    budget.checked_tokens(new.max_tokens)


def submit_batch(
    env: Environment,
    tenant: str,
    new: NewBatch,
    *,
    note: Note | None = None,
    quota: Quota | None = None,
) -> Batch:
    """Accept a batch of the lines of a file.

    Args:
        env: the world.
        tenant: whose it is.
        new: what is asked for.
        note: written with the batch, so that what it names is accepted only once.
        quota: of the tenant; None: whatever waits already.

    Raises:
        Conflict: the note was there before.
        InvalidRequest: a field is wrong.
        NotFound: the tenant has no such file.
        OverQuota: too many requests of the tenant wait for one model.
    """
    check(new)
    file = input_file(env, tenant, new.input_file_id, param="input_file_id")
    if quota is not None:
        quotas.check_waiting(env, tenant, quota)
    batch = validating(
        env,
        tenant,
        new,
        id=env.ids.new("batch"),
        input_file_id=file.id,
        input_key=file.key,
    )
    accept(env, batch, note)
    return batch


def input_file(env: Environment, tenant: str, file_id: Any, *, param: str) -> StoredFile:
    """The file that the requests are in; raises InvalidRequest or NotFound."""
    if not isinstance(file_id, str) or not file_id:
        raise InvalidRequest(f"'{param}' must be the id of an uploaded file.", param=param)
    file = files.find(env, tenant, file_id, param=param)
    if file.purpose is not FilePurpose.BATCH or file.key is None:
        raise InvalidRequest(
            f"File '{file.id}' has purpose '{file.purpose}'; a batch needs 'batch'.", param=param
        )
    return file


def validating(env: Environment, tenant: str, new: NewBatch, **fields: Any) -> Batch:
    """A batch that begins now, with options that were checked; raises InvalidRequest."""
    now = env.clock.now()
    seconds = window_seconds(new.completion_window)
    return Batch(
        tenant=tenant,
        status=BatchStatus.VALIDATING,
        route=new.route,
        is_inline=new.is_inline,
        completion_window=new.completion_window,
        metadata=checked_metadata(new.metadata),
        on_invalid=new.on_invalid,
        priority=new.priority,
        output_expires_seconds=new.output_expires_seconds,
        dropped_key=new.dropped_key,
        callback_url=webhooks.check_callback(env, tenant, new.callback_url),
        max_cost_nanos=budget.checked_cost(new.max_cost_usd),
        max_tokens=budget.checked_tokens(new.max_tokens),
        created_at=now,
        expires_at=now + seconds,
        ttl=records.ttl(env.limits, now + seconds, new.output_expires_seconds),
        **fields,
    )


def accept(env: Environment, batch: Batch, *notes: Note | None) -> None:
    """Write the batch down, and have it planned; raises Conflict if a note was there before."""
    check_at = batch.created_at + env.limits.batch_check_seconds
    writes = transitions.accept(batch, check_at=check_at)
    writes += [note(batch) for note in notes if note is not None]
    env.store.transact(*writes)
    with going_on(batch):
        env.queue.send(QueueName.PLAN, {"tenant": batch.tenant, "batch_id": batch.id})


@contextmanager
def going_on(accepted: Batch) -> Iterator[None]:
    """Begin with what is accepted. What breaks here is only logged, and made up for by reap.

    Clients send again whatever got an error, and would have it run, and pay for it, twice.
    """
    try:
        yield
    except Exception:  # whatever it is, the batch stands
        _logger.exception("submission.left batch=%s/%s", accepted.tenant, accepted.id)


def no_model(name: str) -> NotFound:
    """The error for a model that the catalog does not have."""
    return NotFound(
        f"The model '{name[:64]}' does not exist.", param="model", code="model_not_found"
    )


def _route(given: Any) -> str:
    if given not in ROUTES:
        raise InvalidRequest(
            f"'endpoint' must be one of {', '.join(ROUTES)}.",
            param="endpoint",
            code="invalid_endpoint",
        )
    return str(given)


def check_priority(given: Any) -> None:
    if type(given) is not int or given not in PRIORITIES:
        raise InvalidRequest("'priority' must be an integer from 0 to 9.", param="priority")


def check_notify(metadata: Mapping[str, str]) -> None:
    address = metadata.get("notify_email")
    if address is not None and not is_address(address):
        raise InvalidRequest(
            "'metadata.notify_email' must be one email address.", param="metadata.notify_email"
        )
