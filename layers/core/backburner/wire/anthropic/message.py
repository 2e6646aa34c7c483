"""A chat completion in, Anthropic's Message out; and errors in its shape."""

from typing import Any

import msgspec

from backburner.wire.bodies import Body

#: Why a completion ended, in Anthropic's words. `stop` may be a stop sequence: see `_stopped`.
_STOPPED = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

#: Anthropic's type of an error by HTTP status (API reference, "Errors").
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}

#: What stands for arguments that are no JSON object (Anthropic's guide, "Fine-grained tool
#: streaming": the same wrapping).
_INVALID_JSON = "INVALID_JSON"


def message_object(
    answer: bytes, *, message_id: str, service_tier: str = "standard"
) -> Body | None:
    """The Message that a chat completion stands for; None if it holds no message.

    What a reasoning model thought is left out of the content, as nobody asked for it with a
    signature that could be checked; it stands in `x_reasoning`.

    Args:
        answer: the body of the completion.
        message_id: what the message is called.
        service_tier: `standard`, or `batch`.
    """
    completion = decoded(answer)
    choice = _object(next(iter(_list(completion.get("choices"))), None))
    said = choice.get("message")
    if not isinstance(said, dict):
        return None
    content = _content(said, message_id)
    reason, sequence = _stopped(choice, content, said)
    message = {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": _text(completion.get("model")),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": _usage(completion, service_tier),
    }
    thought = said.get("reasoning_content") or said.get("reasoning")
    return message | ({"x_reasoning": thought} if isinstance(thought, str) else {})


def silent_object(answer: bytes, *, message_id: str, service_tier: str) -> Body:
    """A Message that says nothing, for a success that holds none: what came is in `x_answer`."""
    nothing = b'{"choices":[{"message":{}}]}'
    shown = message_object(nothing, message_id=message_id, service_tier=service_tier) or {}
    return shown | {"x_answer": decoded(answer)}


def error_object(
    kind: str, message: str, *, code: str | None = None, request_id: str | None = None
) -> Body:
    """An error; `request_id` is null for a batch's request."""
    error: Body = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": request_id}


def error_type(status: int) -> str:
    """Anthropic's type of the errors that have this HTTP status."""
    if status in ERROR_TYPES:
        return ERROR_TYPES[status]
    return "api_error" if status >= 500 else "invalid_request_error"


def server_error(status: int, body: bytes) -> Body:
    """What the model's server answered instead of a completion."""
    given = decoded(body).get("error")
    said = given.get("message") if isinstance(given, dict) else given
    if not isinstance(said, str) or not said:
        said = f"The model's server answered with status {status}."
    return error_object(error_type(status), said)


def decoded(body: bytes) -> Body:
    """JSON as an object; an empty one, if it is none."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    return _object(value)


def _content(said: Body, message_id: str) -> list[Body]:
    """Blocks of text and of tool use; never none, as clients read the first."""
    suffix = message_id.partition("_")[2]
    texts = [said[name] for name in ("content", "refusal") if isinstance(said.get(name), str)]
    blocks: list[Body] = [{"type": "text", "text": text} for text in texts if text]
    for number, one in enumerate(_list(said.get("tool_calls"))):
        call = _object(one)
        function = _object(call.get("function"))
        blocks.append(
            {
                "type": "tool_use",
                "id": _text(call.get("id")) or f"toolu_{suffix}_{number}",
                "name": _text(function.get("name")),
                "input": _input(function.get("arguments")),
            }
        )
    return blocks or [{"type": "text", "text": ""}]


def _input(arguments: Any) -> Body:
    """A call's arguments; models write JSON as they can, and some servers have read it already."""
    if isinstance(arguments, dict):
        return arguments
    given = _text(arguments)
    if not given.strip():
        return {}
    try:
        value = msgspec.json.decode(given)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {_INVALID_JSON: given}


def _stopped(choice: Body, content: list[Body], said: Body) -> tuple[str, str | None]:
    """Stop reason and sequence. Servers that tell which sequence it was do so as vLLM does."""
    if said.get("refusal"):
        return "refusal", None
    reason = _STOPPED.get(str(choice.get("finish_reason")), "end_turn")
    sequence = choice.get("stop_reason")
    if reason == "end_turn" and content[-1]["type"] == "tool_use":
        return "tool_use", None  # some servers say `stop` where a tool had to be called
    if reason == "end_turn" and isinstance(sequence, str):
        return "stop_sequence", sequence
    return reason, None


def _usage(completion: Body, service_tier: str) -> Body:
    """Tokens; here, unlike in chat completions, those read from a cache are no input tokens."""
    usage = _object(completion.get("usage"))
    details = _object(usage.get("prompt_tokens_details"))
    prompt, cached = _count(usage.get("prompt_tokens")), _count(details.get("cached_tokens"))
    return {
        "input_tokens": max(0, prompt - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": min(prompt, cached),
        "output_tokens": _count(usage.get("completion_tokens")),
        "service_tier": service_tier,
    }


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> Body:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
