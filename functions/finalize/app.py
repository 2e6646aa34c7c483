"""SQS finalize queue → write a batch's files and end it."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.finalize import finalize
from backburner.wire.messages import Message, each_message


def handle(message: Message) -> None:
    finalize(environment(), message["tenant"], message["batch_id"])


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return each_message(event, handle)
