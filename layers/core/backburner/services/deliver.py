"""Tell one target that a batch ended. At least once, always with the same event id."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from backburner.domain.batch import Batch
from backburner.domain.delivery import (
    CALLBACK,
    LONGEST_SECONDS,
    POLICIES,
    Channel,
    Delivery,
    DeliveryStatus,
    next_pause,
)
from backburner.domain.errors import Conflict, Gone, InvalidRequest, NotFound, Undelivered
from backburner.domain.webhook import Hooks
from backburner.ports import MAX_WRITES, Environment, Is, Update
from backburner.services import outbox, records, webhook_health, webhooks

#: Longest delay of a message.
_LONGEST_DELAY = 900.0

#: Longest that an attempt may take: the time-out of the function.
_ATTEMPT_SECONDS = 60.0

#: What clocks may differ by.
_SLACK_SECONDS = 2.0

#: An attempt of so long was spent waiting: for so long none else is made at that target, so that
#: one receiver that never answers does not hold up all others.
_SLOW_SECONDS, _APART_SECONDS = 5.0, 60.0
#: Most of them that are remembered.
_MOST_SLOW = 1000

#: Status of a receiver that will never be there again.
_GONE = 410


_logger = logging.getLogger(__name__)


def begun(env: Environment, told: Sequence[Delivery]) -> list[Delivery]:
    """The deliveries with their first attempt begun, where it is quick: that of an event.

    Written so, they need no message, and no note before the attempt: `begin` makes it.
    """
    now = env.clock.now()
    not_before = now + _ATTEMPT_SECONDS
    due_at = not_before + outbox.MESSAGE_SECONDS
    return [
        replace(one, attempts=1, not_before=not_before, due_at=due_at)
        if one.channel is Channel.EVENTS
        else one
        for one in told
    ]


def begin(env: Environment, ends: Sequence[tuple[Batch, Sequence[Delivery]]]) -> None:
    """Make the attempts that are begun for batches that ended, and have the others made."""
    told = [(ended, delivery) for ended, several in ends for delivery in several]
    begun = [(ended, delivery) for ended, delivery in told if delivery.attempts]
    outbox.send(env, [delivery for _, delivery in told if not delivery.attempts])
    delivered = [one for ended, one in begun if _attempt(env, ended, Hooks(), one)]
    _note_delivered(env, delivered)


def deliver(env: Environment, tenant: str, batch_id: str, name: str) -> None:
    """Make one attempt, and note how it went. Does nothing before the next attempt is due.

    A crash between sending and noting sends again: receivers know the repeat by its id.
    """
    item, batch_item, hooks_item = env.store.get(
        records.delivery_key(tenant, batch_id, name),
        records.batch_key(tenant, batch_id),
        records.hooks_key(tenant),
    )
    if item is None or (batch_item is None and not records.is_digest(batch_id)):
        return
    seen = records.to_delivery(item)
    if (
        seen.status is not DeliveryStatus.PENDING
        or env.clock.now() < seen.not_before - _SLACK_SECONDS
    ):
        return
    batch = records.to_batch(batch_item) if batch_item is not None else None
    if seen.channel is Channel.EMAIL and batch is not None and _is_in_a_digest(env, seen):
        return
    if seen.attempts >= POLICIES[seen.channel].max_attempts:
        _give_up(env, batch, seen, reason=seen.last_error or "The last attempt broke off.")
        return
    if _is_put_off(env, seen):
        return
    delivery = replace(seen, attempts=seen.attempts + 1)
    # Of two messages at once, one makes the attempt; should it die of it, reap asks for another.
    if not _note(env, seen, attempts=delivery.attempts, **_pause(env, seen, _ATTEMPT_SECONDS)):
        return
    hooks = records.to_hooks(hooks_item)
    if _attempt(env, batch, hooks, delivery):
        _note_delivered(env, [delivery])
        for endpoint in hooks.endpoints if delivery.channel is Channel.WEBHOOK else ():
            if endpoint.id == delivery.target_id:
                webhook_health.note_success(env, delivery.tenant, endpoint)


def _is_put_off(env: Environment, delivery: Delivery) -> bool:
    """Whether the attempt is made later, uncounted, as the target let another one wait just now."""
    now = env.clock.now()
    until = env.slow_webhooks.get(_target(delivery), 0.0)
    is_over = now >= delivery.tried_since + LONGEST_SECONDS  # none is put off for ever
    if delivery.channel is not Channel.WEBHOOK or now >= until or is_over:
        return False
    if _note(env, delivery, **_pause(env, delivery, until - now)):
        outbox.send(env, [delivery], delay_seconds=until - now)
    return True


def _is_in_a_digest(env: Environment, delivery: Delivery) -> bool:
    from backburner.services.mails import digests  # few functions send mails

    return delivery.event_type != webhook_health.DISABLED and digests.joined(env, delivery)


def _attempt(env: Environment, batch: Batch | None, hooks: Hooks, delivery: Delivery) -> bool:
    """Send, and note why it failed; False: it did. The attempt is counted already."""
    about = (delivery.batch_id, delivery.name)
    try:
        _send(env, batch, hooks, delivery)
    except (InvalidRequest, NotFound, Gone) as error:  # the target can't be told, now or ever
        _logger.warning("delivery.dead batch=%s delivery=%s", *about)
        is_gone = isinstance(error, Gone)
        _give_up(env, batch, delivery, reason=error.message[:300], is_gone=is_gone)
    except Undelivered as error:
        _logger.warning("delivery.failed batch=%s delivery=%s", *about)
        _failed(env, batch, delivery, reason=error.message, asked=error.retry_after_seconds)
    except Exception as error:  # noqa: BLE001 - whatever a target does, the next attempt is planned
        # The reason may name an address: it is for the record alone.
        kind = type(error).__name__
        _logger.warning("delivery.failed batch=%s delivery=%s error=%s", *about, kind)
        _failed(env, batch, delivery, reason=f"{kind}: {error}"[:300])
    else:
        return True
    return False


def _note_delivered(env: Environment, delivered: Sequence[Delivery]) -> None:
    """One transaction notes as many as it takes, unless one of them was noted otherwise."""
    for start in range(0, len(delivered), MAX_WRITES):
        some = delivered[start : start + MAX_WRITES]
        try:
            env.store.transact(*(_noted(env, one, status=DeliveryStatus.DELIVERED) for one in some))
        except Conflict:
            for one in some if len(some) > 1 else ():
                _note(env, one, status=DeliveryStatus.DELIVERED)


def _failed(
    env: Environment, batch: Batch | None, delivery: Delivery, *, reason: str, asked: float = 0.0
) -> None:
    now = env.clock.now()
    pause = next_pause(delivery, now=now, chance=env.ids.random(), asked=asked)
    if pause is None:
        _give_up(env, batch, delivery, reason=reason)
        return
    noted = _note(env, delivery, last_error=reason, **_pause(env, delivery, pause))
    if noted and pause <= _LONGEST_DELAY:
        outbox.send(env, [delivery], delay_seconds=pause)


def _give_up(
    env: Environment,
    batch: Batch | None,
    delivery: Delivery,
    *,
    reason: str,
    is_gone: bool = False,
) -> None:
    is_noted = _note(env, delivery, status=DeliveryStatus.DEAD, last_error=reason)
    is_endpoint = delivery.channel is Channel.WEBHOOK and delivery.target_id != CALLBACK
    if is_noted and is_endpoint and batch is not None:
        webhook_health.note_dead(env, batch, delivery.target_id, is_gone=is_gone)


def _pause(env: Environment, delivery: Delivery, seconds: float) -> dict[str, Any]:
    """No attempt for so long. Reap sees to long pauses, and to messages that get lost."""
    not_before = env.clock.now() + seconds
    due_at = not_before + (outbox.MESSAGE_SECONDS if seconds <= _LONGEST_DELAY else 0.0)
    return {"not_before": not_before, **records.delivery_due(delivery, due_at)}


def _note(env: Environment, delivery: Delivery, **changes: Any) -> bool:
    """Write how it stands, unless it ended, or another attempt was begun meanwhile.

    That it was delivered is noted in any case. False: it was not.
    """
    try:
        env.store.transact(_noted(env, delivery, **changes))
    except Conflict:
        return False
    return True


def _noted(env: Environment, delivery: Delivery, **changes: Any) -> Update:
    status = changes.get("status")
    if status is DeliveryStatus.DEAD:
        changes |= records.delivery_dead(delivery, env.clock.now())
    elif status is not None:
        changes |= {"due_key": None, "due_sort": None}
    when = [Is("status", DeliveryStatus.PENDING)]
    if status is not DeliveryStatus.DELIVERED:
        when.append(Is("attempts", delivery.attempts))
    key = records.key_of(delivery)
    return Update(key, set=records.attributes(changes), when=tuple(when))


# ---------------------------------------------------------------- channels


def _send(env: Environment, batch: Batch | None, hooks: Hooks, delivery: Delivery) -> None:
    """Raises InvalidRequest, NotFound or Gone where another attempt is no use."""
    if batch is None:
        from backburner.services.mails import digests  # few functions send mails

        digests.send(env, delivery)
        return
    match delivery.channel:
        case Channel.EMAIL:
            _mail(env, batch, hooks, delivery)
        case Channel.WEBHOOK:
            _post(env, batch, hooks, delivery)
        case Channel.EVENTS:
            env.events.publish(_event(batch, delivery), _attributes(batch, delivery))
        case Channel.BUS:
            if env.bus is None:
                raise InvalidRequest("There is no event bus any more.")
            env.bus.publish(_event(batch, delivery), _attributes(batch, delivery))


def _mail(env: Environment, batch: Batch, hooks: Hooks, delivery: Delivery) -> None:
    # Few functions send mails: the others need not load what makes them.
    from backburner.services.mails import disabled, sending

    if delivery.event_type == webhook_health.DISABLED:
        endpoint = hooks.find(delivery.target_id)
        sending.send_made(env, delivery, lambda: disabled.compose(env, endpoint, delivery))
    else:
        sending.send(env, delivery, [batch])


def _post(env: Environment, batch: Batch, hooks: Hooks, delivery: Delivery) -> None:
    if delivery.target_id == CALLBACK:
        url, secrets = delivery.target, hooks.callback_secrets
    else:
        endpoint = hooks.find(delivery.target_id)
        if not endpoint.is_enabled:
            raise InvalidRequest("The endpoint was disabled.")
        url, secrets = endpoint.url, endpoint.secrets
    began = env.clock.now()
    try:
        answer = webhooks.post(env, url, _event(batch, delivery), secrets)
    finally:
        _note_time(env, delivery, env.clock.now() - began)
    if answer.status == _GONE:
        raise Gone("It answered 410 Gone.")
    if not answer.is_success:
        raise Undelivered(
            f"It answered with status {answer.status}.",
            retry_after_seconds=answer.retry_after_seconds,
        )


def _note_time(env: Environment, delivery: Delivery, seconds: float) -> None:
    """Several threads may do so at once: each step is one operation of a dict."""
    if seconds < _SLOW_SECONDS:
        return
    if len(env.slow_webhooks) >= _MOST_SLOW:
        env.slow_webhooks.clear()
    env.slow_webhooks[_target(delivery)] = env.clock.now() + _APART_SECONDS


def _target(delivery: Delivery) -> tuple[str, str]:
    """Callbacks are told apart by their URLs, endpoints by their ids."""
    return delivery.tenant, delivery.target or delivery.target_id


def _event(batch: Batch, delivery: Delivery) -> Mapping[str, Any]:
    """Ids and counts, never content; the same on every attempt."""
    return {
        "id": delivery.event_id,
        "object": "event",
        "type": delivery.event_type,
        "created_at": int(delivery.created_at),
        "data": outbox.data_of(batch),
    }


def _attributes(batch: Batch, delivery: Delivery) -> dict[str, str]:
    """What subscribers may choose an event by."""
    attributes = {"type": delivery.event_type, "tenant": batch.tenant, "status": batch.status}
    if batch.model:
        attributes["model"] = batch.model
    return {name: str(value) for name, value in attributes.items()}
