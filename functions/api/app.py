"""Answers HTTP requests: files, batches, responses and models, as OpenAI's clients ask for them."""

import threading
from typing import Any

from backburner import web

_local = threading.local()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API (payload format 2.0)."""
    if not hasattr(_local, "app"):  # one for each thread; on Lambda there is one
        _local.app = web.build()
    answer: dict[str, Any] = _local.app.resolve(event, context)
    return answer
