"""The records of Bedrock's batch inference as lines of a batch: requests in, results out.

Record: Bedrock user guide, "Format and upload your batch inference data". `modelInput` is a body of
Converse, of Anthropic's Messages API (`anthropic_version`), or of a chat completion. `modelOutput`
is what the model here answered, a chat completion; `modelInput` is not repeated. `modelId` and
`x_line` are ours: Bedrock's jobs name the model, and a result must tell whose it is.
"""

from typing import Any

import msgspec

from backburner.domain.errors import InvalidLine, InvalidRequest
from backburner.domain.request import Outcome, Request
from backburner.wire import bodies
from backburner.wire.anthropic import params, turns
from backburner.wire.bedrock import from_converse
from backburner.wire.bodies import Body
from backburner.wire.jsonlines import NESTING, read_object

#: Most characters of a record's id; as of a custom_id.
ID_LENGTH = 512

#: HTTP status of what never ran, by our code; what is not among them is wrong with the record.
_STATUSES = {
    "attempt_lost": 500,
    "backend_failed": 500,
    "batch_cancelled": 499,
    "batch_expired": 408,
    "budget_exceeded": 402,
    "canary_failed": 424,
    "invalid_result": 500,
    "missing_result": 500,
    "model_not_found": 404,
    "result_lost": 500,
}


class _Rendered(msgspec.Struct):
    recordId: str  # noqa: N815 - Bedrock's word
    x_line: int


class _Said(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    message: str = ""


_read_rendered = msgspec.json.Decoder(_Rendered).decode
_read_json = msgspec.json.Decoder().decode
_read_said = msgspec.json.Decoder(_Said).decode
_read_error = msgspec.json.Decoder(_Error).decode
_write = msgspec.json.Encoder().encode


class BedrockDialect:
    """Bedrock's format of a batch's records and results."""

    member = "modelInput"
    has_error_file = True

    def __init__(self, *, nesting: int = NESTING) -> None:
        self._nesting = nesting

    def parse(self, line: int, data: bytes, *, route: str) -> Request:  # noqa: ARG002
        """Read one record, and translate it into a chat completion.

        Args:
            line: its number, from 1.
            data: `{"recordId", "modelId", "modelInput"}`, without the newline.
            route: that the batch is for; it is always that of chat completions.

        Raises:
            InvalidLine: with `custom_id` set, where that is valid.
        """
        record = read_object(data)
        custom_id = _record_id(record)
        given = record.get("modelInput")
        if not isinstance(given, dict):
            raise _invalid("'modelInput' must be an object.", "modelInput", custom_id)
        brackets = data.count(b"{") + data.count(b"[")
        if brackets > self._nesting and bodies.nesting(given) >= self._nesting:
            raise _invalid(
                f"'modelInput' is nested deeper than {self._nesting} levels.",
                "modelInput",
                custom_id,
            )
        try:
            chat = chat_body(given) | {"model": record.get("modelId")}
            asked = bodies.measure(bodies.CHAT, chat)
        except InvalidRequest as error:
            param = f"modelInput.{error.param}"
            raise _invalid(f"modelInput: {error.message}", param, custom_id) from None
        return Request(
            line=line,
            custom_id=custom_id,
            model=chat["model"],
            route=bodies.CHAT,
            body=_write(chat),
            prompt_bytes=asked.prompt_bytes,
            message_count=asked.message_count,
            max_tokens=asked.max_tokens,
            has_images="anthropic_version" in given and turns.have_images(chat["messages"]),
        )

    def prompt(self, request: Request) -> str:
        """The text that the model will read."""
        return bodies.text(request.route, _read_json(request.body))

    def render(self, outcome: Outcome, *, batch_id: str) -> bytes:  # noqa: ARG002
        """One record of the results; the same outcome gives the same bytes."""
        named = _write(outcome.custom_id)
        if outcome.is_success:
            body = msgspec.json.format(outcome.body, indent=-1)
            return b'{"recordId":%b,"modelOutput":%b,"x_line":%d}' % (named, body, outcome.line)
        status = outcome.status_code or _STATUSES.get(outcome.code or "", 400)
        said = outcome.message or _message(outcome.body) or "The request failed."
        error = _write({"errorCode": status, "errorMessage": said})
        return b'{"recordId":%b,"error":%b,"x_line":%d}' % (named, error, outcome.line)

    def head(self, line: bytes) -> tuple[int, str]:
        """Line number and record id of a line that `render` wrote."""
        rendered = _read_rendered(line)
        return rendered.x_line, rendered.recordId


def chat_body(given: Body) -> Body:
    """The chat completion that a `modelInput` asks for; raises InvalidRequest."""
    if "anthropic_version" in given:
        rest = {name: value for name, value in given.items() if name != "anthropic_version"}
        chat = params.chat_body(rest | {"model": "any"})
        del chat["model"]
        return chat
    return from_converse.chat_body(given) if from_converse.is_converse(given) else dict(given)


def _record_id(record: dict[str, Any]) -> str:
    given = record.get("recordId")
    if not isinstance(given, str) or not 0 < len(given) <= ID_LENGTH or not given.isprintable():
        raise InvalidLine(
            "invalid_request",
            f"'recordId' must be 1 to {ID_LENGTH} characters, none of them a control character.",
            param="recordId",
        )
    return given


def _message(answer: bytes) -> str:
    """The server's own words about an error; empty if there are none."""
    try:
        return _read_error(bytes(_read_said(answer).error)).message
    except msgspec.MsgspecError:
        return ""


def _invalid(message: str, param: str, custom_id: str) -> InvalidLine:
    return InvalidLine("invalid_request", message, param=param, custom_id=custom_id)
