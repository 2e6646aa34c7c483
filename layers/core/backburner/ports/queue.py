"""Messages between the functions."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol


class QueueName(StrEnum):
    """The queues of the pipeline."""

    PLAN = "plan"
    DISPATCH = "dispatch"
    FINALIZE = "finalize"
    DELIVER = "deliver"


class Queue(Protocol):
    """Sends messages; the event source of the template hands them to its function.

    At least once, in no order; a message whose handler fails is seen again after the visibility
    timeout, and after the queue's max receives is kept as a dead letter.
    """

    def send(self, queue: QueueName, body: Mapping[str, Any], *, delay_seconds: float = 0) -> None:
        """Send one message; durable on return. The delay is at most 900 seconds.

        A kick of the dispatch queue need only last as long as the process: whoever starts a stack
        on one machine sends each anew.
        """
