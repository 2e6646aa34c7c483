"""What a service model says of a request, checked: types, bounds, patterns, enumerations.

The sentences are SageMaker's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backburner_local.emulators.wire import ApiError, Message


@dataclass(frozen=True, slots=True)
class Text:
    """A string: its length, its pattern, the values it may have."""

    least: int = 0
    most: int | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    #: An equivalent of the pattern that refuses in linear time; None: the pattern itself.
    safe_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of items of one kind."""

    item: Rule
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """A map of texts."""

    key: Text
    value: Text
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """Members by name."""

    members: Mapping[str, Rule]
    required: tuple[str, ...] = ()


Rule = Text | Whole | Flag | Items | Entries | Structure


def check(request: Message, rule: Structure) -> None:
    """Raise a ValidationException that names everything that the model forbids."""
    found = list(_problems(rule, request, ""))
    if found:
        errors = "error" if len(found) == 1 else "errors"
        text = f"{len(found)} validation {errors} detected: {'; '.join(found)}"
        raise ApiError("ValidationException", text)


def _problems(rule: Rule, value: Any, path: str) -> Iterator[str]:
    if not _is_of_type(rule, value):
        yield f"Value at '{path}' failed to satisfy constraint: Member has a wrong type"
        return
    match rule:
        case Structure():
            yield from _of_structure(rule, value, path)
        case Items():
            yield from _of_bounds(rule.least, rule.most, len(value), "length", value, path)
            for number, item in enumerate(value, 1):
                yield from _problems(rule.item, item, f"{path}.{number}.member")
        case Entries():
            yield from _of_bounds(None, rule.most, len(value), "length", value, path)
            for key, item in value.items():
                yield from _problems(rule.key, key, f"{path} key")
                yield from _problems(rule.value, item, f"{path}.{key}")
        case Text():
            yield from _of_text(rule, value, path)
        case Whole():
            yield from _of_bounds(rule.least, rule.most, value, "value", value, path)


def _is_of_type(rule: Rule, value: Any) -> bool:
    match rule:
        case Structure() | Entries():
            return isinstance(value, dict)
        case Items():
            return isinstance(value, list)
        case Text():
            return isinstance(value, str)
        case Flag():
            return isinstance(value, bool)
        case Whole():
            return isinstance(value, int) and not isinstance(value, bool)


def _of_structure(rule: Structure, value: Message, path: str) -> Iterator[str]:
    for name in rule.required:
        if value.get(name) is None:
            where = _member(path, name)
            yield (f"Value null at '{where}' failed to satisfy constraint: Member must not be null")
    for name, member in rule.members.items():
        if value.get(name) is not None:
            yield from _problems(member, value[name], _member(path, name))


def _of_text(rule: Text, value: str, path: str) -> Iterator[str]:
    yield from _of_bounds(rule.least, rule.most, len(value), "length", value, path)
    if rule.enum and value not in rule.enum:
        yield _sentence(
            value, path, f"Member must satisfy enum value set: [{', '.join(rule.enum)}]"
        )
    if rule.pattern and re.fullmatch(rule.safe_pattern or rule.pattern, value) is None:
        what = f"Member must satisfy regular expression pattern: {rule.pattern}"
        yield _sentence(value, path, what)


def _of_bounds(
    least: int | None, most: int | None, size: int, what: str, value: Any, path: str
) -> Iterator[str]:
    if least is not None and size < least:
        yield _sentence(value, path, f"Member must have {what} greater than or equal to {least}")
    if most is not None and size > most:
        yield _sentence(value, path, f"Member must have {what} less than or equal to {most}")


def _sentence(value: Any, path: str, what: str) -> str:
    return f"Value '{value}' at '{path}' failed to satisfy constraint: {what}"


def _member(path: str, name: str) -> str:
    camel = f"{name[0].lower()}{name[1:]}"
    return f"{path}.{camel}" if path else camel
