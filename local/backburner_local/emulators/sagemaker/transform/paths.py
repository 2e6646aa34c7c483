"""The part of JSONPath that filters of batch transform may use.

Operators (developer guide, "Associate Prediction Results with Input Records"): `$`, `.name`, `*`,
`['a','b']`, `[1,3]`, `[2:5]`, `[-1]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""
    \.(?P<name>[A-Za-z_][A-Za-z0-9_-]*)
  | (?P<all>\.\*|\[\*\])
  | \[(?P<names>\s*(?:'[^']*'|"[^"]*")(?:\s*,\s*(?:'[^']*'|"[^"]*"))*\s*)\]
  | \[(?P<slice>\s*-?\d*\s*:\s*-?\d*\s*)\]
  | \[(?P<indexes>\s*-?\d+(?:\s*,\s*-?\d+)*\s*)\]
    """,
    re.VERBOSE,
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


class BadPath(Exception):  # noqa: N818 - told to whoever wrote the path
    """It is no path that batch transform knows."""


class NotThere(Exception):  # noqa: N818 - told in the job's log
    """A record has not what the path asks for."""


@dataclass(frozen=True, slots=True)
class _Names:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Indexes:
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Slice:
    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class _All:
    pass


_Step = _Names | _Indexes | _Slice | _All
Path = Sequence[_Step]


def parse(text: str) -> Path:
    """The steps of a path; raises BadPath."""
    if not text.startswith("$"):
        raise BadPath("A path begins with '$'.")
    return tuple(_steps(text))


def _steps(text: str) -> Iterator[_Step]:
    at = 1
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadPath(f"Not understood: '{text[at:]}'.")
        at = found.end()
        yield _step(found)


def _step(found: re.Match[str]) -> _Step:
    if found["name"] is not None:
        return _Names((found["name"],))
    if found["names"] is not None:
        return _Names(tuple(a or b for a, b in _QUOTED.findall(found["names"])))
    if found["slice"] is not None:
        start, _, stop = found["slice"].partition(":")
        return _Slice(_bound(start), _bound(stop))
    if found["indexes"] is not None:
        return _Indexes(tuple(int(index) for index in found["indexes"].split(",")))
    return _All()


def _bound(text: str) -> int | None:
    return int(text) if text.strip() else None


def select(path: Path, value: Any) -> Any:
    """What the path finds; several members stay an object, several items a list.

    Raises:
        NotThere: nothing.
    """
    for step in path:
        try:
            value = _taken(step, value)
        except (KeyError, IndexError, TypeError) as error:
            raise NotThere(f"The record has no {step}.") from error
    return value


def _taken(step: _Step, value: Any) -> Any:
    match step:
        case _Names((name,)):
            return value[name]
        case _Names(names):
            return {name: value[name] for name in names}
        case _Indexes((index,)):
            return _listed(value)[index]
        case _Indexes(indexes):
            return [_listed(value)[index] for index in indexes]
        case _Slice(start, stop):
            return _listed(value)[start:stop]
        case _All():
            return list(value.values()) if isinstance(value, dict) else list(_listed(value))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
