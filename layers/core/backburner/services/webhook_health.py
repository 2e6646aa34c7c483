"""Webhook endpoints that stay away: counted, disabled, and told of by a mail."""

from dataclasses import replace
from typing import Any

from backburner.domain.batch import Batch
from backburner.domain.delivery import Channel, Delivery
from backburner.domain.request import Instant
from backburner.domain.webhook import DEAD_IN_A_ROW, Endpoint, Hooks
from backburner.ports import Environment, Put, Write
from backburner.services import outbox, records
from backburner.services.webhooks import change

#: Type of the event that an endpoint is told nothing more; only mails tell of it.
DISABLED = "webhook_endpoint.disabled"


def note_success(env: Environment, tenant: str, endpoint: Endpoint) -> None:
    """It was told something: those given up before don't count any more."""
    if endpoint.dead_in_a_row:
        change(env, tenant, lambda hooks: _set(hooks, endpoint.id, dead_in_a_row=0))


def note_dead(env: Environment, ended: Batch, endpoint_id: str, *, is_gone: bool) -> None:
    """A delivery to it was given up. After some in a row, or if it says that it is gone, no more.

    Whoever is known to care is told by a mail that it is disabled.
    """
    now = env.clock.now()

    def count(hooks: Hooks) -> Hooks:
        seen = next((one for one in hooks.endpoints if one.id == endpoint_id), None)
        if seen is None or not seen.is_enabled:
            return hooks
        reason = _reason(seen.dead_in_a_row + 1, is_gone=is_gone)
        changes: dict[str, Any] = {"dead_in_a_row": seen.dead_in_a_row + 1}
        if reason is not None:
            changes |= {"disabled_at": now, "disabled_reason": reason}
        return _set(hooks, endpoint_id, **changes)

    mails: list[Delivery] = []

    def mailed(hooks: Hooks) -> list[Write]:
        mails[:] = _mails(ended, hooks, endpoint_id, now=now)
        return [Put(records.key_of(one), records.delivery_item(one)) for one in mails]

    change(env, ended.tenant, count, beside=mailed)
    outbox.send(env, mails)


def _reason(dead_in_a_row: int, *, is_gone: bool) -> str | None:
    """Why it is disabled now; None: it is not."""
    if is_gone:
        return "It answered 410 Gone."
    if dead_in_a_row >= DEAD_IN_A_ROW:
        return f"{dead_in_a_row} deliveries in a row were given up."
    return None


def _mails(ended: Batch, hooks: Hooks, endpoint_id: str, *, now: Instant) -> list[Delivery]:
    """The mail that tells of an endpoint that was disabled at this instant."""
    endpoint = hooks.find(endpoint_id)
    address = endpoint.notify_email or ended.metadata.get("notify_email")
    if endpoint.disabled_at != now or address is None:
        return []
    return [
        Delivery(
            tenant=ended.tenant,
            batch_id=ended.id,
            channel=Channel.EMAIL,
            target_id=endpoint_id,
            target=address,
            event_id=f"evt_{endpoint_id}_{hooks.version}",
            event_type=DISABLED,
            created_at=now,
            tried_since=now,
            due_at=now + 60.0,
            ttl=ended.ttl,
        )
    ]


def _set(hooks: Hooks, endpoint_id: str, **changes: Any) -> Hooks:
    """With these changes of an endpoint, if it is still there."""
    for one in hooks.endpoints:
        if one.id == endpoint_id:
            return hooks.having(replace(one, **changes))
    return hooks
