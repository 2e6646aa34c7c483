"""The lines of OpenAI's batch files: requests in, results out."""

import re
from functools import lru_cache
from typing import NoReturn

import msgspec

from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.domain.request import Outcome, Request
from backburner.wire import bodies, jsonlines
from backburner.wire.jsonlines import NESTING, NOT_JSON

CUSTOM_ID_LENGTH = 512

#: As numbers, bytes are looked for in a seventh of the time.
_LF, _CR = b"\n\r"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class _Line(msgspec.Struct):
    """The members of a line that matter; others are ignored."""

    custom_id: str
    body: msgspec.Raw
    method: str | None = None
    url: str | None = None


class _Rendered(msgspec.Struct):
    """What tells whose a line of an output or error file is."""

    id: str
    custom_id: str


_read_rendered = msgspec.json.Decoder(_Rendered).decode
_read_line = msgspec.json.Decoder(_Line).decode
_read_json = msgspec.json.Decoder().decode
_write = msgspec.json.Encoder().encode

#: How every line of an output or error file begins, and how an answer's line ends.
BEGINNING, ENDING = b'{"id":"batch_req_', b'},"error":null}'

_ANSWER = (
    b'{"id":"batch_req_%b-%d","custom_id":%b,"response":{"status_code":%d,'
    b'"request_id":"req_%b-%d","body":%b},"error":null}'
)
_NO_ANSWER = b'{"id":"batch_req_%b-%d","custom_id":%b,"response":null,"error":%b}'


class _Named(msgspec.Struct):
    custom_id: str = ""


_read_name = msgspec.json.Decoder(_Named).decode


def custom_id_of(line: bytes) -> str:
    """The custom_id of a line of any file; empty if it has none."""
    try:
        return _read_name(line).custom_id
    except NOT_JSON:
        return ""


class OpenAIDialect:
    """OpenAI's format of batch files (API reference, "Batch": request input and output)."""

    member = "body"
    has_error_file = True

    def __init__(self, *, nesting: int = NESTING) -> None:
        self._nesting = nesting

    def parse(self, line: int, data: bytes, *, route: str) -> Request:
        """Read one line of an input file; the body's bytes are kept as they are.

        Args:
            line: its number, from 1.
            data: without the newline.
            route: that the batch is for.

        Raises:
            InvalidLine: with `custom_id` set, where that is valid.
        """
        try:
            head = _read_line(data)
            if not data.isascii():
                data.decode()  # the members that are ignored must be text as well
            found = bodies.measure_plain(route, head.body)
            body = _read_json(head.body) if found is None else None
        except NOT_JSON:
            _explain(data, route)
        custom_id = head.custom_id
        if not (0 < len(custom_id) <= CUSTOM_ID_LENGTH and custom_id.isprintable()):
            _check_custom_id(custom_id)
        if (head.url is not None and head.url != route) or head.method not in (None, "POST"):
            _check_head(custom_id, head.method, head.url, route)
        asked = found or self._measure(route, data, body, custom_id)
        return Request(
            line=line,
            custom_id=custom_id,
            model=asked.model,
            route=route,
            body=bytes(head.body),
            prompt_bytes=asked.prompt_bytes,
            message_count=asked.message_count,
            max_tokens=asked.max_tokens,
        )

    def _measure(self, route: str, data: bytes, body: object, custom_id: str) -> bodies.Measure:
        """Check a body, whatever it holds."""
        if not isinstance(body, dict):
            raise _invalid("'body' must be an object.", "body", custom_id)
        if data.count(b"{") + data.count(b"[") > self._nesting:
            self._check_nesting(custom_id, body)
        try:
            return bodies.measure(route, body)
        except InvalidRequest as error:
            raise _invalid(error.message, f"body.{error.param}", custom_id) from None

    def prompt(self, request: Request) -> str:
        """The text that the model will read."""
        return bodies.text(request.route, _read_json(request.body))

    def render(self, outcome: Outcome, *, batch_id: str) -> bytes:
        """One line of an output or error file; the same outcome gives the same bytes."""
        if outcome.status_code:
            return answer(outcome, batch_id)
        custom_id = _write(outcome.custom_id)
        reason = _write({"code": outcome.code, "message": outcome.message})
        return _NO_ANSWER % (_suffix(batch_id), outcome.line, custom_id, reason)

    def head(self, line: bytes) -> tuple[int, str]:
        """Line number and custom_id of a line that `render` wrote."""
        rendered = _read_rendered(line)
        return int(rendered.id.rpartition("-")[2]), rendered.custom_id

    def _check_nesting(self, custom_id: str, body: object) -> None:
        """Counted only where there are enough brackets: most lines never come here."""
        if bodies.nesting(body) >= self._nesting:
            raise _invalid(
                f"This line is nested deeper than {self._nesting} levels.", "body", custom_id
            )


def answer(outcome: Outcome, batch_id: str) -> bytes:
    """A model's answer as a line of an output or error file, without the newline."""
    suffix, line = _suffix(batch_id), outcome.line
    custom_id, body = _write(outcome.custom_id), _one_line(outcome.body)
    return _ANSWER % (suffix, line, custom_id, outcome.status_code, suffix, line, body)


def beginning(batch_id: str) -> bytes:
    """How every line of the batch's files begins, up to the line's number."""
    return BEGINNING + _suffix(batch_id) + b"-"


@lru_cache(maxsize=64)
def _suffix(batch_id: str) -> bytes:
    """What names a batch in the ids of its lines."""
    return batch_id.partition("_")[2].encode()


def read_request(
    route: str, body: bodies.Body, data: bytes, *, line: int, custom_id: str
) -> Request:
    """The request of a body that came by itself; its bytes are kept, in one line.

    Args:
        route: that it is for.
        body: as it was read.
        data: that it was read from.
        line: number of the request in its batch.
        custom_id: the client's name for it.

    Raises:
        InvalidRequest: a field is wrong; `param` names it.
    """
    asked = bodies.measure(route, body)
    return Request(
        line=line,
        custom_id=custom_id,
        model=body["model"],
        route=route,
        body=_one_line(data),
        prompt_bytes=asked.prompt_bytes,
        message_count=asked.message_count,
        max_tokens=asked.max_tokens,
    )


def _explain(data: bytes, route: str) -> NoReturn:
    """Say what is wrong with a line that could not be read as a request."""
    line = jsonlines.read_object(data)
    custom_id = _check_custom_id(line.get("custom_id"))
    _check_head(custom_id, line.get("method"), line.get("url"), route)
    raise _invalid("'body' must be an object.", "body", custom_id)


def _check_custom_id(given: object) -> str:
    if not isinstance(given, str):
        problem = "must be a string" if given is not None else "is missing"
    elif not 0 < len(given) <= CUSTOM_ID_LENGTH:
        problem = f"has {len(given)} characters; it must have 1 to {CUSTOM_ID_LENGTH}"
    elif _CONTROL.search(given):
        problem = "must not contain control characters"
    else:
        return given
    raise InvalidLine("invalid_request", f"'custom_id' {problem}.", param="custom_id")


def _check_head(custom_id: str, method: object, url: object, route: str) -> None:
    if method is not None and (not isinstance(method, str) or method.upper() != "POST"):
        raise _invalid("'method' must be 'POST'.", "method", custom_id)
    if url is not None and url != route:
        raise InvalidLine(
            "url_mismatch",
            f"'url' must be the batch's endpoint, '{route}'.",
            param="url",
            custom_id=custom_id,
        )


def _invalid(message: str, param: str, custom_id: str) -> InvalidLine:
    return InvalidLine("invalid_request", message, param=param, custom_id=custom_id)


def _one_line(body: bytes) -> bytes:
    """A model's answer, fit for one line of a file: clients split on a CR as well."""
    if body.startswith(b"{") and _LF not in body and _CR not in body:
        return body
    if not body:
        return b"null"
    try:
        return msgspec.json.format(body, indent=-1)
    except NOT_JSON:
        return _write(body.decode(errors="replace"))
