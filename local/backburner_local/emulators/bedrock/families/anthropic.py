"""Anthropic's Messages, as Bedrock takes them."""

from __future__ import annotations

import uuid
from typing import Any

from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import BadRecord, is_of, without_none
from backburner_local.emulators.wire import Message

_KINDS = {
    "anthropic_version": "string",
    "anthropic_beta": "array",
    "max_tokens": "integer",
    "messages": "array",
    "metadata": "object",
    "stop_sequences": "array",
    "temperature": "number",
    "thinking": "object",
    "tool_choice": "object",
    "tools": "array",
    "top_k": "integer",
    "top_p": "number",
    "output_config": "object",
}
_REQUIRED = ("anthropic_version", "max_tokens", "messages")
_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def read(body: Message) -> Message:
    _check(body)
    system = body.get("system")
    told = [{"role": "system", "content": _content(system)}] if system else []
    return without_none(
        messages=told + [_message(one) for one in body["messages"]],
        max_tokens=body["max_tokens"],
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=body.get("stop_sequences") or None,
        tools=[_tool(tool) for tool in body.get("tools") or ()] or None,
    )


def _check(body: Message) -> None:
    for name in _REQUIRED:
        if body.get(name) is None:
            raise BadRecord(f"{name}: Field required")
    for name, value in body.items():
        if name == "system":
            continue
        if name not in _KINDS:
            raise BadRecord(f"{name}: Extra inputs are not permitted")
        if value is not None and not is_of(_KINDS[name], value):
            raise BadRecord(f"{name}: Input should be a valid {_KINDS[name]}")
    if body["anthropic_version"] != "bedrock-2023-05-31":
        raise BadRecord("anthropic_version: Input should be 'bedrock-2023-05-31'")
    if body["max_tokens"] < 1:
        raise BadRecord("max_tokens: Input should be greater than or equal to 1")
    if not body["messages"]:
        raise BadRecord("messages: at least one message is required")


def _message(one: Any) -> Message:
    if not isinstance(one, dict) or one.get("role") not in {"user", "assistant"}:
        raise BadRecord("messages.0.role: Input should be 'user' or 'assistant'")
    if "content" not in one:
        raise BadRecord("messages.0.content: Field required")
    return {"role": one["role"], "content": _content(one["content"])}


def _content(content: Any) -> str | list[Message]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRecord("messages.0.content: Input should be a valid string or list")
    parts = [_part(block) for block in content]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(str(part["text"]) for part in parts)
    return parts


def _part(block: Any) -> Message:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    source = block.get("source") if kind == "image" else None
    if isinstance(source, dict) and source.get("type") == "base64":
        url = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": url}}
    raise BadRecord(f"The emulator takes text and base64 images as content, not {kind}.")


def _tool(tool: Any) -> Message:
    if not isinstance(tool, dict) or "name" not in tool:
        raise BadRecord("tools.0.name: Field required")
    function = without_none(
        name=tool["name"],
        description=tool.get("description"),
        parameters=tool.get("input_schema"),
    )
    return {"type": "function", "function": function}


def write(body: Message, answer: Answer) -> Message:  # noqa: ARG001 - other families need it
    return {
        "id": f"msg_bdrk_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": answer.model_id.partition(".")[2].partition("-v")[0],
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": _STOP_REASONS.get(answer.finish_reason, "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
    }
