"""Meta Llama's body: a prompt in the model's own template."""

from __future__ import annotations

import re

from backburner_local.emulators.bedrock.families.answers import Answer
from backburner_local.emulators.bedrock.families.fields import check, check_range, without_none
from backburner_local.emulators.wire import Message

_KINDS = {
    "prompt": "string",
    "max_gen_len": "integer",
    "temperature": "number",
    "top_p": "number",
    "images": "array",
}
_RANGES = {"max_gen_len": (1.0, 8192.0), "temperature": (0.0, 1.0), "top_p": (0.0, 1.0)}
_TURN = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>(.*?)(?:<\|eot_id\|>|$)", re.DOTALL
)


def read(body: Message) -> Message:
    check(body, _KINDS, required=("prompt",))
    check_range(body, _RANGES)
    return without_none(
        messages=_turns(body["prompt"]),
        max_tokens=body.get("max_gen_len"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
    )


def _turns(prompt: str) -> list[Message]:
    """The messages of a prompt in Llama's template; of another one, itself."""
    told = [
        {"role": role, "content": text.strip()}
        for role, text in _TURN.findall(prompt)
        if text.strip()
    ]
    return told or [{"role": "user", "content": prompt}]


def write(body: Message, answer: Answer) -> Message:  # noqa: ARG001 - other families need it
    return {
        "generation": answer.text,
        "prompt_token_count": answer.input_tokens,
        "generation_token_count": answer.output_tokens,
        "stop_reason": answer.finish_reason,
    }
