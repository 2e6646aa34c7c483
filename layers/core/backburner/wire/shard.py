"""Shards as they travel to a model's container and back, and outcomes as they are kept.

| object | one line |
|---|---|
| input of a shard | `{"line", "custom_id", "url", "body"}`; the container ignores `custom_id` |
| result of a shard | `{"line", "status_code", "body"}`, as `model/` answers |
| kept outcomes | `{"line", "custom_id", "status_code", "body", "code", …}`, sorted by line |
| a success of a file | the line of OpenAI's output file that it becomes |
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import msgspec

from backburner.domain.request import Outcome, Request, Usage
from backburner.wire import completion, openai


class _Input(msgspec.Struct):
    line: int
    custom_id: str
    url: str
    body: msgspec.Raw


class _Head(msgspec.Struct):
    line: int
    custom_id: str


class _Result(msgspec.Struct):
    line: int
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


#: Tokens of one answer, within reason.
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: _Tokens = 0
    completion_tokens: _Tokens = 0


#: Where a member is missing.
_NOTHING = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    usage: _Usage = _Usage()
    error: msgspec.Raw = _NOTHING


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    #: Of a chat completion; of a completion it is `text`.
    message: _Message | None = None
    text: str | None = None


class _Said(msgspec.Struct):
    choices: list[_Choice] = []


class _OddAnswer(msgspec.Struct):
    """An answer whose usage makes no sense."""

    error: msgspec.Raw = msgspec.Raw(b"null")


class _Kept(msgspec.Struct, omit_defaults=True):
    line: int
    custom_id: str
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"")
    code: str | None = None
    message: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Written(msgspec.Struct):
    """A success, as the line of an output file."""

    id: Annotated[str, msgspec.Meta(pattern="-[0-9]{1,18}$")]
    custom_id: str
    response: _Response


_encode = msgspec.json.Encoder().encode
_input = msgspec.json.Decoder(_Input).decode
_head = msgspec.json.Decoder(_Head).decode
_result = msgspec.json.Decoder(_Result).decode
_kept = msgspec.json.Decoder(_Kept).decode
_written = msgspec.json.Decoder(_Written).decode
_answer = msgspec.json.Decoder(_Answer).decode
_said = msgspec.json.Decoder(_Said).decode
_odd_answer = msgspec.json.Decoder(_OddAnswer).decode

#: Some servers and proxies say what went wrong with status 200.
INVALID = ("invalid_result", "The model's server answered with an error, and called it a success.")
MISSING = ("missing_result", "The model's server returned no result for this request.")


class JsonlShards:
    """The one format in which shards travel: JSON lines."""

    written_dialect = "openai"

    def encode(self, request: Request) -> bytes:
        return _encode(
            _Input(request.line, request.custom_id, request.route, msgspec.Raw(request.body))
        )

    def head(self, line: bytes) -> tuple[int, str]:
        head = _head(line)
        return head.line, head.custom_id

    def names(self, lines: Iterable[bytes]) -> dict[int, str]:
        return {head.line: head.custom_id for head in map(_head, lines)}

    def numbered(self, line: bytes, number: int) -> bytes:
        given = _input(line)
        given.line = number
        return _encode(given)

    def outcomes(self, requests: Mapping[int, str], result: Iterator[bytes]) -> Iterator[Outcome]:
        found: dict[int, Outcome] = {}
        for data in result:
            outcome = _outcome(data, requests)
            if outcome is not None and outcome.line not in found:
                found[outcome.line] = outcome
        code, message = MISSING
        for line, custom_id in requests.items():
            yield found.get(line) or Outcome(
                line=line, custom_id=custom_id, code=code, message=message
            )

    def response_status(self, outcome: Outcome) -> str:
        return completion.response_status(outcome)

    def keep(self, outcomes: Iterable[Outcome], *, batch_id: str | None = None) -> bytes:
        lines = [
            openai.answer(outcome, batch_id)
            if batch_id is not None and outcome.is_success
            else _keep(outcome)
            for outcome in outcomes
        ]
        return b"\n".join([*lines, b""])

    def written(self, data: bytes, batch_id: str) -> list[int]:
        begin = openai.beginning(batch_id)
        first, *lines = (b"\n" + data).split(b"\n" + begin)
        if first or not len(lines) == data.count(b"\n") == data.count(openai.ENDING + b"\n"):
            return []
        try:
            return [int(line[: line.index(b'"')]) for line in lines]
        except ValueError:  # it is corrupt
            return []

    def kept(self, line: bytes) -> Outcome:
        if line.startswith(openai.BEGINNING):
            return _read_written(line)
        kept = _kept(line)
        return Outcome(
            line=kept.line,
            custom_id=kept.custom_id,
            status_code=kept.status_code,
            body=bytes(kept.body) if kept.status_code else b"",
            code=kept.code,
            message=kept.message,
            usage=Usage(input_tokens=kept.input_tokens, output_tokens=kept.output_tokens),
        )

    def text(self, body: bytes) -> str | None:
        try:
            choices = _said(body).choices
        except msgspec.MsgspecError:
            return None
        if len(choices) != 1:
            return None
        message = choices[0].message
        if message is None:
            return choices[0].text
        return message.content if bytes(message.tool_calls) in (b"null", b"[]") else None


def _keep(outcome: Outcome) -> bytes:
    return _encode(
        _Kept(
            outcome.line,
            outcome.custom_id,
            outcome.status_code,
            msgspec.Raw(outcome.body or b"null"),
            outcome.code,
            outcome.message,
            outcome.usage.input_tokens,
            outcome.usage.output_tokens,
        )
    )


def _read_written(line: bytes) -> Outcome:
    written = _written(line)
    body = bytes(written.response.body)
    return Outcome(
        line=int(written.id.rpartition("-")[2]),
        custom_id=written.custom_id,
        status_code=written.response.status_code,
        body=body,
        usage=_usage(_read_answer(body)),
    )


def _outcome(data: bytes, requests: Mapping[int, str]) -> Outcome | None:
    """The outcome in one line of a result; None if it is garbage or of none of the requests."""
    try:
        result = _result(data)
        line, status_code = result.line, result.status_code
        custom_id = requests.get(line)
        if custom_id is None or not 100 <= status_code <= 599:
            return None
        body = bytes(result.body)
        if not body.startswith(b"{"):
            return None
        if not body.isascii():
            body.decode()  # what msgspec hands through raw may still be broken UTF-8
        answer = _read_answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if status_code >= 300:
        return Outcome(line=line, custom_id=custom_id, status_code=status_code, body=body)
    if answer.error is not _NOTHING and bytes(answer.error) != b"null":
        code, message = INVALID
        return Outcome(line=line, custom_id=custom_id, code=code, message=message)
    return Outcome(
        line=line, custom_id=custom_id, status_code=status_code, body=body, usage=_usage(answer)
    )


def _read_answer(body: bytes) -> _Answer:
    """What we look at in an answer; a count that makes no sense does not cost the answer."""
    try:
        return _answer(body)
    except msgspec.ValidationError:
        return _Answer(error=_odd_answer(body).error)


def _usage(answer: _Answer) -> Usage:
    used = answer.usage
    return Usage(input_tokens=used.prompt_tokens, output_tokens=used.completion_tokens)
