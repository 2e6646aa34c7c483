"""Shards as they travel to a model's container and back, and outcomes as they are kept.

| object | one line |
|---|---|
| input of a shard | `{"line", "custom_id", "url", "body"}`; the container ignores `custom_id` |
| result of a shard | `{"line", "status_code", "body"}`, as `model/` answers |
| kept outcomes | `{"line", "custom_id", "status_code", "body", "code", …}`, sorted by line |
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from backburner.domain.request import Outcome, Request, Usage
from backburner.wire import completion


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


class _Answer(msgspec.Struct):
    usage: _Usage = _Usage()
    error: msgspec.Raw = msgspec.Raw(b"null")


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


_encode = msgspec.json.Encoder().encode
_input = msgspec.json.Decoder(_Input).decode
_head = msgspec.json.Decoder(_Head).decode
_result = msgspec.json.Decoder(_Result).decode
_kept = msgspec.json.Decoder(_Kept).decode
_answer = msgspec.json.Decoder(_Answer).decode
_said = msgspec.json.Decoder(_Said).decode
_odd_answer = msgspec.json.Decoder(_OddAnswer).decode

_UNKNOWN = Usage()

#: Some servers and proxies say what went wrong with status 200.
INVALID = ("invalid_result", "The model's server answered with an error, and called it a success.")
MISSING = ("missing_result", "The model's server returned no result for this request.")


class JsonlShards:
    """The one format in which shards travel: JSON lines."""

    def encode(self, request: Request) -> bytes:
        return _encode(
            _Input(request.line, request.custom_id, request.route, msgspec.Raw(request.body))
        )

    def head(self, line: bytes) -> tuple[int, str]:
        head = _head(line)
        return head.line, head.custom_id

    def numbered(self, line: bytes, number: int) -> bytes:
        given = _input(line)
        given.line = number
        return _encode(given)

    def outcomes(self, requests: Mapping[int, str], result: Iterator[bytes]) -> Iterator[Outcome]:
        found: dict[int, Outcome] = {}
        for data in result:
            outcome = _outcome(data, requests)
            if outcome is not None:
                found.setdefault(outcome.line, outcome)
        code, message = MISSING
        for line, custom_id in requests.items():
            yield found.get(line) or Outcome(
                line=line, custom_id=custom_id, code=code, message=message
            )

    def response_status(self, outcome: Outcome) -> str:
        return completion.response_status(outcome)

    def keep(self, outcome: Outcome) -> bytes:
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

    def kept(self, line: bytes) -> Outcome:
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


def _outcome(data: bytes, requests: Mapping[int, str]) -> Outcome | None:
    """The outcome in one line of a result; None if it is garbage or of none of the requests."""
    try:
        result = _result(data)
        custom_id = requests.get(result.line)
        if custom_id is None or not 100 <= result.status_code <= 599:
            return None
        body = bytes(result.body)
        if not body.startswith(b"{"):
            return None
        if not body.isascii():
            body.decode()  # what msgspec hands through raw may still be broken UTF-8
        error, usage = _read_answer(body)
        is_success = result.status_code < 300
        if is_success and bytes(error) != b"null":
            code, message = INVALID
            return Outcome(line=result.line, custom_id=custom_id, code=code, message=message)
        return Outcome(
            line=result.line,
            custom_id=custom_id,
            status_code=result.status_code,
            body=body,
            usage=usage if is_success else _UNKNOWN,
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _read_answer(body: bytes) -> tuple[msgspec.Raw, Usage]:
    """An answer's error, and its tokens; a count that makes no sense does not cost the answer."""
    try:
        answer = _answer(body)
    except msgspec.ValidationError:
        return _odd_answer(body).error, _UNKNOWN
    used = answer.usage
    return answer.error, Usage(
        input_tokens=used.prompt_tokens, output_tokens=used.completion_tokens
    )
