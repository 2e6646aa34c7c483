"""Recognise the lines of OpenAI, Anthropic and Bedrock, and say which model they are for."""

from typing import Any

import msgspec

from backburner.domain.errors import InvalidLine
from backburner.ports import Shape
from backburner.wire import bodies
from backburner.wire.jsonlines import read_object

_encode = msgspec.json.Encoder().encode

#: Member that tells a format, and the format.
_MEMBERS = {"body": "openai", "params": "anthropic", "modelInput": "bedrock"}

#: Routes by the member that only their bodies have.
_ROUTES = {"messages": bodies.CHAT, "prompt": bodies.COMPLETIONS, "input": bodies.EMBEDDINGS}

_KNOWN = (
    "a line of OpenAI's ('custom_id', 'url', 'body'), Anthropic's ('custom_id', 'params') "
    "or Bedrock's ('recordId', 'modelInput')"
)


def shape(data: bytes, *, may_be_body: bool) -> Shape:
    """Whose format a line is in; raises InvalidLine.

    Args:
        data: the line.
        may_be_body: whether it may be a body without anything around it.
    """
    line = read_object(data)
    found = [name for name in _MEMBERS if name in line]
    if not found and may_be_body:
        route = next((route for name, route in _ROUTES.items() if name in line), None)
        if route is not None:
            return Shape(dialect="openai", route=route, has_model="model" in line)
    if len(found) != 1:
        what = f"has {' and '.join(map(repr, found))}" if found else "is neither"
        raise InvalidLine(
            "unknown_format",
            f"This line {what}; it must be {_KNOWN}." if found else f"This line must be {_KNOWN}.",
        )
    dialect = _MEMBERS[found[0]]
    url, given = line.get("url"), line[found[0]]
    return Shape(
        dialect=dialect,
        route=url if dialect == "openai" and isinstance(url, str) else None,
        has_model=dialect != "bedrock" and isinstance(given, dict) and "model" in given,
    )


def addressed(data: bytes, shape: Shape, *, number: int, model: str | None) -> bytes:
    """The line with this model; what can't be read is left to its dialect to explain.

    Args:
        data: the line, of any shape: only the first of a file was looked at.
        shape: of the file.
        number: of the line; the name of a body that has none.
        model: None: that which it names.
    """
    try:
        line: dict[str, Any] = read_object(data)
    except InvalidLine:
        return data
    if shape.dialect == "bedrock":
        return _encode({"recordId": str(number)} | line | {"modelId": model})
    member = "params" if shape.dialect == "anthropic" else "body"
    if member not in line and shape.dialect == "openai":
        line = {"custom_id": str(number), "body": line}
    given = line.get(member)
    if model is not None and isinstance(given, dict):
        line[member] = given | {"model": model}
    return _encode(line)
