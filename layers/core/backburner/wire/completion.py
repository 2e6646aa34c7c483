"""What a chat completion says of its own end."""

from typing import Any

import msgspec

from backburner.domain.request import Outcome

#: Why a chat completion ended early, and OpenAI's word for it in a response.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


class _Choice(msgspec.Struct):
    finish_reason: Any = None
    message: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


_read = msgspec.json.Decoder(_Completion).decode


def incomplete_reason(finish_reason: object) -> str | None:
    """Why the answer ends before its end; None: it does not."""
    return _INCOMPLETE.get(str(finish_reason))


def response_status(outcome: Outcome) -> str:
    """Status of the response whose outcome it is: `completed`, `incomplete` or `failed`."""
    if not outcome.is_success:
        return "failed"
    try:
        choices = _read(outcome.body).choices
    except (msgspec.DecodeError, RecursionError):
        return "failed"
    if not choices or not isinstance(choices[0].message, dict):
        return "failed"
    return "incomplete" if incomplete_reason(choices[0].finish_reason) else "completed"
