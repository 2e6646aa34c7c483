"""Take single requests in: after these functions return, no crash loses them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from backburner.domain.batch import (
    RAW_ROUTE,
    Batch,
    BatchKind,
    BatchStatus,
    blob_prefix,
    window_seconds,
)
from backburner.domain.catalog import Model
from backburner.domain.errors import Conflict, InvalidRequest, Rejected
from backburner.domain.quota import Quota
from backburner.domain.request import Request
from backburner.domain.shard import Shard, shard_id
from backburner.domain.slots import Pool, tenant_cap
from backburner.domain.upload import Reservation
from backburner.ports import Environment, Write
from backburner.services import (
    capacity,
    claims,
    quotas,
    raw,
    records,
    sending,
    submit,
    transitions,
    webhooks,
)
from backburner.services.once import Note
from backburner.services.transitions import reservation

#: Most characters of what the model's server is told of a raw request.
_HEADER_LENGTH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSingle:
    """One request that a client asks for; `submit_single` checks all but what the model reads."""

    kind: BatchKind
    request: Request
    #: That the client used; None: the request's.
    route: str | None = None
    #: The body as the client sent it, to be shown again; None: nobody will ask for it.
    original: bytes | None = None
    completion_window: Any = "24h"
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: 0 to 9; higher runs first among requests of one deadline.
    priority: Any = 0
    #: URL that is told of the end; None: none but the tenant's endpoints.
    callback_url: Any = None


def submit_single(
    env: Environment,
    tenant: str,
    new: NewSingle,
    *,
    note: Note | None = None,
    quota: Quota | None = None,
) -> Batch:
    """Accept one request, and start it at once if a slot is free.

    Args:
        env: the world.
        tenant: whose it is.
        new: what is asked for.
        note: written with the request, so that what it names is accepted only once.
        quota: of the tenant; None: whatever waits already.

    Raises:
        Conflict: the note was there before.
        InvalidRequest: a field is wrong.
        NotFound: no such model.
    """
    request = new.request
    model = direct_model(env, request.model)
    batch = _single(
        env,
        tenant,
        batch_id=env.ids.new(records.PREFIXES[new.kind]),
        kind=new.kind,
        route=new.route or request.route,
        model=model,
        new=new,
        original=new.original,
    )
    line = env.shards.encode(request) + b"\n"
    key, inline = _kept(env, batch.blob_prefix, "inputs/00001.jsonl", line)
    tokens = request.prompt_bytes + request.max_tokens
    shard = _only_shard(
        model, batch, input_key=key, input_inline=inline, size=len(line), tokens=tokens
    )
    try:
        _take_in(env, model, batch, shard, note, quota)
    except (Rejected, Conflict):  # of anything else it is not known whether the request stands
        env.blobs.delete(*filter(None, [batch.input_key, shard.input_key]))
        raise
    return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRaw:
    """One raw request that a client asks for; checked by `submit_raw`."""

    #: Known before it is accepted, as its body is put under it; see `raw.body_key`.
    request_id: str
    model: str
    content_type: str
    accept: str | None = None
    custom_attributes: str | None = None
    #: The body, where it is small; None: it is in its object.
    inline: bytes | None = None
    #: That object, if it is another's; None: see `raw.body_key`.
    body_key: str | None = None
    #: Object of the drop folder that it came from.
    dropped_key: str | None = None
    completion_window: Any = "24h"
    metadata: Mapping[str, str] = field(default_factory=dict)
    priority: Any = 0
    callback_url: Any = None


def submit_raw(
    env: Environment,
    tenant: str,
    new: NewRaw,
    *,
    note: Note | None = None,
    quota: Quota | None = None,
    reserved: Reservation | None = None,
) -> Batch:
    """Accept one raw request, whose body is there, and start it at once if a slot is free.

    Args:
        env: the world.
        tenant: whose it is.
        new: what is asked for.
        note: written with the request, so that what it names is accepted only once.
        quota: of the tenant; None: whatever waits already.
        reserved: room that its body was uploaded to, which is given back; None: it came otherwise.

    Raises:
        Conflict: there is such a request, the note was there before, or the room is not any more.
        InvalidRequest: a field is wrong, or the model takes no raw requests.
        NotFound: no such model.
    """
    model = check_raw(env, new)
    batch = _single(
        env,
        tenant,
        batch_id=new.request_id,
        kind=BatchKind.REQUEST,
        route=RAW_ROUTE,
        model=model,
        new=new,
        dropped_key=new.dropped_key,
    )
    shard = _only_shard(
        model,
        batch,
        input_key=(new.body_key or raw.body_key(tenant, batch.id)) if new.inline is None else None,
        input_inline=new.inline,
        content_type=new.content_type,
        accept=new.accept,
        custom_attributes=new.custom_attributes,
    )
    used = reservation.use(reserved) if reserved is not None else []
    _take_in(env, model, batch, shard, note, quota, beside=used)
    return batch


def check_raw(env: Environment, new: NewRaw) -> Model:
    """The model that it is for; raises NotFound, or InvalidRequest for whatever is wrong."""
    model = raw_model(env, new.model)
    for name in ("content_type", "accept", "custom_attributes"):
        _check_text(getattr(new, name), name)
    _checked_window(new.completion_window, new.metadata, new.priority)
    return model


def direct_model(env: Environment, name: str) -> Model:
    """The model where it takes single requests; raises NotFound, InvalidRequest if nowhere."""
    model = env.catalog.get(name)
    if model is None:
        raise submit.no_model(name)
    if model.direct is None:
        raise InvalidRequest(f"The model '{name}' runs batches only.", param="model")
    return model.direct


def raw_model(env: Environment, name: str) -> Model:
    """The model; raises NotFound, or InvalidRequest if it takes no raw requests."""
    model = direct_model(env, name)
    if RAW_ROUTE not in model.routes:
        raise InvalidRequest(f"The model '{model.name}' takes no raw requests.", param="model")
    return model


def _check_text(given: str | None, name: str) -> None:
    """SageMaker's limit of these headers (API reference, InvokeEndpointAsync)."""
    if given is None:
        return
    if not given or len(given) > _HEADER_LENGTH or not (given.isascii() and given.isprintable()):
        raise InvalidRequest(
            f"'{name}' must be 1 to {_HEADER_LENGTH} printable ASCII characters.", param=name
        )


def _single(
    env: Environment,
    tenant: str,
    *,
    batch_id: str,
    kind: BatchKind,
    route: str,
    model: Model,
    new: NewSingle | NewRaw,
    original: bytes | None = None,
    dropped_key: str | None = None,
) -> Batch:
    """The batch of one request, and the body to be shown again; raises InvalidRequest."""
    now = env.clock.now()
    expires_at = now + _checked_window(new.completion_window, new.metadata, new.priority)
    callback_url = webhooks.check_callback(env, tenant, new.callback_url)
    key, inline = None, None
    if original is not None:
        key, inline = _kept(env, blob_prefix(tenant, batch_id), "original.json", original)
    return Batch(
        tenant=tenant,
        id=batch_id,
        kind=kind,
        status=BatchStatus.IN_PROGRESS,
        route=route,
        model=model.name,
        completion_window=new.completion_window,
        metadata=dict(new.metadata),
        priority=new.priority,
        input_key=key,
        input_inline=inline,
        callback_url=callback_url,
        dropped_key=dropped_key,
        created_at=now,
        in_progress_at=now,
        expires_at=expires_at,
        ttl=records.ttl(env.limits, expires_at),
        total=1,
        planned_shards=1,
        is_released=True,
        open_shards=1,
    )


def _checked_window(completion_window: Any, metadata: Mapping[str, str], priority: Any) -> float:
    """Seconds of the window; raises InvalidRequest for whatever is wrong with the options."""
    submit.check_notify(metadata)
    submit.check_priority(priority)
    return window_seconds(completion_window)


def _take_in(
    env: Environment,
    model: Model,
    batch: Batch,
    shard: Shard,
    note: Note | None,
    quota: Quota | None,
    *,
    beside: Sequence[Write] = (),
) -> None:
    """Accept the request, with what is to be written beside it, and begin with it."""
    pool = capacity.load(env, model.pool)
    noted = [*beside, *([note(batch)] if note is not None else [])]
    most = (quota.waiting_lines or None) if quota is not None else None
    try:
        claimed = _accept_single(env, model, batch, shard, pool, noted, waiting_below=most)
    except Conflict:
        if quota is not None:
            quotas.check_waiting(env, batch.tenant, quota, pool=model.pool)
        raise
    with submit.going_on(batch):
        if claimed is not None:
            sending.send(env, claimed)
            pool = msgspec.structs.replace(pool, running_lines=pool.running_lines + 1)
        else:
            # Whoever frees a slot from now on sees this shard waiting, and has it looked at.
            pool = capacity.load(env, model.pool)
            if capacity.free_slots(env, model, pool) > 0:
                capacity.kick_for_new(env, model.pool)
        capacity.wake_if_asleep(env, model, pool)


def _only_shard(model: Model, batch: Batch, **content: Any) -> Shard:
    """The batch's only shard, with its request as its fields have it."""
    return Shard(
        tenant=batch.tenant,
        batch_id=batch.id,
        id=shard_id(1),
        model=model.name,
        pool=model.pool,
        first_line=1,
        last_line=1,
        line_count=1,
        created_at=batch.created_at,
        deadline=batch.expires_at,
        priority=batch.priority,
        ttl=batch.ttl,
        **content,
    )


def _kept(env: Environment, prefix: str, name: str, data: bytes) -> tuple[str | None, bytes | None]:
    """Where the data is kept: in an object, or inline where it is small."""
    if len(data) <= env.limits.inline_bytes:
        return None, data
    key = prefix + name
    env.blobs.put(key, data)
    return key, None


def _accept_single(
    env: Environment,
    model: Model,
    batch: Batch,
    shard: Shard,
    pool: Pool,
    noted: Sequence[Write],
    *,
    waiting_below: int | None,
) -> Shard | None:
    """Accept and claim in one transaction if a slot is free; None: the shard waits for one."""
    check_at = batch.created_at + env.limits.batch_check_seconds
    with _counting_on_a_slot(env, model, pool) as may_be_free:
        if may_be_free:
            claimed = claims.claimed(env, shard)
            cap = tenant_cap(capacity=model.slots, share=env.limits.tenant_share)
            writes = transitions.accept_claimed(
                batch, claimed, capacity=model.slots, cap=cap, check_at=check_at
            )
            with suppress(Conflict):  # no slot is free any more, or none for the tenant
                env.store.transact(*writes, *noted)
                return claimed
    waiting = transitions.accept(batch, check_at=check_at, shard=shard, waiting_below=waiting_below)
    env.store.transact(*waiting, *noted)
    return None


@contextmanager
def _counting_on_a_slot(env: Environment, model: Model, pool: Pool) -> Iterator[bool]:
    """Whether a slot of the pool, as it was seen, is free, and nobody here is about to take it.

    Of many that see the last one free, all but one would write in vain.
    """
    takers = env.takers
    with takers.lock:
        is_free = pool.in_flight + takers.of[pool.id] < model.slots
        takers.of[pool.id] += is_free
    try:
        yield is_free
    finally:
        with takers.lock:
            takers.of[pool.id] -= is_free
