"""The body of Converse, without the model's id."""

from __future__ import annotations

from typing import Any

import msgspec

from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import (
    BadRecord,
    check,
    check_range,
    without_none,
)
from backburner_local.emulators.wire import Message

_KINDS = {
    "messages": "array",
    "system": "array",
    "inferenceConfig": "object",
    "toolConfig": "object",
    "guardrailConfig": "object",
    "additionalModelRequestFields": "object",
    "promptVariables": "object",
    "additionalModelResponseFieldPaths": "array",
    "requestMetadata": "object",
    "performanceConfig": "object",
    "serviceTier": "object",
    "outputConfig": "object",
}
_INFERENCE_KINDS = {
    "maxTokens": "integer",
    "temperature": "number",
    "topP": "number",
    "stopSequences": "array",
}
STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}


def read(body: Message) -> Message:
    if "toolConfig" in body:
        raise BadRecord(
            "Batch inference doesn't support tool calling for jobs that use the Converse"
            " invocation type."
        )
    check(body, _KINDS, required=("messages",))
    config = body.get("inferenceConfig") or {}
    check(config, _INFERENCE_KINDS, where="#/inferenceConfig")
    check_range(
        config,
        {"maxTokens": (1, float("inf")), "temperature": (0, 1), "topP": (0, 1)},
        "#/inferenceConfig",
    )
    more = body.get("additionalModelRequestFields") or {}
    return without_none(
        messages=messages(body),
        max_tokens=config.get("maxTokens"),
        temperature=config.get("temperature"),
        top_p=config.get("topP"),
        stop=config.get("stopSequences") or None,
        top_k=more.get("top_k"),
        response_format=_format(body.get("outputConfig") or {}),
    )


def messages(body: Message) -> list[Message]:
    """OpenAI's messages of a body's `system` and `messages`."""
    told = body["messages"]
    if not told or not isinstance(told[0], dict) or told[0].get("role") != "user":
        raise BadRecord(
            "A conversation must start with a user message. Try again with a conversation that"
            " starts with a user message."
        )
    system = [{"role": "system", "content": _content(body["system"])}] if body.get("system") else []
    return system + [_message(one) for one in told]


def _message(one: Any) -> Message:
    if not isinstance(one, dict):
        raise BadRecord("Malformed input request: #/messages: expected type: object.")
    check(
        one,
        {"role": "string", "content": "array"},
        required=("role", "content"),
        where="#/messages",
    )
    if one["role"] not in {"user", "assistant"}:
        raise BadRecord(f"Malformed input request: #/messages/role: {one['role']} is no role.")
    return {"role": one["role"], "content": _content(one["content"])}


def _content(blocks: list[Any]) -> str | list[Message]:
    parts = [_part(block) for block in blocks]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(str(part["text"]) for part in parts)
    return parts


def _part(block: Any) -> Message:
    if isinstance(block, dict) and isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    image = block.get("image") if isinstance(block, dict) else None
    if isinstance(image, dict) and "bytes" in (image.get("source") or {}):
        url = f"data:image/{image.get('format')};base64,{image['source']['bytes']}"
        return {"type": "image_url", "image_url": {"url": url}}
    kind = next(iter(block), "nothing") if isinstance(block, dict) else type(block).__name__
    raise BadRecord(f"The emulator takes text and the bytes of images as content, not {kind}.")


def _format(config: Message) -> Message | None:
    schema = ((config.get("textFormat") or {}).get("structure") or {}).get("jsonSchema")
    if not schema:
        return None
    try:
        parsed = msgspec.json.decode(schema["schema"])
    except (KeyError, msgspec.DecodeError) as error:
        raise BadRecord(f"outputConfig.textFormat: the schema is not JSON: {error}") from error
    named = {"name": schema.get("name") or "answer", "schema": parsed}
    return {"type": "json_schema", "json_schema": named}


def write(body: Message, answer: Answer) -> Message:  # noqa: ARG001 - other families need it
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": answer.text}]}},
        "stopReason": STOP_REASONS.get(answer.finish_reason, "end_turn"),
        "usage": usage(answer),
        "metrics": {"latencyMs": answer.latency_ms},
    }


def usage(answer: Answer) -> Message:
    return {
        "inputTokens": answer.input_tokens,
        "outputTokens": answer.output_tokens,
        "totalTokens": answer.input_tokens + answer.output_tokens,
    }
