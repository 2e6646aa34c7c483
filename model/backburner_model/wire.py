"""The container's wire format: shard lines, their outcomes, and OpenAI's error objects."""

from __future__ import annotations

import re
from typing import Final

import msgspec

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
EMBEDDINGS: Final = "/v1/embeddings"

#: Content type of a shard and of its outcomes.
SHARD_TYPE: Final = "application/jsonl"
#: What else a shard may be called; batch transform's users say `jsonlines`.
SHARD_TYPES: Final = frozenset({SHARD_TYPE, "application/jsonlines", "application/x-ndjson"})


class Answer(msgspec.Struct, frozen=True):
    """What an engine says to one request: an HTTP status and a JSON object in one line.

    Only the answer to a raw request may be something else: `content_type` says what.
    """

    status_code: int
    body: bytes
    content_type: str = "application/json"


class RawBody(msgspec.Struct, frozen=True):
    """A body of any kind, and what its client says of it."""

    body: bytes
    content_type: str
    #: What the client would like to have back; empty if it did not say.
    accept: str = ""
    custom_attributes: str = ""


class ShardLine(msgspec.Struct):
    """One request of a shard; members that are not named here are ignored."""

    line: int
    url: str
    body: msgspec.Raw


class LineNumber(msgspec.Struct):
    """What can still be read of a line that is no request."""

    line: int


class BodyShape(msgspec.Struct):
    """The members of an OpenAI body that the container itself looks at."""

    stream: bool | None = None
    messages: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Problem(msgspec.Struct, omit_defaults=False):
    """The inside of an OpenAI error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(msgspec.Struct):
    """An OpenAI error object."""

    error: Problem


read_shard_line: Final = msgspec.json.Decoder(ShardLine).decode
read_line_number: Final = msgspec.json.Decoder(LineNumber).decode
read_body_shape: Final = msgspec.json.Decoder(BodyShape).decode
read_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
write_json: Final = msgspec.json.Encoder().encode

#: What reading someone else's JSON may raise: the parser's, bad UTF-8, and nesting without end.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ROUTE = re.compile(r"route=(/[^\s,]+)")
_LINE_NUMBER = re.compile(rb'\s*\{\s*"line"\s*:\s*(\d{1,18})\s*,')
_FIELD = re.compile(r"`\$\.?([^`]*)`$|field `([^`]+)`")


def bad_request(
    message: str, *, param: str | None = None, code: str | None = None, status_code: int = 400
) -> Answer:
    """The client must change the request: never retried."""
    problem = Problem(message=message, type="invalid_request_error", param=param, code=code)
    return Answer(status_code, write_json(ErrorBody(problem)))


def server_error(message: str, *, code: str, status_code: int = 500) -> Answer:
    """The request may be sent again as it is."""
    problem = Problem(message=message, type="server_error", code=code)
    return Answer(status_code, write_json(ErrorBody(problem)))


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8; the parser only looks at the strings that it is asked for."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def invalid_body(error: Exception) -> Answer:
    """Say which member of a body is wrong, or that it is no JSON at all."""
    if isinstance(error, RecursionError):
        return bad_request("The body is nested too deeply.", code="invalid_json")
    if not isinstance(error, msgspec.ValidationError):
        return bad_request(f"The body is not valid JSON: {error}", code="invalid_json")
    found = _FIELD.search(str(error))
    param = (found[1] or found[2] or None) if found else None
    return bad_request(str(error), param=param)


def unsupported_type(content_type: str) -> Answer:
    return bad_request(
        f"This model takes no {content_type[:200]!r}: send application/json.",
        code="unsupported_content_type",
        status_code=415,
    )


def unknown_route(route: str, offered: frozenset[str], status_code: int) -> Answer:
    return bad_request(
        f"Unknown URL {route[:200]!r}; this model answers {', '.join(sorted(offered))}.",
        param="url",
        code="unknown_url",
        status_code=status_code,
    )


def route_from_attributes(custom_attributes: str) -> str | None:
    """The route that `X-Amzn-SageMaker-Custom-Attributes` picks, if it picks one."""
    found = _ROUTE.search(custom_attributes)
    return found[1] if found else None


def route_from_shape(shape: BodyShape) -> str | None:
    """The route that a body without one is meant for."""
    if shape.messages is not msgspec.UNSET:
        return CHAT
    if shape.prompt is not msgspec.UNSET:
        return COMPLETIONS
    if shape.input is not msgspec.UNSET:
        return EMBEDDINGS
    return None


def line_number(line: bytes) -> int | None:
    """What can be told of the number of a line that is no request."""
    try:
        return read_line_number(line).line
    except UNREADABLE:
        found = _LINE_NUMBER.match(line)
        return int(found[1]) if found else None


def outcome(line: int | None, answer: Answer) -> bytes:
    """One line of a shard's result."""
    number = b"null" if line is None else b"%d" % line
    return b'{"line":%b,"status_code":%d,"body":%b}\n' % (number, answer.status_code, answer.body)


def foreign_answer(status_code: int, body: bytes) -> Answer:
    """An answer of another server, made fit for a line: a JSON object without line breaks."""
    body = body.strip()
    try:
        read_json(body)
    except UNREADABLE:
        body = b""
    if not body.startswith(b"{"):
        return server_error(
            f"The model server answered {status_code} without a JSON object.",
            code="bad_gateway",
            status_code=status_code if status_code >= 400 else 502,
        )
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\r", b" ").replace(b"\n", b" ")
    return Answer(status_code, body)
