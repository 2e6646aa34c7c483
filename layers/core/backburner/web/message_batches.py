"""The routes of Message Batches, as Anthropic's clients ask for them."""

from typing import Any

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.errors import InvalidRequest, NotFound, StateConflict
from backburner.ports import Environment
from backburner.services import batches, files, message_batches, records, submit
from backburner.services.once import Note
from backburner.web.answer import Answer
from backburner.web.batches import callback_of, either, priority_of
from backburner.web.call import Call, open_body
from backburner.web.content import INLINE_BYTES, LINK_SECONDS
from backburner.web.once import created, digest_of
from backburner.wire.anthropic import batches as objects
from backburner.wire.bodies import Body
from backburner.wire.json_stream import read_members

_PAGE, _MOST = 20, 1000

#: What a body may have beside its requests; all but the file's id are extensions of OpenAI's, too.
_OPTIONS = frozenset(
    {
        "callback_url",
        "completion_window",
        "metadata",
        "priority",
        "requests",
        "requests_file_id",
        "x_priority",
    }
)


def create(call: Call) -> Answer:
    """`POST /v1/messages/batches`: the requests stream to their place; all of them are checked."""
    with open_body(call.event, call.env) as body:
        payload = digest_of(body)
    return created(
        call,
        payload,
        make=lambda note: _make(call, note),
        read=records.to_batch,
        show=lambda batch: _shown(call.env, batch),
    )


def _make(call: Call, note: Note | None) -> Batch:
    env = call.env
    batch_id = env.ids.new("msgbatch")
    with (
        message_batches.Requests(env, call.tenant, batch_id) as requests,
        open_body(call.event, env) as body,
    ):
        members = read_members(
            body,
            list_name="requests",
            take=requests.add,
            most_bytes=env.limits.body_bytes,
            value_bytes=env.limits.line_bytes,
            advice=message_batches.ADVICE,
        )
        new = _asked_for(members)
        submit.check(new)
        if new.input_file_id is None:
            requests.check()
        elif requests.count:
            raise InvalidRequest(
                "requests: must be empty beside 'requests_file_id'.", param="requests"
            )
    return message_batches.accept(
        env,
        call.tenant,
        new,
        batch_id=batch_id,
        requests=requests if new.input_file_id is None else None,
        note=note,
        quota=call.quota,
    )


def _asked_for(members: Body) -> submit.NewBatch:
    for name in members:
        if name not in _OPTIONS and not name.startswith("x_"):
            raise InvalidRequest(f"{name[:64]}: this member is not supported.", param=name[:64])
    if "requests" not in members and members.get("requests_file_id") is None:
        raise InvalidRequest(
            "requests: is required, or the 'requests_file_id' of an uploaded file.",
            param="requests",
        )
    window = members.get("completion_window")
    metadata = members.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    return submit.NewBatch(
        input_file_id=members.get("requests_file_id"),
        route=message_batches.ROUTE,
        completion_window="24h" if window is None else window,
        metadata=metadata,
        # A bad line of a file ends as an error of its own; bad requests of a body were refused.
        on_invalid="skip",
        priority=priority_of(members, named),
        callback_url=callback_of(members, named),
        max_cost_usd=either(members, named, "x_max_cost_usd"),
        max_tokens=either(members, named, "x_max_tokens"),
    )


def page(call: Call) -> Body:
    """`GET /v1/messages/batches`, newest first."""
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    before = call.id("before_id")
    if before is not None and call.id("after_id") is not None:
        raise InvalidRequest("before_id: can't be given with after_id.", param="before_id")
    found, has_more = batches.page(
        call.env,
        call.tenant,
        kind=BatchKind.MESSAGES,
        after=call.id("after_id"),
        before=before,
        limit=limit,
    )
    return objects.page_object([_shown(call.env, one) for one in found], has_more=has_more)


def retrieve(call: Call, batch_id: str) -> Body:
    """`GET /v1/messages/batches/{id}`."""
    return _shown(call.env, _find(call, batch_id))


def as_it_stands(call: Call, batch: Batch) -> Body:
    """The Message Batch, as it is shown."""
    return _shown(call.env, batch)


def cancel(call: Call, batch_id: str) -> Body:
    """`POST /v1/messages/batches/{id}/cancel`; again is no error while it is being cancelled."""
    batch = _find(call, batch_id)
    if batch.is_terminal:
        raise StateConflict("The batch can't be cancelled: it has ended.", param="id")
    stopped = batches.cancel(call.env, call.tenant, batch_id, kind=BatchKind.MESSAGES)
    return _shown(call.env, stopped)


def delete(call: Call, batch_id: str) -> Body:
    """`DELETE /v1/messages/batches/{id}`, with its results."""
    batch = _find(call, batch_id)
    if not batch.is_terminal:
        raise StateConflict("The batch still runs: cancel it, and wait for its end.", param="id")
    message_batches.remove(call.env, batch)
    return objects.deleted_object(batch_id)


def results(call: Call, batch_id: str) -> Answer:
    """`GET /v1/messages/batches/{id}/results`, in the order of the requests."""
    env = call.env
    batch = _find(call, batch_id)
    if not batch.is_terminal:
        raise StateConflict("The batch has no results yet: it has not ended.", param="id")
    if batch.output_file_id is None:
        return _lines(b"")
    if _archived_at(env, batch) is not None:
        raise NotFound("The results of this batch are not kept any more.", param="id")
    file = files.find(env, call.tenant, batch.output_file_id)
    key = files.blob_key(call.tenant, file.id)
    if file.size <= INLINE_BYTES:
        return _lines(env.blobs.get(key))
    link = env.blobs.presign(key, seconds=LINK_SECONDS, filename=f"{batch_id}_results.jsonl")
    return Answer(status=302, headers={"location": link})


def _lines(data: bytes) -> Answer:
    return Answer(
        body=data,
        headers={"content-type": "application/x-jsonl", "x-content-type-options": "nosniff"},
    )


def _find(call: Call, batch_id: str) -> Batch:
    return batches.find(call.env, call.tenant, batch_id, kind=BatchKind.MESSAGES)


def _shown(env: Environment, batch: Batch) -> dict[str, Any]:
    url = f"{env.public_url}/v1/messages/batches/{batch.id}"
    return objects.batch_object(batch, url=url, archived_at=_archived_at(env, batch))


def _archived_at(env: Environment, batch: Batch) -> float | None:
    """When the results went; None: they are still there, or not there yet."""
    kept = batch.output_expires_seconds or env.limits.output_expires_seconds
    if batch.ended_at is None or not kept or env.clock.now() < batch.ended_at + kept:
        return None
    return batch.ended_at + kept
