"""The routes of webhook endpoints, as OpenAI's clients ask for them."""

from functools import partial
from typing import Any

from backburner.domain.errors import InvalidRequest
from backburner.domain.webhook import EVENT_TYPES, checked_event_type
from backburner.services import records, webhooks
from backburner.web.answer import Answer
from backburner.web.call import Call, read_object
from backburner.web.once import created, digest
from backburner.wire import objects, webhook_object
from backburner.wire.objects import Object

_PAGE, _MOST = 20, 100


def create(call: Call) -> Answer:
    """`POST /v1/webhook_endpoints`; the secret is in this answer alone."""
    data = call.raw_body()
    return created(
        call,
        digest(data),
        make=lambda note: webhooks.create(call.env, call.tenant, read_object(data), note=note),
        read=records.to_endpoint,
        show=webhook_object.endpoint_with_secret,
    )


def page(call: Call) -> Object:
    """`GET /v1/webhook_endpoints`, newest first."""
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    after = call.after()
    found = webhooks.load(call.env, call.tenant).endpoints[::-1]
    if after is not None:
        found = tuple(one for one in found if one.id < after)
    shown = [webhook_object.endpoint_object(one) for one in found[:limit]]
    return objects.page_object(shown, has_more=len(found) > limit)


def retrieve(call: Call, endpoint_id: str) -> Object:
    """`GET /v1/webhook_endpoints/{id}`."""
    found = webhooks.find(call.env, call.tenant, endpoint_id)
    return webhook_object.endpoint_object(found)


def update(call: Call, endpoint_id: str) -> Object:
    """`POST /v1/webhook_endpoints/{id}`; one that was disabled is told again."""
    changed = webhooks.update(call.env, call.tenant, endpoint_id, _body(call))
    return webhook_object.endpoint_object(changed)


def delete(call: Call, endpoint_id: str) -> Object:
    """`DELETE /v1/webhook_endpoints/{id}`."""
    webhooks.delete(call.env, call.tenant, endpoint_id)
    return objects.deleted_object(endpoint_id, "webhook_endpoint.deleted")


def rotate_secret(call: Call, endpoint_id: str) -> Answer:
    """`POST /v1/webhook_endpoints/{id}/rotate_secret`; the new one is in this answer alone."""
    data = call.raw_body()
    keeps_old = _keeps_old(read_object(data) if data.strip() else {})
    rotate = partial(webhooks.rotate, call.env, call.tenant, endpoint_id, keeps_old=keeps_old)
    return created(
        call,
        digest(data),
        make=lambda note: rotate(note=note),
        read=records.to_endpoint,
        show=webhook_object.endpoint_with_secret,
    )


def test(call: Call, endpoint_id: str) -> Object:
    """`POST /v1/webhook_endpoints/{id}/test`: sends a sample, and says what was answered."""
    kind = checked_event_type(call.body().get("event_type"), param="event_type")
    answer = webhooks.test(call.env, call.tenant, endpoint_id, kind)
    return webhook_object.test_object(endpoint_id, kind, answer.status)


def event_types(call: Call) -> Object:  # noqa: ARG001
    """`GET /v1/webhook_event_types`."""
    return webhook_object.event_types_object(EVENT_TYPES)


def rotate_callback_secret(call: Call) -> Object:
    """`POST /v1/x-callback-secret`: makes what callbacks are signed with, or replaces it."""
    keeps_old = _keeps_old(_body(call))
    secret = webhooks.rotate_callback_secret(call.env, call.tenant, keeps_old=keeps_old)
    return webhook_object.callback_secret_object(secret)


def _body(call: Call) -> dict[str, Any]:
    """The body; none is an empty one."""
    data = call.raw_body()
    return read_object(data) if data.strip() else {}


def _keeps_old(body: dict[str, Any]) -> bool:
    name = "keep_old_secret_active_for_24_hours"
    given = body.get(name)
    if not isinstance(given, bool | None):
        raise InvalidRequest(f"'{name}' must be true or false.", param=name)
    return bool(given)
