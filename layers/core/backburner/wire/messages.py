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

    Messages that say the same are handed over once: each asks to see to what is there by then.

    The answer: Lambda developer guide, "Implementing partial batch responses".
    """
    alike: dict[str, list[str]] = {}
    for record in event["Records"]:
        alike.setdefault(record["body"], []).append(record["messageId"])
    failed = []
    for body, ids in alike.items():
        try:
            handle(msgspec.json.decode(body, type=Message))
        except Exception:  # the other messages are none of its business
            _logger.exception("message.failed ids=%s", ids)
            failed += [{"itemIdentifier": number} for number in ids]
    return {"batchItemFailures": failed}
