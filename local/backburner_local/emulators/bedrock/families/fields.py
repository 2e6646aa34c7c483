"""Checks of the members of a body, with errors like those of Bedrock."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from backburner_local.emulators.wire import Message

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
}
_AGAIN = "please reformat your input and try again."


class BadRecord(Exception):  # noqa: N818 - an outcome of the record
    """Why a record fails before the model is asked; becomes its error, with code 400."""


def check(
    body: Message,
    kinds: Mapping[str, str],
    *,
    required: Collection[str] = (),
    where: str = "#",
) -> None:
    """Refuse a body that lacks a member, has an unknown one, or one of another type."""
    for name in required:
        if body.get(name) is None:
            raise BadRecord(
                f"Malformed input request: {where}: required key [{name}] not found, {_AGAIN}"
            )
    for name, value in body.items():
        if name not in kinds:
            raise BadRecord(
                f"Malformed input request: {where}: extraneous key [{name}] is not permitted,"
                f" {_AGAIN}"
            )
        if value is not None and not is_of(kinds[name], value):
            raise BadRecord(
                f"Malformed input request: {where}/{name}: expected type: {kinds[name]},"
                f" found: {type(value).__name__}, {_AGAIN}"
            )


def check_range(body: Message, ranges: Mapping[str, tuple[float, float]], where: str = "#") -> None:
    """Refuse numbers out of their range."""
    for name, (least, most) in ranges.items():
        value = body.get(name)
        if value is not None and not least <= value <= most:
            side = (
                f"less or equal to {most:g}" if value > most else f"greater or equal to {least:g}"
            )
            raise BadRecord(
                f"Malformed input request: {where}/{name}: {value} is not {side}, {_AGAIN}"
            )


def is_of(kind: str, value: Any) -> bool:
    """Whether a value is of a JSON type."""
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def without_none(**members: Any) -> Message:
    """The members that have a value."""
    return {name: value for name, value in members.items() if value is not None}
