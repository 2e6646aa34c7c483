"""Knobs as text, `name=value`: from a command line."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class BadKnob(ValueError):  # noqa: N818 - reads as a sentence where it is caught
    """There is no such knob, or it can't have the value."""


def parse(given: Iterable[str], kind: type[T]) -> dict[str, Any]:
    """Values by name of the knob, checked; a value is JSON, or else text.

    Args:
        given: such as `fail_records_percent=5`.
        kind: the knobs' class, a dataclass.

    Raises:
        BadKnob: names it.
    """
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for one in given:
        name, _, text = one.partition("=")
        if name not in known:
            raise BadKnob(f"There is no knob {name!r}; there are {', '.join(sorted(known))}.")
        values[name] = _value(text)
        try:
            checked = msgspec.convert(values, kind)
        except msgspec.ValidationError as error:
            raise BadKnob(f"The knob {name!r} can't be {text!r}: {error}") from error
        values[name] = getattr(checked, name)
    return values


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
