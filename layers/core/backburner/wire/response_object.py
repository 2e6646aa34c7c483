"""OpenAI's Response object, made of a single request's batch, its body and its outcome."""

from typing import Any

import msgspec

from backburner.domain.batch import STOPPED, Batch, BatchStatus, StopReason
from backburner.domain.request import Outcome
from backburner.wire.completion import incomplete_reason
from backburner.wire.objects import Object


def response_object(
    batch: Batch, original: bytes, outcome: Outcome | None = None, *, is_running: bool = False
) -> Object:
    """The response as it is now.

    Args:
        batch: the batch of one that it is.
        original: the body that the client sent.
        outcome: what came out, once the batch has ended.
        is_running: whether a backend works on it; it is queued otherwise.
    """
    asked: Object = msgspec.json.decode(original)
    response = _echo(batch, asked)
    if batch.stopping is StopReason.CANCELLED:
        response["status"] = "cancelled"
    elif not batch.is_terminal:
        response["status"] = "in_progress" if is_running else "queued"
    elif outcome is not None and outcome.is_success:
        _add_answer(response, batch, outcome)
    else:
        code, message = _reason(batch, outcome)
        response |= {"status": "failed", "error": {"code": code, "message": message}}
    return response


def _echo(batch: Batch, asked: Object) -> Object:
    """What is known from the start; complete, as clients insist on the lists."""
    return {
        "id": batch.id,
        "object": "response",
        "created_at": int(batch.created_at),
        "completed_at": int(batch.completed_at) if batch.completed_at else None,
        "status": "queued",
        "background": True,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": batch.metadata,
        "model": batch.model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
        "previous_response_id": asked.get("previous_response_id"),
        "reasoning": asked.get("reasoning") or {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": _or(asked.get("temperature"), 1.0),
        "text": asked.get("text") or {"format": {"type": "text"}},
        "tool_choice": asked.get("tool_choice") or "auto",
        "tools": asked.get("tools") or [],
        "top_logprobs": 0,
        "top_p": _or(asked.get("top_p"), 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": asked.get("user"),
        "x_completion_window": batch.completion_window,
        "x_expires_at": int(batch.expires_at),
    }


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


# ---------------------------------------------------------------- what came out


def _add_answer(response: Object, batch: Batch, outcome: Outcome) -> None:
    answer = _decoded(outcome.body)
    choice = _object(next(iter(_list(answer.get("choices"))), None))
    message = choice.get("message")
    if not isinstance(message, dict):
        response |= {
            "status": "failed",
            "error": {"code": "server_error", "message": "The model's answer has no message."},
        }
        return
    reason = incomplete_reason(choice.get("finish_reason"))
    response["status"] = "incomplete" if reason else "completed"
    response["incomplete_details"] = {"reason": reason} if reason else None
    response["output"] = _output(message, batch, response["status"])
    response["usage"] = _usage(answer, outcome)


def _output(message: Object, batch: Batch, status: str) -> list[Object]:
    suffix = batch.id.partition("_")[2]
    output: list[Object] = []
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str):
        output.append(
            {
                "type": "reasoning",
                "id": f"rs_{suffix}",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": thought}],
            }
        )
    content: list[Object] = []
    if isinstance(text := message.get("content"), str):
        content.append({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
    if isinstance(refusal := message.get("refusal"), str):
        content.append({"type": "refusal", "refusal": refusal})
    calls = [_object(call) for call in _list(message.get("tool_calls"))]
    if content or not calls:
        output.append(
            {
                "type": "message",
                "id": f"msg_{suffix}",
                "status": status,
                "role": "assistant",
                "content": content,
            }
        )
    for number, call in enumerate(calls):
        function = _object(call.get("function"))
        output.append(
            {
                "type": "function_call",
                "id": f"fc_{suffix}_{number}",
                "call_id": call.get("id") or f"call_{suffix}_{number}",
                "name": function.get("name", ""),
                "arguments": function.get("arguments", ""),
                "status": status,
            }
        )
    return output


def _usage(answer: Object, outcome: Outcome) -> Object:
    """Tokens; every member is required by clients."""
    usage = _object(answer.get("usage"))
    read = _object(usage.get("prompt_tokens_details"))
    written = _object(usage.get("completion_tokens_details"))
    return {
        "input_tokens": outcome.usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": read.get("cached_tokens") or 0,
            "cache_write_tokens": 0,
        },
        "output_tokens": outcome.usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": written.get("reasoning_tokens") or 0},
        "total_tokens": outcome.usage.input_tokens + outcome.usage.output_tokens,
    }


def _reason(batch: Batch, outcome: Outcome | None) -> tuple[str, str]:
    """Why there is no answer, as a code and in words."""
    if batch.status is BatchStatus.EXPIRED:
        return "expired", STOPPED[StopReason.EXPIRED][2]
    if outcome is None:
        return "server_error", batch.failure or "The result is not kept any more."
    if not outcome.status_code:
        return outcome.code or "server_error", outcome.message or "The request failed."
    given = _decoded(outcome.body).get("error")
    error = given if isinstance(given, dict) else {"message": given}
    code = error.get("code")
    if not isinstance(code, str):
        code = {400: "invalid_prompt", 429: "rate_limit_exceeded"}.get(
            outcome.status_code, "server_error"
        )
    message = error.get("message")
    if not isinstance(message, str):
        message = f"The model's server answered with status {outcome.status_code}."
    return code, message


def _decoded(body: bytes) -> Object:
    """The model's answer as an object; an empty one, if it is none."""
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return {}
    return _object(answer)


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
