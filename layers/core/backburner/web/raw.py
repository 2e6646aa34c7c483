"""The routes that take raw requests: bodies of any kind, passed to the model as they are.

A large body goes past the gateway in two steps: `upload=true` answers with a link that takes the
body, and with the address that starts the request. Until then, room for it is set aside.
"""

import hashlib
from dataclasses import dataclass
from urllib.parse import urlencode

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.errors import Conflict, InvalidRequest, NotFound, TooLarge
from backburner.services import batches, raw, records, reservations, singles
from backburner.web import preference, sync
from backburner.web.answer import Answer
from backburner.web.call import Call, open_body
from backburner.web.once import digest, made_once

#: Window of a request that names none.
WINDOW = "24h"

#: How long the link for an upload works.
LINK_SECONDS = 3600

_CHUNK = 1 << 20
_OPTIONS = ("completion_window", "priority", "notify_email", "callback_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a call says of its request, beside the body."""

    model: str
    content_type: str
    accept: str | None
    custom_attributes: str | None
    options: sync.Options

    def raw(self, request_id: str, inline: bytes | None) -> singles.NewRaw:
        return singles.NewRaw(
            request_id=request_id,
            model=self.model,
            content_type=self.content_type,
            accept=self.accept,
            custom_attributes=self.custom_attributes,
            inline=inline,
            completion_window=self.options.completion_window,
            metadata=self.options.metadata,
            priority=self.options.priority,
            callback_url=self.options.callback_url,
        )


def create(call: Call) -> Answer:
    """`POST /v1/requests?model=…`."""
    asked = _asked(call)
    if (call.query("upload") or "false") != "false":
        return _reserved(call, asked)
    env, tenant = call.env, call.tenant
    request_id = env.ids.new(records.PREFIXES[BatchKind.REQUEST])
    inline, content = _body(call, request_id)
    key = raw.body_key(tenant, request_id)
    try:
        batch, is_replay = made_once(
            call,
            digest(repr(asked), content),
            make=lambda note: singles.submit_raw(
                env, tenant, asked.raw(request_id, inline), note=note, quota=call.quota
            ),
            read=records.to_batch,
        )
    except Exception:
        if inline is None and batches.load(env, tenant, request_id) is None:
            env.blobs.delete(key)
        raise
    if is_replay and inline is None:
        env.blobs.delete(key)
    return _answer(call, batch, is_replay=is_replay)


def start(call: Call, request_id: str) -> Answer:
    """`POST /v1/requests/{id}/start`, once the body was uploaded; again is no error."""
    env, tenant = call.env, call.tenant
    if not request_id.startswith(f"{records.PREFIXES[BatchKind.REQUEST]}_"):
        raise NotFound(f"No such Request object: {request_id}", param="id")
    started = batches.load(env, tenant, request_id)
    if started is not None:
        return _answer(call, started, is_replay=True)
    asked = _asked(call)
    reserved = reservations.load(env, tenant, request_id)
    stat = env.blobs.stat(raw.body_key(tenant, request_id)) if reserved is not None else None
    if stat is None or not stat.size:
        raise InvalidRequest("Nothing was uploaded for this request yet.", param="id")
    if stat.size > env.limits.raw_bytes:
        raise TooLarge(f"A request has at most {env.limits.raw_bytes} bytes.")
    try:
        batch = singles.submit_raw(
            env, tenant, asked.raw(request_id, None), quota=call.quota, reserved=reserved
        )
    except Conflict:  # another call was first, or the body is gone
        batch = batches.find(env, tenant, request_id, kind=BatchKind.REQUEST)
    return _answer(call, batch, is_replay=False)


def _answer(call: Call, batch: Batch, *, is_replay: bool) -> Answer:
    """202 at once, unless the client would rather wait."""
    preferred = preference.read(call.header("prefer"), most_seconds=call.env.limits.wait_seconds)
    if preferred.wait_seconds is None:
        preferred = preference.Preference(is_async=True)
    return sync.answer(call, batch, preferred, is_replay=is_replay)


def _asked(call: Call) -> _Asked:
    model = call.query("model")
    if not model:
        raise InvalidRequest("'model' must be the name of a model, in the query.", param="model")
    singles.raw_model(call.env, model)
    accept = call.header("accept")
    return _Asked(
        model=model,
        content_type=_said(call, "content-type") or "application/octet-stream",
        accept=_said(call, "accept") if accept != "*/*" else _said(call, "accept", plain=False),
        custom_attributes=_said(call, "custom-attributes", plain=False),
        options=sync.options_of(call, window=WINDOW),
    )


def _said(call: Call, name: str, *, plain: bool = True) -> str | None:
    """What is said of the body: in the query, in SageMaker's header, or in HTTP's own."""
    given = call.query(name.replace("-", "_")) or call.header(f"x-amzn-sagemaker-{name}")
    return given or (call.header(name) if plain else "") or None


def _body(call: Call, request_id: str) -> tuple[bytes | None, str]:
    """The body if it is small, else None: it is in its object; and its digest."""
    env = call.env
    most = env.limits.inline_bytes
    with open_body(call.event, env) as stream:
        head = stream.read(most + 1)
        if not head:
            raise InvalidRequest("The body is empty.")
        whole = hashlib.sha256(head)
        if len(head) <= most:
            return head, whole.hexdigest()
        size = len(head)
        with env.blobs.write(raw.body_key(call.tenant, request_id)) as out:
            out.write(head)
            while chunk := stream.read(_CHUNK):
                size += len(chunk)
                if size > env.limits.raw_bytes:
                    raise TooLarge(f"A request has at most {env.limits.raw_bytes} bytes.")
                whole.update(chunk)
                out.write(chunk)
    return None, whole.hexdigest()


def _reserved(call: Call, asked: _Asked) -> Answer:
    """Where to put the body, and where to start the request; both say all that was said here."""
    env = call.env
    request_id = env.ids.new(records.PREFIXES[BatchKind.REQUEST])
    singles.check_raw(env, asked.raw(request_id, None))
    said = {
        "model": asked.model,
        "content_type": asked.content_type,
        "accept": asked.accept,
        "custom_attributes": asked.custom_attributes,
        **{name: call.query(name) for name in _OPTIONS},
    }
    reservations.reserve(env, call.tenant, request_id, call.quota)
    query = urlencode({name: value for name, value in said.items() if value})
    link = env.blobs.presign_upload(raw.body_key(call.tenant, request_id), seconds=LINK_SECONDS)
    return Answer(
        status=201,
        body={
            "id": request_id,
            "object": "request.upload",
            "expires_at": int(env.clock.now()) + LINK_SECONDS,
            "upload": {"method": "PUT", "url": link},
            "start": {
                "method": "POST",
                "url": f"{env.public_url}/v1/requests/{request_id}/start?{query}",
            },
        },
    )
