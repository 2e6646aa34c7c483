"""SQS plan queue → check a batch's lines, cut it into shards."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.plan import plan
from backburner.wire.messages import Message, each_message


def handle(message: Message) -> None:
    plan(environment(), message["tenant"], message["batch_id"])


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return each_message(event, handle)
