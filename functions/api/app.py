"""Answers HTTP requests: files, batches, responses and models, as OpenAI's clients ask for them."""

from typing import Any

from backburner.web import Gateway

_gateway = Gateway()


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API (payload format 2.0)."""
    return _gateway.resolve(event)
