"""SQS dispatch queue → hand waiting shards of a pool to its backend, as slots allow."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.dispatch import dispatch
from backburner.wire.messages import Message, each_message


def handle(message: Message) -> None:
    dispatch(environment(), message["pool"])


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return each_message(event, handle)
