"""The routes of single requests: what became of what was asked for elsewhere."""

from collections.abc import Sequence

from backburner.domain.batch import RAW_ROUTE, Batch, BatchKind, BatchStatus
from backburner.domain.errors import NotFound, StateConflict
from backburner.domain.request import Outcome
from backburner.domain.shard import Shard, ShardStatus
from backburner.services import batches, deletion, results
from backburner.web import errors
from backburner.web.answer import Answer
from backburner.web.call import Call
from backburner.web.content import INLINE_BYTES, LINK_SECONDS
from backburner.wire import objects, request_object
from backburner.wire.anthropic import message as anthropic
from backburner.wire.objects import Object

MESSAGES = "/v1/messages"

#: Those of a request.
Shards = Sequence[Shard]

_PAGE, _MOST = 20, 100
#: Seconds until the next look at a request that runs: more for those that have run for long.
_PATIENCE, _LONGEST_PAUSE = 5.0, 30

#: Statuses of requests that ended without an answer of the model.
_STATUSES = {BatchStatus.CANCELLED: 410, BatchStatus.EXPIRED: 504, BatchStatus.FAILED: 502}


def page(call: Call) -> Object:
    """`GET /v1/requests`, newest first."""
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    found, has_more = batches.page(
        call.env, call.tenant, after=call.after(), limit=limit, kind=BatchKind.REQUEST
    )
    url = call.env.public_url
    shown = [request_object.request_object(one, base_url=url) for one in found]
    return objects.page_object(shown, has_more=has_more)


def retrieve(call: Call, request_id: str) -> Answer:
    """`GET /v1/requests/{id}`: the model's answer; 202 and how it goes, until it is there."""
    batch, shards = _find_whole(call, request_id)
    return result(call, batch, shards) if batch.is_terminal else pending(call, batch, shards)


def status(call: Call, request_id: str) -> Answer:
    """`GET /v1/requests/{id}/status`: how it goes, never what came out."""
    batch, shards = _find_whole(call, request_id)
    if not batch.is_terminal:
        return Answer(body=_shown(call, batch, shards), headers=_pause(call, batch))
    outcome = results.single(call.env, batch, shards)
    url = call.env.public_url
    return Answer(body=request_object.request_object(batch, base_url=url, outcome=outcome))


def cancel(call: Call, request_id: str) -> Object:
    """`POST /v1/requests/{id}/cancel`; again is no error."""
    found = _find(call, request_id)
    if found.is_terminal and found.stopping is None:
        raise StateConflict(f"The request can't be cancelled: it is {found.status}.", param="id")
    batch = batches.cancel(call.env, call.tenant, request_id, kind=BatchKind.REQUEST)
    return request_object.request_object(batch, base_url=call.env.public_url)


def delete(call: Call, request_id: str) -> Object:
    """`DELETE /v1/requests/{id}`; one that runs is cancelled first."""
    deletion.delete(call.env, call.tenant, request_id, kind=BatchKind.REQUEST)
    return objects.deleted_object(request_id, "request.deleted")


def pending(call: Call, batch: Batch, shards: Shards, *, applied: str = "") -> Answer:
    """202: it has not ended; where and when to ask again."""
    headers = {"location": url_of(call, batch)} | _pause(call, batch)
    if applied:
        headers["preference-applied"] = applied
    return Answer(status=202, body=_shown(call, batch, shards), headers=headers)


def url_of(call: Call, batch: Batch) -> str:
    return f"{call.env.public_url}/v1/requests/{batch.id}"


def result(call: Call, batch: Batch, shards: Shards) -> Answer:
    """What the model answered, with its status; or why there is no answer."""
    outcome = results.single(call.env, batch, shards) if batch.stopping is None else None
    headers = {"x-backburner-request": batch.id}
    if outcome is None or not outcome.status_code:
        code, message = request_object.why(batch, outcome)
        number = _STATUSES.get(batch.status, 502)
        failed = errors.failed(
            number, message, code=code, path=batch.route, request_id=call.request_id
        )
        return Answer(status=number, body=failed.body, headers=headers | _no_more(number))
    if batch.route == RAW_ROUTE and outcome.is_success:
        return _raw_result(call, batch, shards, headers)
    body = _message(batch, outcome) if batch.route == MESSAGES else outcome.body
    headers = {"content-type": "application/json"} | headers | _no_more(outcome.status_code)
    return Answer(status=outcome.status_code, body=body, headers=headers)


def _message(batch: Batch, outcome: Outcome) -> Object:
    """What the model answered, in Anthropic's shape."""
    if not outcome.is_success:
        return anthropic.server_error(outcome.status_code, outcome.body)
    message_id = f"msg_{batch.id.partition('_')[2]}"
    message = anthropic.message_object(outcome.body, message_id=message_id)
    return message or anthropic.silent_object(
        outcome.body, message_id=message_id, service_tier="standard"
    )


def _raw_result(call: Call, batch: Batch, shards: Shards, headers: dict[str, str]) -> Answer:
    """The answer to a raw request: as it came, or by a link where it is large.

    By a link as well where nobody told what it is: the store may know.
    """
    blobs = call.env.blobs
    kept = results.raw_answer(call.env, batch, shards)
    stat = blobs.stat(kept.key) if kept is not None else None
    if kept is None or stat is None:
        raise NotFound("The result of this request is not kept any more.", param="id")
    if kept.content_type is not None and stat.size <= INLINE_BYTES:
        told = {
            "content-type": kept.content_type,
            "content-disposition": "attachment",
            "x-content-type-options": "nosniff",
        }
        return Answer(body=blobs.get(kept.key), headers=headers | told)
    link = blobs.presign(
        kept.key, seconds=LINK_SECONDS, filename=batch.id, content_type=kept.content_type
    )
    return Answer(status=303, headers=headers | {"location": link})


def _no_more(status: int) -> dict[str, str]:
    """Tell clients not to ask again by themselves: it was tried as often as it should be."""
    return {"x-should-retry": "false"} if status >= 400 else {}


def _find(call: Call, request_id: str) -> Batch:
    return batches.find(call.env, call.tenant, request_id, kind=BatchKind.REQUEST)


def _find_whole(call: Call, request_id: str) -> tuple[Batch, Shards]:
    return batches.find_single(call.env, call.tenant, request_id, kind=BatchKind.REQUEST)


def _shown(call: Call, batch: Batch, shards: Shards) -> Object:
    is_running = any(shard.status is ShardStatus.IN_FLIGHT for shard in shards)
    url = call.env.public_url
    return request_object.request_object(batch, base_url=url, is_running=is_running)


def _pause(call: Call, batch: Batch) -> dict[str, str]:
    age = call.env.clock.now() - batch.created_at
    return {"retry-after": str(max(1, min(_LONGEST_PAUSE, int(age / _PATIENCE))))}
