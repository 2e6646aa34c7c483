"""Mistral's two bodies: text completion of the older models, chat completion of the newer ones."""

from __future__ import annotations

import re

from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import check, check_range, without_none
from backburner_local.emulators.wire import Message

_RANGES = {"max_tokens": (1.0, float("inf")), "temperature": (0.0, 1.5), "top_p": (0.0, 1.0)}
_SHARED = {"max_tokens": "integer", "temperature": "number", "top_p": "number"}
_TEXT_KINDS = {**_SHARED, "prompt": "string", "top_k": "integer", "stop": "array"}
_CHAT_KINDS = {
    **_SHARED,
    "messages": "array",
    "tools": "array",
    "tool_choice": "string",
    "stop": "array",
    "response_format": "object",
}
_TURN = re.compile(r"\[INST\](.*?)\[/INST\]([^\[]*)", re.DOTALL)


def read_text(body: Message) -> Message:
    check(body, _TEXT_KINDS, required=("prompt",))
    check_range(body, _RANGES)
    return without_none(
        messages=_turns(body["prompt"]),
        max_tokens=body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=body.get("stop") or None,
    )


def _turns(prompt: str) -> list[Message]:
    """The messages of a prompt in Mistral's template; of another one, itself."""
    told: list[Message] = []
    for user, assistant in _TURN.findall(prompt):
        told.append({"role": "user", "content": user.strip()})
        if answered := assistant.replace("</s>", "").strip():
            told.append({"role": "assistant", "content": answered})
    return told or [{"role": "user", "content": prompt}]


def write_text(body: Message, answer: Answer) -> Message:  # noqa: ARG001 - other families need it
    return {"outputs": [{"text": answer.text, "stop_reason": answer.finish_reason}]}


def read_chat(body: Message) -> Message:
    check(body, _CHAT_KINDS, required=("messages",))
    check_range(body, _RANGES)
    return without_none(**{**body, "tools": body.get("tools") or None})


def write_chat(body: Message, answer: Answer) -> Message:  # noqa: ARG001 - other families need it
    message = {
        "role": "assistant",
        "content": answer.text,
        "tool_calls": answer.message.get("tool_calls") or [],
    }
    return {"choices": [{"index": 0, "message": message, "stop_reason": answer.finish_reason}]}
