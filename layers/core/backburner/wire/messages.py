"""Messages of an SQS event, each handled on its own."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

_logger = logging.getLogger("backburner")

#: A message's body.
Message = dict[str, Any]


def each_message(event: Mapping[str, Any], handle: Callable[[Message], object]) -> dict[str, Any]:
    """Hand over every message; tell SQS which ones to show again, because handling them raised.

    The answer: Lambda developer guide, "Implementing partial batch responses".
    """
    failed = []
    for record in event["Records"]:
        try:
            handle(msgspec.json.decode(record["body"], type=Message))
        except Exception:  # the other messages are none of its business
            _logger.exception("message.failed id=%s", record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
