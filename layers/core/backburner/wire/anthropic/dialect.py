"""The lines of Message Batches: requests in, results out."""

import re

import msgspec

from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.domain.request import Outcome, Request
from backburner.wire import bodies
from backburner.wire.anthropic import message, params
from backburner.wire.bodies import Body
from backburner.wire.jsonlines import NESTING, NOT_JSON, read_object

#: What a custom_id looks like; Anthropic's servers insist on it, its documentation is silent
#: (github.com/anthropics/anthropic-sdk-python/issues/984).
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")

#: Results of requests that never ran, by our code.
_NEVER_RAN = {"batch_cancelled": b'{"type":"canceled"}', "batch_expired": b'{"type":"expired"}'}

#: Types of errors by our code; what is not among them is wrong with the request.
_TYPES = {
    "attempt_lost": "api_error",
    "backend_failed": "api_error",
    "budget_exceeded": "billing_error",
    "canary_failed": "api_error",
    "invalid_result": "api_error",
    "missing_result": "api_error",
    "model_not_found": "not_found_error",
    "result_lost": "api_error",
}


class _Line(msgspec.Struct):
    """The members of a line; others are ignored."""

    custom_id: str
    params: Body


class _Rendered(msgspec.Struct):
    """What tells whose a line of the results is."""

    custom_id: str
    x_line: int


_read_rendered = msgspec.json.Decoder(_Rendered).decode
_read_line = msgspec.json.Decoder(_Line).decode
_read_json = msgspec.json.Decoder().decode
_write = msgspec.json.Encoder().encode


class AnthropicDialect:
    """Anthropic's format of a batch's requests and results (API reference, "Message Batches")."""

    member = "params"
    has_error_file = False

    def __init__(self, *, nesting: int = NESTING) -> None:
        self._nesting = nesting

    def parse(self, line: int, data: bytes, *, route: str) -> Request:  # noqa: ARG002
        """Read one request, and translate it into a chat completion.

        Args:
            line: its number, from 1.
            data: `{"custom_id", "params"}`, without the newline.
            route: that the batch is for; it is always that of chat completions.

        Raises:
            InvalidLine: with `custom_id` set, where that is valid.
        """
        try:
            head = _read_line(data)
            if not data.isascii():
                data.decode()  # the members that are ignored must be text as well
        except NOT_JSON:
            head = _explained(data)
        if not _CUSTOM_ID.fullmatch(head.custom_id):
            raise InvalidLine(
                "invalid_request",
                "custom_id: must have 1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'.",
                param="custom_id",
            )
        if (
            data.count(b"{") + data.count(b"[") > self._nesting
            and bodies.nesting(head.params) >= self._nesting
        ):
            raise _invalid(f"params: is nested deeper than {self._nesting} levels.", "params", head)
        try:
            return params.parse(head.params, line=line, custom_id=head.custom_id)
        except InvalidRequest as error:
            raise _invalid(f"params.{error.message}", f"params.{error.param}", head) from None

    def prompt(self, request: Request) -> str:
        """The text that the model will read."""
        return bodies.text(request.route, _read_json(request.body))

    def render(self, outcome: Outcome, *, batch_id: str) -> bytes:
        """One line of the results; the same outcome gives the same bytes."""
        result = _NEVER_RAN.get(outcome.code or "") or _write(_result(outcome, batch_id))
        named = _write(outcome.custom_id)
        return b'{"custom_id":%b,"result":%b,"x_line":%d}' % (named, result, outcome.line)

    def head(self, line: bytes) -> tuple[int, str]:
        """Line number and custom_id of a line that `render` wrote."""
        rendered = _read_rendered(line)
        return rendered.x_line, rendered.custom_id


def _result(outcome: Outcome, batch_id: str) -> Body:
    if outcome.is_success:
        return {"type": "succeeded", "message": _message(outcome, batch_id)}
    if outcome.status_code:
        error = message.server_error(outcome.status_code, outcome.body)
    else:
        kind = _TYPES.get(outcome.code or "", "invalid_request_error")
        said = outcome.message or "The request failed."
        error = message.error_object(kind, said, code=outcome.code)
    return {"type": "errored", "error": error}


def _message(outcome: Outcome, batch_id: str) -> Body:
    named = f"msg_{batch_id.partition('_')[2]}-{outcome.line}"
    shown = message.message_object(outcome.body, message_id=named, service_tier="batch")
    # The engine has counted it as a success.
    return shown or message.silent_object(outcome.body, message_id=named, service_tier="batch")


def _explained(data: bytes) -> _Line:
    """Say what is wrong with a line that could not be read as a request."""
    line = read_object(data)
    custom_id, given = line.get("custom_id"), line.get("params")
    if not isinstance(custom_id, str):
        problem = "is missing" if custom_id is None else "must be a string"
        raise InvalidLine("invalid_request", f"custom_id: {problem}.", param="custom_id")
    if not isinstance(given, dict):
        named = custom_id if _CUSTOM_ID.fullmatch(custom_id) else None
        raise InvalidLine(
            "invalid_request", "params: must be an object.", param="params", custom_id=named
        )
    return _Line(custom_id=custom_id, params=given)


def _invalid(problem: str, param: str, head: _Line) -> InvalidLine:
    return InvalidLine("invalid_request", problem, param=param, custom_id=head.custom_id)
