"""Tell one target that a batch ended. At least once, always with the same event id."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backburner.domain.batch import Batch
from backburner.domain.delivery import POLICIES, Channel, Delivery, DeliveryStatus, next_pause
from backburner.domain.errors import Conflict, InvalidRequest, Undelivered
from backburner.ports import Environment, Is, Update
from backburner.services import batches, outbox, records

#: Longest delay of a message, and time after which one that did not come is lost.
_LONGEST_DELAY, _MESSAGE_SECONDS = 900.0, 60.0

#: Longest that an attempt may take: the time-out of the function.
_ATTEMPT_SECONDS = 60.0

#: What clocks may differ by.
_SLACK_SECONDS = 2.0


_logger = logging.getLogger(__name__)


def begun(env: Environment, told: Sequence[Delivery]) -> list[Delivery]:
    """The deliveries with their first attempt begun, where it is quick: that of an event.

    Written so, they need no message, and no note before the attempt: `begin` makes it.
    """
    now = env.clock.now()
    not_before = now + _ATTEMPT_SECONDS
    return [
        replace(one, attempts=1, not_before=not_before, due_at=not_before + _MESSAGE_SECONDS)
        if one.channel is Channel.EVENTS
        else one
        for one in told
    ]


def begin(env: Environment, ended: Batch, told: Sequence[Delivery]) -> None:
    """Make the attempts that are begun, and have the others made."""
    for delivery in told:
        if delivery.attempts:
            _attempt(env, ended, delivery)
        else:
            outbox.send(env, [delivery])


def deliver(env: Environment, tenant: str, batch_id: str, name: str) -> None:
    """Make one attempt, and note how it went. Does nothing before the next attempt is due.

    A crash between sending and noting sends again: receivers know the repeat by its id.
    """
    (item,) = env.store.get(records.delivery_key(tenant, batch_id, name))
    batch = batches.load(env, tenant, batch_id)
    if item is None or (batch is None and not records.is_digest(batch_id)):
        return
    seen = records.to_delivery(item)
    if (
        seen.status is not DeliveryStatus.PENDING
        or env.clock.now() < seen.not_before - _SLACK_SECONDS
    ):
        return
    if seen.channel is Channel.EMAIL and batch is not None and _is_in_a_digest(env, seen):
        return
    if seen.attempts >= POLICIES[seen.channel].max_attempts:
        reason = seen.last_error or "The last attempt broke off."
        _note(env, seen, status=DeliveryStatus.DEAD, last_error=reason)
        return
    delivery = replace(seen, attempts=seen.attempts + 1)
    # Of two messages at once, one makes the attempt; should it die of it, reap asks for another.
    if not _note(env, seen, attempts=delivery.attempts, **_pause(env, seen, _ATTEMPT_SECONDS)):
        return
    _attempt(env, batch, delivery)


def _is_in_a_digest(env: Environment, delivery: Delivery) -> bool:
    from backburner.services.mails import digests  # few functions send mails

    return digests.joined(env, delivery)


def _attempt(env: Environment, batch: Batch | None, delivery: Delivery) -> None:
    """Send, and note how it went; the attempt is counted already."""
    batch_id, channel = delivery.batch_id, delivery.channel
    try:
        _send(env, batch, delivery)
    except InvalidRequest as error:  # the target can't be told, now or ever
        _logger.warning("delivery.dead batch=%s channel=%s", batch_id, channel)
        _note(env, delivery, status=DeliveryStatus.DEAD, last_error=error.message[:300])
    except Exception as error:  # noqa: BLE001 - whatever a target does, the next attempt is planned
        # The reason may name an address: it is for the record alone.
        kind = type(error).__name__
        _logger.warning("delivery.failed batch=%s channel=%s error=%s", batch_id, channel, kind)
        asked = error.retry_after_seconds if isinstance(error, Undelivered) else 0.0
        _failed(env, delivery, reason=f"{kind}: {error}"[:300], asked=asked)
    else:
        _note(env, delivery, status=DeliveryStatus.DELIVERED)


def _failed(env: Environment, delivery: Delivery, *, reason: str, asked: float) -> None:
    now = env.clock.now()
    pause = next_pause(delivery, now=now, chance=env.ids.random(), asked=asked)
    if pause is None:
        _note(env, delivery, status=DeliveryStatus.DEAD, last_error=reason)
        return
    noted = _note(env, delivery, last_error=reason, **_pause(env, delivery, pause))
    if noted and pause <= _LONGEST_DELAY:
        outbox.send(env, [delivery], delay_seconds=pause)


def _pause(env: Environment, delivery: Delivery, seconds: float) -> dict[str, Any]:
    """No attempt for so long. Reap sees to long pauses, and to messages that get lost."""
    not_before = env.clock.now() + seconds
    due_at = not_before + (_MESSAGE_SECONDS if seconds <= _LONGEST_DELAY else 0.0)
    return {"not_before": not_before, **records.delivery_due(delivery, due_at)}


def _note(env: Environment, delivery: Delivery, **changes: Any) -> bool:
    """Write how it stands, unless it ended, or another attempt was begun meanwhile.

    That it was delivered is noted in any case. False: it was not.
    """
    status = changes.get("status")
    if status is not None:
        changes |= {"due_key": None, "due_sort": None}
    when = [Is("status", DeliveryStatus.PENDING)]
    if status is not DeliveryStatus.DELIVERED:
        when.append(Is("attempts", delivery.attempts))
    key = records.key_of(delivery)
    try:
        env.store.transact(Update(key, set=records.attributes(changes), when=tuple(when)))
    except Conflict:
        return False
    return True


def _send(env: Environment, batch: Batch | None, delivery: Delivery) -> None:
    if batch is None:
        from backburner.services.mails import digests  # few functions send mails

        digests.send(env, delivery)
        return
    match delivery.channel:
        case Channel.EMAIL:
            from backburner.services.mails import sending

            sending.send(env, delivery, [batch])
        case Channel.EVENTS:
            env.events.publish(*_event(batch, delivery))
        case Channel.BUS:
            if env.bus is None:
                raise InvalidRequest("There is no event bus any more.")
            env.bus.publish(*_event(batch, delivery))


def _event(batch: Batch, delivery: Delivery) -> tuple[dict[str, Any], dict[str, str]]:
    """What is told of a batch that ended, and what subscribers may choose it by."""
    event = {
        "id": delivery.event_id,
        "object": "event",
        "type": delivery.event_type,
        "created_at": int(delivery.created_at),
        "data": {
            "id": batch.id,
            "status": batch.status,
            "tenant": batch.tenant,
            "model": batch.model,
            "request_counts": {
                "total": batch.total,
                "completed": batch.completed,
                "failed": batch.failed,
            },
        },
    }
    attributes = {"type": delivery.event_type, "tenant": batch.tenant, "status": batch.status}
    if batch.model:
        attributes["model"] = batch.model
    return event, {name: str(value) for name, value in attributes.items()}
