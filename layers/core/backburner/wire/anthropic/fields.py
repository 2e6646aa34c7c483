"""Reading fields of Anthropic's bodies, with errors that name them as Anthropic does."""

from typing import Any

from backburner.domain.errors import InvalidRequest
from backburner.wire.bodies import Body


def bad(where: str, problem: str) -> InvalidRequest:
    """The error of a field, such as `messages.0.content.1.text`."""
    return InvalidRequest(f"{where}: {problem}", param=where)


def text(given: Body, name: str, where: str = "") -> str:
    """A string that must be there, and not be empty."""
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise bad(where + name, "must be a string that is not empty.")
    return value


def obj(given: Body, name: str, where: str = "") -> Body:
    """An object; an empty one if there is none."""
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad(where + name, "must be an object.")
    return value


def entries(given: Body, name: str, where: str = "") -> list[Any]:
    """A list; an empty one if there is none."""
    value = given.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad(where + name, "must be a list.")
    return value


def number(given: Body, name: str, *, most: int) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise bad(name, f"must be a number from 0 to {most}.")
    return value
