"""The queues in SQS."""

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from backburner.adapters.clients import Clients
from backburner.ports import QueueName

#: Longest delay of a message (API reference, SendMessage, DelaySeconds).
MAX_DELAY_SECONDS = 900


class SqsQueue:
    """Sends to one queue of SQS for each name.

    A body has at most 1 MiB as JSON; some endpoints that speak SQS's protocol still have the
    256 KiB of old. Ours name things by their ids and stay below 1 KiB.
    """

    def __init__(self, clients: Clients, urls: Mapping[QueueName, str]) -> None:
        """Use queues that are there.

        Args:
            clients: of the queues' account and Region.
            urls: by name, each queue's URL.
        """
        self._clients = clients
        self._urls = dict(urls)

    def send(self, queue: QueueName, body: Mapping[str, Any], *, delay_seconds: float = 0) -> None:
        """Send one message; durable on return.

        Args:
            queue: that it is for.
            body: what JSON can say.
            delay_seconds: 0 to 900, rounded up to whole seconds: a message is late rather than
                early. Raises ValueError otherwise.
        """
        if not 0 <= delay_seconds <= MAX_DELAY_SECONDS:
            raise ValueError(f"A delay of {delay_seconds} s; it is 0 to {MAX_DELAY_SECONDS} s.")
        # In ASCII: SQS refuses characters that XML has not, but JSON may escape all of them.
        text = json.dumps(msgspec.to_builtins(body), allow_nan=False, separators=(",", ":"))
        self._clients.sqs.send_message(
            QueueUrl=self._urls[queue], MessageBody=text, DelaySeconds=math.ceil(delay_seconds)
        )
