"""Items of a response's input, as OpenAI's Responses API lists them, and as they are continued."""

from typing import Any

from backburner.wire.objects import Object

#: What ids of items begin with.
_PREFIXES = {"function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def input_items(body: Object, response_id: str) -> list[Object]:
    """The items of a response's input, oldest first.

    Each has an id: its own, or one that stays the same however often it is asked for.

    Args:
        body: of `POST /v1/responses`, as it was accepted.
        response_id: of the response.
    """
    suffix = response_id.partition("_")[2]
    given = enumerate(as_items(body.get("input")), start=1)
    return [_item(item, f"{suffix}_in{number}") for number, item in given]


def as_items(given: Any) -> list[Object]:
    """An input as a list: a text is a message of the user. What is no input is no item."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given if isinstance(given, list) else []


def _item(item: Object, suffix: str) -> Object:
    kind = item.get("type") or "message"
    given_id = item.get("id") or f"{_PREFIXES.get(kind, 'msg')}_{suffix}"
    shown = {"status": "completed", **item, "id": given_id, "type": kind}
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        shown["content"] = [_text(content, is_answer=item.get("role") == "assistant")]
    return shown


def _text(text: str, *, is_answer: bool) -> Object:
    if is_answer:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}
