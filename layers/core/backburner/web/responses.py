"""The routes of background responses."""

from backburner.domain.batch import Batch, BatchKind, checked_metadata
from backburner.domain.errors import InvalidRequest, StateConflict
from backburner.domain.request import Request
from backburner.domain.shard import ShardStatus
from backburner.services import batches, records, results, submit
from backburner.services.fitting import is_too_long
from backburner.web.answer import Answer
from backburner.web.batches import priority_of
from backburner.web.call import Call, read_object
from backburner.web.once import created, digest
from backburner.wire import response_object, responses
from backburner.wire.objects import Object


def create(call: Call) -> Answer:
    """`POST /v1/responses`."""
    original = call.raw_body()
    new = responses.parse(read_object(original))
    _check_model(call, new.request)
    metadata = checked_metadata(new.metadata)
    priority = priority_of({"priority": new.priority}, metadata)
    if type(priority) is not int or priority not in submit.PRIORITIES:
        raise InvalidRequest("'priority' must be an integer from 0 to 9.", param="priority")
    return created(
        call,
        digest(original),
        make=lambda note: submit.submit_response(
            call.env,
            call.tenant,
            request=new.request,
            original=original,
            completion_window=new.completion_window,
            metadata=metadata,
            priority=priority,
            note=note,
        ),
        read=records.to_batch,
        show=lambda batch: response_object.response_object(batch, original),
    )


def _check_model(call: Call, request: Request) -> None:
    """Refuse what the model can't run; that there is such a model is checked on submission."""
    model = call.env.catalog.get(request.model)
    if model is None:
        return
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
    return _shown(call, _find(call, response_id))


def cancel(call: Call, response_id: str) -> Object:
    """`POST /v1/responses/{id}/cancel`; again is no error."""
    found = _find(call, response_id)
    if found.is_terminal and found.stopping is None:
        raise StateConflict(f"The response can't be cancelled: it is {found.status}.", param="id")
    batch = batches.cancel(call.env, call.tenant, response_id, kind=BatchKind.RESPONSE)
    return _shown(call, batch)


def _find(call: Call, response_id: str) -> Batch:
    return batches.find(call.env, call.tenant, response_id, kind=BatchKind.RESPONSE)


def _shown(call: Call, batch: Batch) -> Object:
    env = call.env
    original = batch.input_inline
    if original is None:
        original = env.blobs.get(batch.input_key or "")
    if batch.is_terminal:
        outcome = results.single(env, batch)
        return response_object.response_object(batch, original, outcome)
    is_running = any(shard.status is ShardStatus.IN_FLIGHT for shard in batches.shards(env, batch))
    return response_object.response_object(batch, original, is_running=is_running)
