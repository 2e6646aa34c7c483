"""Models whose own body is that of OpenAI's chat completions."""

from __future__ import annotations

from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import BadRecord
from backburner_local.emulators.wire import Message


def read(body: Message) -> Message:
    if not isinstance(body.get("messages"), list):
        raise BadRecord("messages: Field required")
    if body.get("stream"):
        raise BadRecord("stream: not supported in batch inference")
    return {name: value for name, value in body.items() if name != "model"}


def write(body: Message, answer: Answer) -> Message:  # noqa: ARG001 - other families need it
    return {**answer.body, "model": answer.model_id}
