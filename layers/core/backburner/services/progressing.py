"""Tell webhooks how a batch goes on: once each time, as by another try there is later news."""

import logging
from typing import Any

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.errors import InvalidRequest, Undelivered
from backburner.domain.webhook import PROGRESS, Endpoint
from backburner.ports import Environment, QueueName
from backburner.services import outbox, webhooks

_logger = logging.getLogger(__name__)


def ask(env: Environment, batch: Batch, *, endpoint_id: str | None = None) -> None:
    """Have one endpoint told, or all that want to know."""
    ended = batch.completed + batch.failed
    message: dict[str, Any] = {"tenant": batch.tenant, "batch_id": batch.id, "ended": ended}
    if endpoint_id is not None:
        message["endpoint_id"] = endpoint_id
    env.queue.send(QueueName.DELIVER, message)


def tell(env: Environment, message: dict[str, Any]) -> None:
    """Tell how many of a batch's requests have ended, unless the whole of it has.

    Of several endpoints each has a message of its own: one may take all the time that there is.
    """
    batch, hooks = outbox.load(env, message["tenant"], message["batch_id"])
    if batch is None or batch.status is not BatchStatus.IN_PROGRESS:
        return
    named = message.get("endpoint_id")
    wanting = [one for one in hooks.wanting(PROGRESS) if one.is_enabled]
    if named is None and len(wanting) > 1:
        for endpoint in wanting:
            ask(env, batch, endpoint_id=endpoint.id)
        return
    for endpoint in wanting:
        if named in (None, endpoint.id):
            _post(env, batch, endpoint, int(message["ended"]))


def _post(env: Environment, batch: Batch, endpoint: Endpoint, ended: int) -> None:
    event = {
        "id": f"evt_{batch.id}_{ended}",  # a message that comes twice makes the same event
        "object": "event",
        "type": PROGRESS,
        "created_at": int(env.clock.now()),
        "data": outbox.data_of(batch),
    }
    try:
        webhooks.post(env, endpoint.url, event, endpoint.secrets)
    except (InvalidRequest, Undelivered):
        _logger.info("progress.untold batch=%s endpoint=%s", batch.id, endpoint.id)
