"""Anthropic's Messages body, as Bedrock takes it.

Facts: reference page `bedrock.md` §2.2; without `anthropic_version` and `max_tokens` each record of
a job fails, while the job says it is completed.
"""

from backburner.wire.bedrock import answers, chat
from backburner.wire.bedrock.chat import Call, Chat, Image, Part, Text
from backburner.wire.bedrock.fields import OddAnswer, entries, obj
from backburner.wire.bodies import Body

_VERSION = "bedrock-2023-05-31"

#: Tokens of the answer to a request that names no limit: Anthropic's body must have one, and this
#: many every model of theirs can write.
DEFAULT_MAX_TOKENS = 4096

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def ask(body: Body) -> Body:
    """The `modelInput` of an Anthropic model; raises InvalidRequest."""
    asked = chat.read(body)
    given: Body = {
        "anthropic_version": _VERSION,
        "max_tokens": asked.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": [
            {"role": turn.role, "content": [_block(part) for part in turn.parts]}
            for turn in asked.turns
        ],
    }
    others = {
        "system": asked.system or None,
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "stop_sequences": asked.stop or None,
        "output_config": _output(asked) or None,
    }
    given |= {name: value for name, value in others.items() if value is not None}
    if asked.tools:
        given["tools"] = [_tool(tool) for tool in asked.tools]
        given["tool_choice"] = _choice(asked)
    return given


def answer(output: Body) -> Body:
    """The completion that a `modelOutput` stands for; raises OddAnswer."""
    if not isinstance(output.get("content"), list):
        raise OddAnswer
    content = entries(output["content"])
    texts = [block["text"] for block in content if isinstance(block.get("text"), str)]
    thoughts = [block["thinking"] for block in content if isinstance(block.get("thinking"), str)]
    uses = [block for block in content if block.get("type") == "tool_use"]
    usage = output.get("usage")
    return answers.completion(
        text="".join(texts) if texts or not uses else None,
        finish_reason=answers.reason(output.get("stop_reason"), _REASONS),
        usage=_usage(obj(usage)) if isinstance(usage, dict) else None,
        reasoning="".join(thoughts),
        calls=[answers.call(use.get("id"), use.get("name"), use.get("input")) for use in uses],
    )


def _block(part: Part) -> Body:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        source = {"type": "base64", "media_type": f"image/{part.format}", "data": part.base64}
        return {"type": "image", "source": source}
    if isinstance(part, Call):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    return {"type": "tool_result", "tool_use_id": part.call_id, "content": part.text}


def _output(asked: Chat) -> Body:
    """The form of the answer (user guide, "Get validated JSON results from models")."""
    output: Body = {}
    if asked.schema is not None:
        output["format"] = {"type": "json_schema", "schema": asked.schema["schema"]}
    if asked.effort is not None:
        output["effort"] = asked.effort
    return output


def _tool(tool: Body) -> Body:
    said = {"description": tool["description"]} if tool.get("description") else {}
    strict = {"strict": True} if tool.get("strict") is True else {}
    schema = tool.get("parameters") or {"type": "object", "properties": {}}
    return {"name": tool["name"], "input_schema": schema} | said | strict


def _choice(asked: Chat) -> Body:
    if asked.tool_choice.startswith(":"):
        choice: Body = {"type": "tool", "name": asked.tool_choice[1:]}
    else:
        choice = {"type": {"required": "any"}.get(asked.tool_choice, asked.tool_choice)}
    is_alone = not asked.is_parallel and asked.tool_choice != "none"
    return choice | ({"disable_parallel_tool_use": True} if is_alone else {})


def _usage(usage: Body) -> Body:
    return answers.used(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        cached=usage.get("cache_read_input_tokens"),
        kept=usage.get("cache_creation_input_tokens"),
    )
