"""The routes of deliveries: what was told of batches, and what could not be."""

from typing import Any

from backburner.domain.delivery import Delivery, DeliveryStatus
from backburner.domain.errors import InvalidRequest
from backburner.services import outbox, replaying
from backburner.web.call import Call
from backburner.wire import objects
from backburner.wire.objects import Object
from backburner.wire.webhook_object import delivery_object, replay_object

_PAGE, _MOST = 20, 100

#: Latest second that is taken: of the year 9999.
_LAST_SECOND = 253_402_300_799


def page(call: Call) -> Object:
    """`GET /v1/x-deliveries`: what is dead, the latest first; or what there is of one batch."""
    limit = call.number("limit", least=1, most=_MOST) or _PAGE
    status = _status(call.query("status"))
    batch_id = call.id("batch")
    if batch_id is not None:
        return _page_of_batch(call, batch_id, status, limit)
    if status is not DeliveryStatus.DEAD:
        raise InvalidRequest("Without 'batch', 'status' must be 'dead'.", param="status")
    found, has_more = replaying.page_of_dead(call.env, call.tenant, after=call.after(), limit=limit)
    return objects.page_object([_shown(one) for one in found], has_more=has_more)


def _page_of_batch(call: Call, batch_id: str, status: DeliveryStatus | None, limit: int) -> Object:
    after = call.after() or ""
    shown = [
        _shown(one)
        for one in outbox.of_batch(call.env, call.tenant, batch_id)
        if status in (None, one.status) and replaying.id_of(one) > after
    ]
    return objects.page_object(shown[:limit], has_more=len(shown) > limit)


def _status(given: str | None) -> DeliveryStatus | None:
    if given is None:
        return None
    if given not in list(DeliveryStatus):
        raise InvalidRequest(
            f"'status' must be one of {', '.join(DeliveryStatus)}.", param="status"
        )
    return DeliveryStatus(given)


def retrieve(call: Call, delivery_id: str) -> Object:
    """`GET /v1/x-deliveries/{id}`."""
    return _shown(replaying.find(call.env, call.tenant, delivery_id))


def replay(call: Call, delivery_id: str) -> Object:
    """`POST /v1/x-deliveries/{id}/replay`: tells it again; one that is pending stays as it is."""
    return _shown(replaying.replay(call.env, call.tenant, delivery_id))


def replay_since(call: Call) -> Object:
    """`POST /v1/x-deliveries/replay`: tells again what was given up since an instant."""
    body = call.body()
    since, endpoint_id = _instant(body.get("since")), body.get("endpoint_id")
    if not isinstance(endpoint_id, str | None):
        raise InvalidRequest("'endpoint_id' must be that of an endpoint.", param="endpoint_id")
    count, next_since = replaying.replay_since(
        call.env, call.tenant, since=since, endpoint_id=endpoint_id
    )
    return replay_object(count, next_since)


def _instant(given: Any) -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not 0 <= given <= _LAST_SECOND:
        raise InvalidRequest("'since' must be seconds since the epoch.", param="since")
    return float(given)


def _shown(delivery: Delivery) -> Object:
    return delivery_object(delivery, replaying.id_of(delivery))
