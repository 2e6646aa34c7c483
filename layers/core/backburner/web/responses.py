"""The routes of background responses."""

from collections.abc import Sequence

import msgspec

from backburner.domain.batch import Batch, BatchKind, checked_metadata
from backburner.domain.errors import InvalidRequest, StateConflict, TooLarge
from backburner.domain.request import Request
from backburner.domain.shard import Shard, ShardStatus
from backburner.services import batches, deletion, records, results, singles
from backburner.services.fitting import is_too_long, prompt_tokens
from backburner.services.submit import no_model
from backburner.web.answer import Answer
from backburner.web.batches import callback_of, priority_of
from backburner.web.call import Call, read_object
from backburner.web.once import created, digest
from backburner.wire import objects, response_items, response_object, responses
from backburner.wire.objects import Object

#: Items on a page, and most of them.
_PAGE, _MOST = 20, 100


def create(call: Call) -> Answer:
    """`POST /v1/responses`."""
    original, body = _continued(call, call.raw_body())
    new = responses.parse(body)
    _check_model(call, new.request)
    metadata = checked_metadata(new.metadata)
    single = singles.NewSingle(
        kind=BatchKind.RESPONSE,
        request=new.request,
        original=original,
        completion_window=new.completion_window,
        metadata=metadata,
        priority=priority_of({"priority": new.priority}, metadata),
        callback_url=callback_of(body, metadata),
    )
    return created(
        call,
        digest(original),
        make=lambda note: singles.submit_single(
            call.env, call.tenant, single, note=note, quota=call.quota
        ),
        read=records.to_batch,
        show=lambda batch: response_object.response_object(batch, original),
    )


def _continued(call: Call, original: bytes) -> tuple[bytes, Object]:
    """The body, with the whole conversation as input where it continues a former response.

    What is stored needs no other response to be shown, and stays when the former one is deleted.
    """
    body = read_object(original)
    named = body.get("previous_response_id")
    if named is None:
        return original, body
    former = batches.load(call.env, call.tenant, named) if isinstance(named, str) else None
    if former is None or former.kind is not BatchKind.RESPONSE:
        raise InvalidRequest(
            f"Previous response with id '{str(named)[:64]}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    asked = read_object(_original(call, former))
    shown = _shown(call, former, batches.shards(call.env, former))
    if shown["status"] not in ("completed", "incomplete"):
        raise InvalidRequest(
            f"The previous response can't be continued: it is {shown['status']}.",
            param="previous_response_id",
        )
    given = body.get("input")
    if given is not None and not isinstance(given, str | list):
        raise InvalidRequest("'input' must be a text or a list.", param="input")
    history = [*response_items.input_items(asked, former.id), *shown["output"]]
    whole = body | {"input": [*history, *response_items.as_items(given)]}
    data = msgspec.json.encode(whole)
    if len(data) > call.env.limits.line_bytes:
        raise TooLarge(
            f"The conversation is larger than the limit of {call.env.limits.line_bytes} bytes."
        )
    return data, whole


def count_tokens(call: Call) -> Object:
    """`POST /v1/responses/input_tokens`: what the model would read, and nothing is run."""
    _, body = _continued(call, call.raw_body())
    request = responses.to_request(body)
    model = call.env.catalog.get(request.model)
    if model is None:
        raise no_model(request.model)
    tokens, is_counted = prompt_tokens(call.env, request, model, dialect="openai")
    return {
        "object": "response.input_tokens",
        "input_tokens": tokens,
        "x_counted_by": "tokenizer" if is_counted else "bytes",
    }


def _check_model(call: Call, request: Request) -> None:
    """Refuse what the model can't run."""
    model = singles.direct_model(call.env, request.model)
    if request.route not in model.routes:
        raise InvalidRequest(f"The model '{model.name}' makes no responses.", param="model")
    if is_too_long(call.env, request, model, dialect="openai"):
        raise InvalidRequest(
            "The input and 'max_output_tokens' do not fit into the model's context window of "
            f"{model.context_window} tokens.",
            param="input",
            code="context_length_exceeded",
        )


def retrieve(call: Call, response_id: str) -> Object:
    """`GET /v1/responses/{id}`."""
    if (call.query("stream") or "false") != "false":
        raise InvalidRequest("'stream' is not supported.", param="stream")
    found = batches.find_single(call.env, call.tenant, response_id, kind=BatchKind.RESPONSE)
    return _shown(call, *found)


def cancel(call: Call, response_id: str) -> Object:
    """`POST /v1/responses/{id}/cancel`; again is no error."""
    found = _find(call, response_id)
    if found.is_terminal and found.stopping is None:
        raise StateConflict(f"The response can't be cancelled: it is {found.status}.", param="id")
    batch = batches.cancel(call.env, call.tenant, response_id, kind=BatchKind.RESPONSE)
    return _shown(call, batch, batches.shards(call.env, batch))


def delete(call: Call, response_id: str) -> Object:
    """`DELETE /v1/responses/{id}`; one that runs is cancelled first."""
    deletion.delete(call.env, call.tenant, response_id, kind=BatchKind.RESPONSE)
    return objects.deleted_object(response_id, "response.deleted")


def input_items(call: Call, response_id: str) -> Object:
    """`GET /v1/responses/{id}/input_items`, newest first."""
    order = call.query("order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", param="order")
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    found = _find(call, response_id)
    items = response_items.input_items(read_object(_original(call, found)), found.id)
    if order == "desc":
        items.reverse()
    start, after = 0, call.query("after")
    if after is not None:
        start = next((n for n, one in enumerate(items, start=1) if one["id"] == after), 0)
        if not start:
            raise InvalidRequest("'after' must be the id of an item.", param="after")
    end = start + limit
    return objects.page_object(items[start:end], has_more=len(items) > end)


def _find(call: Call, response_id: str) -> Batch:
    return batches.find(call.env, call.tenant, response_id, kind=BatchKind.RESPONSE)


def _shown(call: Call, batch: Batch, shards: Sequence[Shard]) -> Object:
    env, original = call.env, _original(call, batch)
    if batch.is_terminal:
        outcome = results.single(env, batch, shards)
        return response_object.response_object(batch, original, outcome)
    is_running = any(shard.status is ShardStatus.IN_FLIGHT for shard in shards)
    return response_object.response_object(batch, original, is_running=is_running)


def _original(call: Call, batch: Batch) -> bytes:
    """The body that the response was asked for with."""
    if batch.input_inline is not None:
        return batch.input_inline
    return call.env.blobs.get(batch.input_key or "")
