"""Whether an event matches the pattern of a rule, as EventBridge decides it.

Members of a pattern must all match, and the values of each are alternatives. Operators are those
below; a pattern with another one is refused, as it would silently never match.
"""

from collections.abc import Callable, Mapping
from typing import Any

#: Stands for a member that an event does not have.
_ABSENT = object()


class UnknownOperator(ValueError):  # noqa: N818 - reads as a sentence where it is caught
    """The pattern uses what is not emulated."""


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether an event has all that a pattern asks for.

    Raises:
        UnknownOperator: the pattern can't be judged.
    """
    return all(
        _member_matches(wanted, event.get(name, _ABSENT)) for name, wanted in pattern.items()
    )


def check(pattern: Mapping[str, Any]) -> None:
    """Refuse a pattern that `matches` can't judge, before an event comes.

    Raises:
        UnknownOperator: names the operator.
    """
    for wanted in pattern.values():
        if isinstance(wanted, Mapping):
            check(wanted)
            continue
        for condition in wanted:
            if isinstance(condition, Mapping):
                _operator(condition)


def _member_matches(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, Mapping):
        return matches(wanted, found if isinstance(found, Mapping) else {})
    values = found if isinstance(found, list) else [found]
    return any(_condition_matches(condition, value) for condition in wanted for value in values)


def _condition_matches(condition: Any, value: Any) -> bool:
    if isinstance(condition, Mapping):
        judge, operand = _operator(condition)
        return judge(operand, value)
    return type(condition) is type(value) and bool(condition == value)


def _operator(condition: Mapping[str, Any]) -> tuple[Callable[[Any, Any], bool], Any]:
    name = next(iter(condition), "")
    if len(condition) != 1 or name not in _OPERATORS:
        raise UnknownOperator(f"event patterns: {dict(condition)} is not emulated")
    return _OPERATORS[name], condition[name]


def _has_prefix(operand: str, value: Any) -> bool:
    return isinstance(value, str) and value.startswith(operand)


def _has_suffix(operand: str, value: Any) -> bool:
    return isinstance(value, str) and value.endswith(operand)


def _exists(operand: bool, value: Any) -> bool:  # noqa: FBT001 - the operator's operand
    return (value is not _ABSENT) is operand


def _is_equal_whatever_case(operand: str, value: Any) -> bool:
    return isinstance(value, str) and value.casefold() == operand.casefold()


def _is_anything_but(operand: Any, value: Any) -> bool:
    if value is _ABSENT:
        return False
    conditions = operand if isinstance(operand, list) else [operand]
    return not any(_condition_matches(condition, value) for condition in conditions)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "prefix": _has_prefix,
    "suffix": _has_suffix,
    "exists": _exists,
    "equals-ignore-case": _is_equal_whatever_case,
    "anything-but": _is_anything_but,
}
