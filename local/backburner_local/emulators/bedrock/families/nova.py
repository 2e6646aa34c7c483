"""Amazon Nova's own body: like that of Converse; older samples spell its members otherwise."""

from __future__ import annotations

from backburner_local.emulators.bedrock.families import converse
from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import (
    BadRecord,
    check,
    check_range,
    without_none,
)
from backburner_local.emulators.wire import Message

_KINDS = {
    "schemaVersion": "string",
    "messages": "array",
    "system": "array",
    "inferenceConfig": "object",
    "toolConfig": "object",
}
_CONFIG_KINDS = {
    "maxTokens": "integer",
    "max_new_tokens": "integer",
    "temperature": "number",
    "topP": "number",
    "top_p": "number",
    "topK": "integer",
    "top_k": "integer",
    "stopSequences": "array",
    "stop_sequences": "array",
}


def read(body: Message) -> Message:
    check(body, _KINDS, required=("messages",))
    if body.get("schemaVersion") not in (None, "messages-v1"):
        raise BadRecord("Malformed input request: #/schemaVersion: messages-v1 is the only one.")
    config = body.get("inferenceConfig") or {}
    check(config, _CONFIG_KINDS, where="#/inferenceConfig")
    unit = (0.0, 1.0)
    check_range(
        config,
        {"maxTokens": (1, float("inf")), "temperature": unit, "topP": unit, "top_p": unit},
        "#/inferenceConfig",
    )
    return without_none(
        messages=converse.messages(body),
        max_tokens=config.get("maxTokens", config.get("max_new_tokens")),
        temperature=config.get("temperature"),
        top_p=config.get("topP", config.get("top_p")),
        top_k=config.get("topK", config.get("top_k")),
        stop=config.get("stopSequences", config.get("stop_sequences")) or None,
    )


def write(body: Message, answer: Answer) -> Message:
    told = converse.write(body, answer)
    del told["metrics"]
    return told
