"""Converse, and Amazon Nova's own body, which is all but the same.

Facts: reference page `bedrock.md` §2.1 and §2.2. Batch jobs of the type Converse refuse tools;
Nova's own body takes them.
"""

from typing import Any

import msgspec

from backburner.wire.bedrock import answers, chat
from backburner.wire.bedrock.chat import Call, Chat, Image, Part, Text
from backburner.wire.bedrock.fields import OddAnswer, entries, obj, unsupported
from backburner.wire.bodies import Body

_write = msgspec.json.Encoder().encode

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


def ask(body: Body) -> Body:
    """The `modelInput` of a job of the type Converse; raises InvalidRequest."""
    asked = chat.read(body)
    if asked.uses_tools:
        raise unsupported(
            "tools" if asked.tools else "messages",
            "can't use tools: Bedrock's batch jobs refuse them with Converse. The catalog may run "
            "the model in its own format.",
        )
    given = _conversation(asked)
    if asked.top_k is not None:
        given["additionalModelRequestFields"] = {"top_k": asked.top_k}
    output: Body = {}
    if asked.schema is not None:
        output["textFormat"] = {"type": "json_schema", "structure": _structure(asked.schema)}
    if asked.effort is not None:
        output["effort"] = asked.effort
    return given | ({"outputConfig": output} if output else {})


def ask_nova(body: Body) -> Body:
    """The `modelInput` of Amazon Nova; raises InvalidRequest."""
    asked = chat.read(body)
    for name, value in (("response_format", asked.schema), ("reasoning_effort", asked.effort)):
        if value is not None:
            raise unsupported(name, "can't be told to Nova in its own format.")
    given: Body = {"schemaVersion": "messages-v1"} | _conversation(asked)
    if asked.top_k is not None:
        given.setdefault("inferenceConfig", {})["topK"] = asked.top_k
    if asked.tools and asked.tool_choice != "none":
        given["toolConfig"] = _tool_config(asked)
    return given


def answer(output: Body) -> Body:
    """The completion that a `modelOutput` stands for; raises OddAnswer."""
    message = obj(obj(output.get("output")).get("message"))
    content = entries(message.get("content"))
    if not isinstance(message.get("content"), list):
        raise OddAnswer
    texts = [block["text"] for block in content if isinstance(block.get("text"), str)]
    thoughts = [
        obj(obj(block.get("reasoningContent")).get("reasoningText")).get("text")
        for block in content
    ]
    uses = [block["toolUse"] for block in content if isinstance(block.get("toolUse"), dict)]
    usage = output.get("usage")
    return answers.completion(
        text="".join(texts) if texts or not uses else None,
        finish_reason=answers.reason(output.get("stopReason"), _REASONS),
        usage=_usage(usage) if isinstance(usage, dict) else None,
        reasoning="".join(thought for thought in thoughts if isinstance(thought, str)),
        calls=[
            answers.call(use.get("toolUseId"), use.get("name"), use.get("input")) for use in uses
        ],
    )


def _conversation(asked: Chat) -> Body:
    """What Converse and Nova have in common."""
    given: Body = {
        "messages": [
            {"role": turn.role, "content": [_block(part) for part in turn.parts]}
            for turn in asked.turns
        ]
    }
    if asked.system:
        given["system"] = [{"text": asked.system}]
    config = {
        "maxTokens": asked.max_tokens,
        "temperature": asked.temperature,
        "topP": asked.top_p,
        "stopSequences": asked.stop or None,
    }
    told = {name: value for name, value in config.items() if value is not None}
    return given | ({"inferenceConfig": told} if told else {})


def _block(part: Part) -> Body:
    if isinstance(part, Text):
        return {"text": part.text}
    if isinstance(part, Image):
        return {"image": {"format": part.format, "source": {"bytes": part.base64}}}
    if isinstance(part, Call):
        return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": part.arguments}}
    return {"toolResult": {"toolUseId": part.call_id, "content": [{"text": part.text}]}}


def _structure(schema: Body) -> Body:
    """Converse takes the schema as text (API reference, "JsonSchemaDefinition")."""
    named = {name: schema[name] for name in ("name", "description") if schema.get(name)}
    return {"jsonSchema": {"schema": _write(schema["schema"]).decode()} | named}


def _tool_config(asked: Chat) -> Body:
    choice: dict[str, Any] = {"auto": {"auto": {}}, "required": {"any": {}}}
    named = {"tool": {"name": asked.tool_choice.removeprefix(":")}}
    return {
        "tools": [{"toolSpec": _tool(tool)} for tool in asked.tools],
        "toolChoice": choice.get(asked.tool_choice, named),
    }


def _tool(tool: Body) -> Body:
    said = {"description": tool["description"]} if tool.get("description") else {}
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return {"name": tool["name"], "inputSchema": {"json": schema}} | said


def _usage(usage: Body) -> Body:
    return answers.used(
        usage.get("inputTokens"),
        usage.get("outputTokens"),
        cached=usage.get("cacheReadInputTokens"),
        kept=usage.get("cacheWriteInputTokens"),
    )
