"""The routes of batches."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.errors import InvalidRequest, NotFound, StateConflict
from backburner.domain.finding import Finding
from backburner.domain.progress import Standing, progress
from backburner.services import batches, inline, pausing, records, retrying, standing, submit
from backburner.web import results
from backburner.web.answer import Answer
from backburner.web.call import Call, read_object
from backburner.web.files import checked_expiry
from backburner.web.once import created, digest
from backburner.wire import objects
from backburner.wire.objects import Object

_PAGE, _MOST = 20, 100
#: Largest call: one that has its requests in it.
_BODY_BYTES = 4 * 1024 * 1024
#: Errors of each failed batch that a list shows; all of them are in the batch itself.
_LISTED_ERRORS = 3


def create(call: Call) -> Answer:
    """`POST /v1/batches`; options that begin with `x_` may also come in the metadata."""
    data = call.raw_body(_BODY_BYTES)
    body = read_object(data)
    new = _asked_for(body)
    make = partial(submit.submit_batch, call.env, call.tenant, new)
    if body.get("requests") is not None:
        if new.input_file_id is not None:
            raise InvalidRequest(
                "A batch has either 'requests' or an 'input_file_id'.", param="requests"
            )
        make = partial(
            inline.submit_requests,
            call.env,
            call.tenant,
            new,
            body["requests"],
            model=body.get("model"),
        )
    return created(
        call,
        digest(data),
        make=lambda note: make(note=note, quota=call.quota),
        read=records.to_batch,
        show=lambda batch: _shown(call, batch),
    )


def _asked_for(body: dict[str, Any]) -> submit.NewBatch:
    given = body.get("metadata")
    metadata = given if isinstance(given, dict) else {}
    return submit.NewBatch(
        input_file_id=body.get("input_file_id"),
        route=body.get("endpoint"),
        completion_window=_first(body.get("completion_window"), "24h"),
        metadata=given,
        on_invalid=_first(body.get("x_on_invalid"), metadata.get("x_on_invalid"), "fail"),
        priority=priority_of(body, metadata),
        max_cost_usd=either(body, metadata, "x_max_cost_usd"),
        max_tokens=either(body, metadata, "x_max_tokens"),
        callback_url=callback_of(body, metadata),
        output_expires_seconds=_kept(body.get("output_expires_after")),
    )


def _kept(given: Any) -> float | None:
    if given is None:
        return None
    param = "output_expires_after"
    if not isinstance(given, dict):
        raise InvalidRequest(f"'{param}' must be an object.", param=param)
    return checked_expiry(given.get("anchor"), given.get("seconds"), param=param)


def priority_of(body: dict[str, Any], metadata: dict[str, Any]) -> Any:
    """The priority, whichever way it came; checked by whoever takes it."""
    given = _first(body.get("priority"), body.get("x_priority"), metadata.get("x_priority"), 0)
    if isinstance(given, str) and len(given) == 1 and given in "0123456789":
        return int(given)
    return given


def callback_of(body: dict[str, Any], metadata: dict[str, Any]) -> Any:
    """The URL that is told of the end, whichever way it came; None: none came."""
    given = body.get("callback_url")
    return either(body, metadata, "x_callback_url") if given is None else given


def either(body: dict[str, Any], metadata: dict[str, Any], name: str) -> Any:
    """An option of the body, else of the metadata; None where neither has it."""
    return body[name] if body.get(name) is not None else metadata.get(name)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def page(call: Call) -> Object:
    """`GET /v1/batches`, newest first."""
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    found, has_more = batches.page(call.env, call.tenant, after=call.after(), limit=limit)
    shown = [_shown(call, one, _findings(call, one)[:_LISTED_ERRORS]) for one in found]
    return objects.page_object(shown, has_more=has_more)


def retrieve(call: Call, batch_id: str) -> Object:
    """`GET /v1/batches/{id}`."""
    batch = batches.find(call.env, call.tenant, batch_id)
    shown = as_it_stands(call, batch)
    return shown | {"results": results.small(call, batch)} if batch.is_inline else shown


def as_it_stands(call: Call, batch: Batch) -> Object:
    """The batch with all that is known of it, but its results."""
    return _shown(call, batch, _findings(call, batch), standing.look(call.env, batch))


def cancel(call: Call, batch_id: str) -> Object:
    """`POST /v1/batches/{id}/cancel`; again is no error while it is being cancelled."""
    batch = batches.find(call.env, call.tenant, batch_id)
    if batch.is_terminal:
        raise StateConflict(f"The batch can't be cancelled: it is {batch.status}.", param="id")
    cancelled = batches.cancel(call.env, call.tenant, batch_id, kind=BatchKind.FILE)
    return _shown(call, cancelled)


def pause(call: Call, batch_id: str) -> Object:
    """`POST /v1/batches/{id}/pause`; again is no error."""
    return _shown(call, pausing.pause(call.env, call.tenant, batch_id))


def resume(call: Call, batch_id: str) -> Object:
    """`POST /v1/batches/{id}/resume`; again is no error."""
    return _shown(call, pausing.resume(call.env, call.tenant, batch_id))


def retry(call: Call, batch_id: str) -> Object:
    """`POST /v1/batches/{id}/retry`; answers with the batch that runs what failed again."""
    data = call.raw_body()
    return _retry(call, batch_id, read_object(data) if data.strip() else {})


def retry_requests(call: Call, batch_id: str) -> Object:
    """`POST /v1/batches/{id}/retry-requests`; the same, of requests that are named."""
    body = call.body()
    if body.get("request_ids") is None:
        raise InvalidRequest("'request_ids' must be a list of custom_ids.", param="request_ids")
    return _retry(call, batch_id, body)


def _retry(call: Call, batch_id: str, body: dict[str, Any]) -> Object:
    new = retrying.NewRetry(
        request_ids=body.get("request_ids"),
        completion_window=body.get("completion_window"),
        max_cost_usd=body.get("x_max_cost_usd"),
        max_tokens=body.get("x_max_tokens"),
    )
    return _shown(call, retrying.retry(call.env, call.tenant, batch_id, new, quota=call.quota))


def _shown(
    call: Call, batch: Batch, findings: Iterable[Finding] = (), stands: Standing | None = None
) -> Object:
    """The batch, with its progress as far as it tells by itself, or as it stands."""
    found = progress(batch, call.env.clock.now(), stands)
    return objects.batch_object(batch, findings, found)


def _findings(call: Call, batch: Batch) -> list[Finding]:
    try:
        return batches.findings(call.env, batch)
    except NotFound:  # the list was removed; its first entry is in the batch
        return [Finding(code="batch_failed", message=batch.failure or "The batch failed.")]
