"""Attributes of an item as DynamoDB keeps them, and back: every value and its type survive.

| here | there |
|---|---|
| str, bytes, bool | `S`, `B`, `BOOL` |
| list, dict, None inside them | `L`, `M`, `NULL` |
| int | `N` |
| float | `N`; a whole one has a mark, since DynamoDB would make `1` of `1.0` |

The mark of an attribute is another attribute, `~<name>`: the number itself stays one that can be
compared and added to. Inside lists and dicts nothing is compared: there a whole float is a set of
one number, `NS`, which nothing else is.

DynamoDB's numbers are decimals of 38 digits between 1e-130 and 1e126 (developer guide, "Naming
rules and data types"): each float of that range comes back as it was, but the sign of -0.0.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

#: Name that every attribute begins with that is not the caller's own.
RESERVED = "~"
#: Attributes of the table's key.
PARTITION, SORT = "partition", "sort"

MARK = {"BOOL": True}

_MAX_INT = 10**38
_MIN_FLOAT, _MAX_FLOAT = 1e-130, 1e126
#: Above it, `repr` writes floats with an exponent.
_PLAIN_FLOAT = 1e16


def mark_of(name: str) -> str:
    """Name of the attribute that says: this one is a float."""
    return RESERVED + name


def is_whole(value: object) -> bool:
    """Whether it is a float that looks like an int."""
    return isinstance(value, float) and value.is_integer()


def encode_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """All attributes that are not None, with their marks."""
    encoded = {}
    for name, value in item.items():
        check_name(name)
        if value is not None:
            encoded[name] = encode(value)
            if is_whole(value):
                encoded[mark_of(name)] = MARK
    return encoded


def check_name(name: str) -> None:
    """Raise ValueError if an attribute can't have this name."""
    if name.startswith(RESERVED) or name in (PARTITION, SORT):
        raise ValueError(f"'{name}' can't be the name of an attribute.")


def encode(value: object) -> dict[str, Any]:
    """One value of an attribute or a condition; raises ValueError if DynamoDB can't keep it."""
    if value is None:
        return {"NULL": True}
    for kinds, tag, turn in _ENCODERS:
        if isinstance(value, kinds):
            return {tag: turn(value)}
    raise ValueError(f"A value of {type(value)} can't be stored.")


def _encode_inner(value: object) -> dict[str, Any]:
    encoded = encode(value)
    return {"NS": [encoded["N"]]} if is_whole(value) else encoded


def _number(value: float) -> str:
    if isinstance(value, int):
        if abs(value) < _MAX_INT:
            return str(int(value))
    elif value == 0.0 or _MIN_FLOAT <= abs(value) < _MAX_FLOAT:
        is_plain = value.is_integer() and abs(value) < _PLAIN_FLOAT
        return str(int(value)) if is_plain else repr(float(value))
    elif math.isnan(value):
        raise ValueError("NaN can't be stored.")
    raise ValueError(f"{value} is beyond DynamoDB's numbers.")


#: In this order: a bool is an int, too.
_ENCODERS: tuple[tuple[tuple[type, ...], str, Callable[[Any], Any]], ...] = (
    ((bool,), "BOOL", bool),
    ((int, float), "N", _number),
    ((str,), "S", str),
    ((bytes,), "B", bytes),
    ((list, tuple), "L", lambda value: [_encode_inner(one) for one in value]),
    ((Mapping,), "M", lambda value: {name: _encode_inner(one) for name, one in value.items()}),
)


def decode_item(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's own attributes."""
    item = {
        name: _decode(value)
        for name, value in stored.items()
        if not name.startswith(RESERVED) and name not in (PARTITION, SORT)
    }
    for name in stored:
        marked = name.removeprefix(RESERVED)
        if name != marked and isinstance(item.get(marked), int):
            item[marked] = float(stored[marked]["N"])
    return item


def _decode(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    return _DECODERS[kind](inner)


def _decode_number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "S": str,
    "B": bytes,
    "BOOL": bool,
    "N": _decode_number,
    "NS": lambda inner: float(inner[0]),
    "NULL": lambda _: None,
    "L": lambda inner: [_decode(one) for one in inner],
    "M": lambda inner: {name: _decode(one) for name, one in inner.items()},
}
