"""SQS deliver queue → tell one target that a batch ended, or several how it goes on."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services import progressing
from backburner.services.deliver import deliver
from backburner.wire.messages import Message, each_message


def handle(message: Message) -> None:
    if "ended" in message:
        progressing.tell(environment(), message)
    else:
        deliver(environment(), message["tenant"], message["batch_id"], message["delivery"])


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    return each_message(event, handle)
