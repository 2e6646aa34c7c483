"""Reading fields of OpenAI's bodies, with errors that say what can't be asked on Bedrock."""

from collections.abc import Collection, Mapping
from typing import Any

from backburner.domain.errors import InvalidRequest
from backburner.wire.bodies import Body


class OddAnswer(Exception):  # noqa: N818 - reads as a sentence where it is caught
    """A model's output that is not as its format has it."""


def bad(where: str, problem: str) -> InvalidRequest:
    """The error of a field that is wrong, such as `messages[0].content`."""
    return InvalidRequest(f"'{where}' {problem}", param=where, code="invalid_value")


def unsupported(where: str, reason: str) -> InvalidRequest:
    """The error of a field that is right, but that this model can't be told."""
    return InvalidRequest(f"'{where}' {reason}", param=where, code="unsupported_parameter")


def refuse_others(
    body: Body, *, known: Collection[str], neutral: Mapping[str, Collection[Any]]
) -> None:
    """Refuse parameters that would have no effect, rather than ignore them.

    Args:
        body: as the client wrote it.
        known: parameters that are read, or that never change what comes out.
        neutral: values of others that ask for nothing; null, false and empty ones never do.
    """
    for name, value in body.items():
        if name in known or name.startswith("x_") or value is False or value in (None, [], {}):
            continue
        if not any(value == one for one in neutral.get(name, ())):
            raise unsupported(name[:64], "is not supported by this model's batch jobs.")


def number(body: Body, name: str) -> float | None:
    """A number from 0 to 1, which is all that Bedrock's models take."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise bad(name, "must be a number from 0 to 1 for this model.")
    return value


def count(body: Body, name: str) -> int | None:
    """A positive integer."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise bad(name, "must be an integer from 1.")
    return value


def obj(value: Any) -> Body:
    """An object of an answer; an empty one if it is none."""
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[Body]:
    """The objects of a list of an answer."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def tokens(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
