"""What botocore's service models say of requests and responses, held against real messages.

botocore itself checks little: required members and least values of what is sent, and nothing of
what comes back. Messages are as boto3 has them, or as JSON: an instant may be text or a number.
"""

import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import botocore.session

#: Models' patterns that take exponential time to refuse a text, or that `re` does not know, and the
#: same patterns without that.
SAFE_PATTERNS = {
    r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}": r"[a-zA-Z0-9][a-zA-Z0-9+.-]*",
    r"[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}": r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?",
    r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}": r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?",
    r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)": r"[\w\s.:/=+\-@]*",
}

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime, str, int, float),
    "blob": (bytes, str),
    "list": (list, tuple),
    "map": (dict,),
    "structure": (dict,),
}
_NUMBERS = frozenset({"integer", "long", "float", "double"})


@functools.cache
def operation(service: str, name: str) -> Any:
    """Model of an operation, by its name on the wire such as `CreateTransformJob`."""
    return botocore.session.get_session().get_service_model(service).operation_model(name)


def request_problems(service: str, name: str, message: Mapping[str, Any]) -> list[str]:
    """What the model has against a request; empty: nothing."""
    return list(_problems(operation(service, name).input_shape, message, "request"))


def response_problems(service: str, name: str, message: Mapping[str, Any]) -> list[str]:
    """What the model has against a response; boto3's own metadata are left out."""
    told = {key: value for key, value in message.items() if key != "ResponseMetadata"}
    shape = operation(service, name).output_shape
    if shape is None:
        return [f"response: {member} is not in the model" for member in told]
    return list(_problems(shape, told, "response"))


def error_problems(service: str, name: str, code: str, status: int) -> list[str]:
    """What the model has against an error that an operation answered with."""
    known = {
        error.metadata.get("error", {}).get("code", error.name): error
        for error in operation(service, name).error_shapes
    }
    if code not in known:
        return [f"{name} can't fail with {code}; it can with {sorted(known)}"]
    wanted = known[code].metadata.get("error", {}).get("httpStatusCode", status)
    return [] if status == wanted else [f"{code} came with {status}; the model says {wanted}"]


def members(service: str, name: str, *, of: str = "output") -> set[str]:
    """Dotted paths of all members of an operation's input or output; `[]` stands for an item."""
    model = operation(service, name)
    return set(_member_paths(model.input_shape if of == "input" else model.output_shape, (), ""))


def members_in(message: Any, prefix: str = "") -> set[str]:
    """Dotted paths of what a message has, written like those of `members`."""
    found: set[str] = set()
    if isinstance(message, Mapping):
        for key, value in message.items():
            path = f"{prefix}.{key}" if prefix else str(key)
            found |= {path} | members_in(value, path)
    elif isinstance(message, list | tuple):
        for item in message:
            found |= members_in(item, f"{prefix}[]")
    return found


def violations(
    service: str, name: str, message: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies of a right request that each break one thing that the model says, and which.

    Only members that the request has are broken: give it all of them.
    """
    shape = operation(service, name).input_shape
    yield from _violations(shape, message, copy.deepcopy(dict(message)), ())


# ---- checking


def _problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    if not _is_of_type(shape, value):
        yield f"{path}: {type(value).__name__} is no {shape.type_name}"
    elif shape.type_name == "structure":
        yield from _structure_problems(shape, value, path)
    elif shape.type_name == "list":
        yield from _size_problems(shape, len(value), path)
        for number, item in enumerate(value):
            yield from _problems(shape.member, item, f"{path}[{number}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _problems(shape.key, key, f"{path} key {key!r}")
            yield from _problems(shape.value, item, f"{path}[{key!r}]")
    else:
        yield from _scalar_problems(shape, value, path)


def _is_of_type(shape: Any, value: Any) -> bool:
    if shape.type_name in _NUMBERS and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[shape.type_name])


def _structure_problems(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for required in shape.required_members:
        if required not in value:
            yield f"{path}: {required} is missing"
    if shape.is_tagged_union and len(value) != 1:
        yield f"{path}: exactly one member must be set"
    for key, item in value.items():
        if key in shape.members:
            yield from _problems(shape.members[key], item, f"{path}.{key}")
        elif not getattr(shape, "is_document_type", False):
            yield f"{path}: {key} is not in the model"


def _scalar_problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    if shape.type_name in _NUMBERS:
        yield from _size_problems(shape, value, path)
    if shape.type_name == "timestamp" and isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            yield f"{path}: {value!r} is no instant"
    if shape.type_name != "string":
        return
    yield from _size_problems(shape, len(value), path)
    if shape.enum and value not in shape.enum:
        yield f"{path}: {value!r} is none of {shape.enum}"
    pattern = shape.metadata.get("pattern")
    if pattern and re.fullmatch(SAFE_PATTERNS.get(pattern, pattern), value) is None:
        yield f"{path}: {value!r} does not match {pattern}"


def _size_problems(shape: Any, size: float, path: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < least:
        yield f"{path}: {size} is less than {least}"
    if most is not None and size > most:
        yield f"{path}: {size} is more than {most}"


# ---- members


def _member_paths(shape: Any, seen: tuple[str, ...], prefix: str) -> Iterator[str]:
    if shape is None or shape.name in seen:
        return
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from _member_paths(member, (*seen, shape.name), path)
    elif shape.type_name == "list":
        yield from _member_paths(shape.member, seen, f"{prefix}[]")


# ---- violations

Path = tuple[str | int, ...]


def _violations(
    shape: Any, value: Any, whole: dict[str, Any], path: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    if shape.type_name == "structure":
        for name, item in value.items():
            if name in shape.required_members:
                yield f"{_dotted((*path, name))} is missing", _without(whole, (*path, name))
            yield from _violations(shape.members[name], item, whole, (*path, name))
        return
    for what, broken in _broken(shape, value):
        yield f"{_dotted(path)} {what}", _with(whole, path, broken)
    if shape.type_name == "list":
        for number, item in enumerate(value[:1]):
            yield from _violations(shape.member, item, whole, (*path, number))


def _broken(shape: Any, value: Any) -> Iterator[tuple[str, Any]]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name in _NUMBERS:
        yield from _if_bounded("is too small", least, lambda: least - 1)
        yield from _if_bounded("is too large", most, lambda: most + 1)
    elif shape.type_name == "list":
        yield from _if_bounded("has too few items", least, lambda: value[: least - 1])
        yield from _if_bounded("has too many items", most, lambda: [value[0]] * (most + 1))
    elif shape.type_name == "string":
        yield from _if_bounded("is too short", least, lambda: "")
        yield from _if_bounded("is too long", most, lambda: value.ljust(most + 1, "a"))
        yield from _if_bounded("is none of the enumeration", shape.enum, lambda: "Nope")
        pattern = shape.metadata.get("pattern", "")
        if not pattern.startswith(".*"):  # which matches anything
            yield from _if_bounded("does not match the pattern", pattern, lambda: " ~ ")


def _if_bounded(what: str, bound: Any, break_it: Callable[[], Any]) -> Iterator[tuple[str, Any]]:
    if bound:
        yield what, break_it()


def _with(whole: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(whole)
    _parent(changed, path)[path[-1]] = value
    return changed


def _without(whole: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(whole)
    del _parent(changed, path)[path[-1]]
    return changed


def _parent(whole: Any, path: Path) -> Any:
    return functools.reduce(lambda found, step: found[step], path[:-1], whole)


def _dotted(path: Path) -> str:
    return ".".join(str(step) for step in path)
