"""OpenAI's objects of webhook endpoints, and ours of deliveries."""

from collections.abc import Iterable

from backburner.domain.delivery import CALLBACK, Channel, Delivery, DeliveryStatus
from backburner.domain.webhook import Endpoint, Secret
from backburner.wire.objects import Object


def endpoint_object(endpoint: Endpoint) -> Object:
    """An endpoint, without its secret; beyond OpenAI's members, whether it is told anything."""
    disabled_at = endpoint.disabled_at
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "signing_secret_hint": endpoint.secrets[0].hint,
        "x_status": "enabled" if endpoint.is_enabled else "disabled",
        "x_disabled_at": None if disabled_at is None else int(disabled_at),
        "x_disabled_reason": endpoint.disabled_reason,
        "x_notify_email": endpoint.notify_email,
    }


def endpoint_with_secret(endpoint: Endpoint) -> Object:
    """The same as it is shown once."""
    return endpoint_object(endpoint) | {"signing_secret": endpoint.secrets[0].value}


def test_object(endpoint_id: str, event_type: str, status: int) -> Object:
    """What a test came to; that the endpoint answered is the success that OpenAI means."""
    return {
        "object": "webhook_endpoint.test",
        "event_type": event_type,
        "status_code": status,
        "success": True,
        "webhook_endpoint_id": endpoint_id,
    }


def event_types_object(event_types: Iterable[str]) -> Object:
    return {"object": "list", "data": list(event_types)}


def callback_secret_object(secret: Secret) -> Object:
    """What deliveries to callback URLs are signed with, as it is shown once."""
    return {
        "object": "x_callback_secret",
        "signing_secret": secret.value,
        "signing_secret_hint": secret.hint,
    }


def delivery_object(delivery: Delivery, delivery_id: str) -> Object:
    """A delivery; never what it says."""
    is_endpoint = delivery.channel is Channel.WEBHOOK and delivery.target_id != CALLBACK
    is_pending = delivery.status is DeliveryStatus.PENDING
    return {
        "id": delivery_id,
        "object": "x_delivery",
        "batch_id": delivery.batch_id,
        "channel": str(delivery.channel),
        "endpoint_id": delivery.target_id if is_endpoint else None,
        "target": delivery.target or None,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "status": str(delivery.status),
        "attempts": delivery.attempts,
        "created_at": int(delivery.created_at),
        "next_attempt_at": int(delivery.not_before or delivery.created_at) if is_pending else None,
        "last_error": delivery.last_error,
    }


def replay_object(count: int, next_since: float | None) -> Object:
    return {
        "object": "x_replay",
        "replayed": count,
        "has_more": next_since is not None,
        "next_since": next_since,
    }
