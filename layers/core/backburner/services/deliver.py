"""Tell one target that a batch ended. At least once, always with the same event id."""

from typing import Any

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.delivery import (
    MAX_DELIVERY_ATTEMPTS,
    Channel,
    Delivery,
    DeliveryStatus,
    pause_seconds,
)
from backburner.domain.errors import Conflict
from backburner.ports import Environment, Is, Mail, QueueName, Update
from backburner.services import batches, records

#: Longest delay of a message, and time after which one that did not come is lost.
_LONGEST_DELAY, _MESSAGE_SECONDS = 900.0, 60.0


def deliver(env: Environment, tenant: str, batch_id: str, channel: Channel) -> None:
    """Make one attempt, and note how it went.

    A crash between sending and noting sends again: receivers know the repeat by its id.
    """
    (item,) = env.store.get(records.delivery_key(tenant, batch_id, channel))
    batch = batches.load(env, tenant, batch_id)
    if item is None or batch is None:
        return
    delivery = records.to_delivery(item)
    if delivery.status is not DeliveryStatus.PENDING:
        return
    try:
        _send(env, batch, delivery)
    except Exception as error:  # noqa: BLE001 - whatever a target does, the next attempt is planned
        _failed(env, delivery, reason=f"{type(error).__name__}: {error}"[:300])
    else:
        _note(env, delivery, status=DeliveryStatus.DELIVERED, attempts=delivery.attempts + 1)


def _failed(env: Environment, delivery: Delivery, *, reason: str) -> None:
    attempts = delivery.attempts + 1
    if attempts >= MAX_DELIVERY_ATTEMPTS:
        _note(env, delivery, status=DeliveryStatus.DEAD, attempts=attempts, last_error=reason)
        return
    pause = pause_seconds(attempts)
    has_message = pause <= _LONGEST_DELAY
    # Reap sees to long pauses, and to messages that get lost.
    at = env.clock.now() + pause + (_MESSAGE_SECONDS if has_message else 0.0)
    due = records.delivery_due(delivery, at)
    _note(env, delivery, attempts=attempts, last_error=reason, **due)
    if has_message:
        message = {
            "tenant": delivery.tenant,
            "batch_id": delivery.batch_id,
            "channel": delivery.channel,
        }
        env.queue.send(QueueName.DELIVER, message, delay_seconds=pause)


def _note(env: Environment, delivery: Delivery, **changes: Any) -> None:
    if "status" in changes:
        changes |= {"due_key": None, "due_sort": None}
    key = records.delivery_key(delivery.tenant, delivery.batch_id, delivery.channel)
    try:
        env.store.transact(
            Update(
                key,
                set=records.attributes(changes),
                when=(Is("status", DeliveryStatus.PENDING),),
            )
        )
    except Conflict:  # told twice at once; the other one noted it
        return


def _send(env: Environment, batch: Batch, delivery: Delivery) -> None:
    if delivery.channel is Channel.EMAIL:
        env.mailer.send(compose(env, batch, delivery))
    else:
        event = {
            "id": delivery.event_id,
            "object": "event",
            "type": delivery.event_type,
            "created_at": int(delivery.created_at),
            "data": {
                "id": batch.id,
                "status": batch.status,
                "tenant": batch.tenant,
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
        env.events.publish(event, {name: str(value) for name, value in attributes.items()})


_OUTCOME = {
    BatchStatus.COMPLETED: "is complete",
    BatchStatus.FAILED: "failed",
    BatchStatus.EXPIRED: "expired",
    BatchStatus.CANCELLED: "was cancelled",
}


def compose(env: Environment, batch: Batch, delivery: Delivery) -> Mail:
    """The mail: ids, counts, duration and links, never prompts or results."""
    noun, route = (
        ("Batch", "batches") if batch.kind is BatchKind.FILE else ("Response", "responses")
    )
    outcome = _OUTCOME[batch.status]
    seconds = (batch.ended_at or batch.created_at) - batch.created_at
    lines = [
        f"{noun} {batch.id} {outcome}.",
        "",
        f"Requests:   {batch.total}",
        f"Completed:  {batch.completed}",
        f"Failed:     {batch.failed}",
        f"Duration:   {duration(seconds)}",
        "",
        f"Status:     {env.public_url}/v1/{route}/{batch.id}",
    ]
    for label, file_id in (("Results", batch.output_file_id), ("Errors", batch.error_file_id)):
        if file_id is not None:
            lines.append(f"{label + ':':<12}{env.public_url}/v1/files/{file_id}/content")
    lines += ["", "The links need your API key."]
    return Mail(
        to=delivery.target,
        subject=f"{noun} {batch.id} {outcome}: {batch.completed} of {batch.total} succeeded",
        text="\n".join(lines) + "\n",
        message_id=delivery.event_id,
    )


def duration(seconds: float) -> str:
    """A span as people write it: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
