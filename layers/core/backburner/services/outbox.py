"""What is to be told of a batch: written with the state that it tells of, and made afterwards."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from backburner.domain.batch import Batch
from backburner.domain.delivery import (
    BUS,
    CALLBACK,
    TOPIC,
    Channel,
    Delivery,
    DeliveryStatus,
    address_id,
    event_type,
)
from backburner.domain.webhook import Hooks
from backburner.ports import Environment, QueueName
from backburner.services import records

#: More than one batch has: three, and one an endpoint.
_PAGE = 1000

#: Time after which a message that did not come is lost.
MESSAGE_SECONDS = 60.0


def load(env: Environment, tenant: str, batch_id: str) -> tuple[Batch | None, Hooks]:
    """A batch, and in the same call the webhooks that may be told of it."""
    item, hooks = env.store.get(records.batch_key(tenant, batch_id), records.hooks_key(tenant))
    return (records.to_batch(item) if item is not None else None), records.to_hooks(hooks)


def load_all(
    env: Environment, tenant: str, batch_ids: Sequence[str]
) -> tuple[dict[str, Batch], Hooks]:
    """The same of several batches of a tenant, by id."""
    hooks, *items = env.store.get(
        records.hooks_key(tenant), *(records.batch_key(tenant, one) for one in batch_ids)
    )
    found = [records.to_batch(item) for item in items if item is not None]
    return {batch.id: batch for batch in found}, records.to_hooks(hooks)


def of_end(env: Environment, ended: Batch, hooks: Hooks) -> list[Delivery]:
    """What is to be told of a batch that ended, and to whom. One stable event id for all."""
    now = env.clock.now()
    kind = event_type(ended)
    return [
        Delivery(
            tenant=ended.tenant,
            batch_id=ended.id,
            event_id=f"evt_{ended.id}",
            event_type=kind,
            created_at=now,
            tried_since=now,
            due_at=now + MESSAGE_SECONDS,
            ttl=ended.ttl,
            **target,
        )
        for target in _targets(env, ended, hooks, kind)
    ]


def _address_of_tenant(env: Environment, ended: Batch) -> str | None:
    """Who is told of a tenant's batches that name nobody; single requests tell whom they name."""
    if ended.is_single:
        return None
    from backburner.services import mailing  # functions that end single requests need it not

    return mailing.settings(env, ended.tenant).address


def _targets(env: Environment, ended: Batch, hooks: Hooks, kind: str) -> Iterator[dict[str, Any]]:
    """Whom the end is told: members of the deliveries."""
    yield {"channel": Channel.EVENTS, "target_id": TOPIC}
    if env.bus is not None:
        yield {"channel": Channel.BUS, "target_id": BUS}
    if address := ended.metadata.get("notify_email") or _address_of_tenant(env, ended):
        yield {"channel": Channel.EMAIL, "target_id": address_id(address), "target": address}
    if ended.callback_url is not None:
        url = ended.callback_url
        yield {"channel": Channel.WEBHOOK, "target_id": CALLBACK, "target": url}
    for endpoint in hooks.wanting(kind):
        told = {"channel": Channel.WEBHOOK, "target_id": endpoint.id}
        if not endpoint.is_enabled:  # whoever enables it again may ask for what it missed
            told |= {"status": DeliveryStatus.DEAD, "last_error": "The endpoint was disabled."}
        yield told


def data_of(batch: Batch) -> dict[str, Any]:
    """What events say of a batch: ids and counts, never content."""
    return {
        "id": batch.id,
        "status": batch.status,
        "tenant": batch.tenant,
        "model": batch.model,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
    }


def send(env: Environment, told: Iterable[Delivery], *, delay_seconds: float = 0.0) -> None:
    """Have the next attempt of each made that is not over."""
    for delivery in told:
        if delivery.status is not DeliveryStatus.PENDING:
            continue
        message = {
            "tenant": delivery.tenant,
            "batch_id": delivery.batch_id,
            "delivery": delivery.name,
        }
        env.queue.send(QueueName.DELIVER, message, delay_seconds=delay_seconds)


def of_batch(env: Environment, tenant: str, batch_id: str) -> list[Delivery]:
    """All deliveries of a batch, by channel and target."""
    items = env.store.query(f"{tenant}/{batch_id}", prefix="delivery/", limit=_PAGE)
    return [records.to_delivery(item) for item in items]
