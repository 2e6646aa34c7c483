"""What is to be told of a batch: written with the state that it tells of, and made afterwards."""

from collections.abc import Iterable

from backburner.domain.batch import Batch
from backburner.domain.delivery import BUS, TOPIC, Channel, Delivery, address_id
from backburner.ports import Environment, QueueName
from backburner.services import records

#: More than one batch has: two, and one a webhook.
_PAGE = 1000


def of_end(env: Environment, ended: Batch) -> list[Delivery]:
    """What is to be told of a batch that ended, and to whom. One stable event id for all."""
    now = env.clock.now()
    targets = [(Channel.EVENTS, TOPIC, "")]
    if env.bus is not None:
        targets.append((Channel.BUS, BUS, ""))
    if address := ended.metadata.get("notify_email") or _address_of_tenant(env, ended):
        targets.append((Channel.EMAIL, address_id(address), address))
    return [
        Delivery(
            tenant=ended.tenant,
            batch_id=ended.id,
            channel=channel,
            target_id=target_id,
            target=target,
            event_id=f"evt_{ended.id}",
            event_type=f"{ended.kind.noun}.{ended.status}",
            created_at=now,
            tried_since=now,
            due_at=now + 60.0,
            ttl=ended.ttl,
        )
        for channel, target_id, target in targets
    ]


def _address_of_tenant(env: Environment, ended: Batch) -> str | None:
    """Who is told of a tenant's batches that name nobody; single requests tell whom they name."""
    if ended.is_single:
        return None
    from backburner.services import mailing  # functions that end single requests need it not

    return mailing.settings(env, ended.tenant).address


def send(env: Environment, told: Iterable[Delivery], *, delay_seconds: float = 0.0) -> None:
    """Have the next attempt of each made."""
    for delivery in told:
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
