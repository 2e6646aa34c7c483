"""Records of a job: a shard's requests in, its outcomes out.

Facts: reference page `bedrock.md` §2 and §3. Records come back in any order, and some not at all;
an id is never looked up, as it is the number of the request's line.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from backburner.domain.errors import InvalidRequest
from backburner.wire.bedrock.fields import OddAnswer, unsupported
from backburner.wire.bedrock.formats import Format
from backburner.wire.bodies import CHAT, Body

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"
_ID = re.compile(r"([RP])([0-9A-V]{10})")

#: What is asked where a job needs more requests than there are: of a chat, one token.
_PADDING: dict[bool, Body] = {
    True: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1},
    False: {"input": "Hi"},
}

#: Bytes of an outcome that only says that there was no room for it, at most.
_NOTE_BYTES = 300

#: Status of an output that can't be read: the request may fare better another time.
_BAD_GATEWAY = 502


class _Input(msgspec.Struct):
    """A line of a shard."""

    line: int
    url: str
    body: dict[str, Any]


class _Line(msgspec.Struct):
    """What tells whose a line of a result is."""

    line: int


class _Error(msgspec.Struct):
    errorCode: int | str = 500  # noqa: N815 - Bedrock's name
    errorMessage: str | None = None  # noqa: N815 - Bedrock's name


class _Output(msgspec.Struct):
    """A line of a job's output; the input, which it repeats, is not read."""

    recordId: str = ""  # noqa: N815 - Bedrock's name
    modelOutput: Any = None  # noqa: N815 - Bedrock's name
    error: _Error | None = None


class Manifest(msgspec.Struct, frozen=True):
    """Counts of a whole job: its `manifest.json.out`."""

    totalRecordCount: int = 0  # noqa: N815 - Bedrock's name
    processedRecordCount: int = 0  # noqa: N815 - Bedrock's name
    successRecordCount: int = 0  # noqa: N815 - Bedrock's name
    errorRecordCount: int = 0  # noqa: N815 - Bedrock's name
    inputTokenCount: int = 0  # noqa: N815 - Bedrock's name
    outputTokenCount: int = 0  # noqa: N815 - Bedrock's name


_read_input = msgspec.json.Decoder(_Input).decode
_read_output = msgspec.json.Decoder(_Output).decode
_read_manifest = msgspec.json.Decoder(Manifest).decode
_write = msgspec.json.Encoder().encode


def record_id(line: int, *, kind: str = "R") -> str:
    """The id of a line's record: 11 characters of A-Z and 0-9, as Bedrock once insisted on."""
    digits = ""
    for _ in range(10):
        line, digit = divmod(line, 32)
        digits = _DIGITS[digit] + digits
    return kind + digits


def line_of(record: str) -> int | None:
    """The line that a record is of; None: it is padding, or none of ours."""
    match = _ID.fullmatch(record)
    return int(match[2], 32) if match is not None and match[1] == "R" else None


def is_padding(record: str) -> bool:
    match = _ID.fullmatch(record)
    return match is not None and match[1] == "P"


@dataclass(slots=True)
class Asked:
    """Makes the records of a shard's lines, and keeps the outcomes of those that can't be asked."""

    format: Format
    count: int = 0
    #: Lines of the result, of requests that are in no record.
    refused: list[bytes] = field(default_factory=list)

    def record(self, data: bytes) -> bytes | None:
        """The record of a line of the shard, with its newline; None: it is refused."""
        given = _read_input(data)
        try:
            if given.url != self.format.route:
                raise unsupported(
                    "url", f"must be '{self.format.route}' for this model's batch jobs."
                )
            asked = self.format.ask(given.body)
        except InvalidRequest as error:
            self.refused.append(_result(given.line, 400, _refusal(error)))
            return None
        self.count += 1
        return _record(record_id(given.line), asked)

    def padding(self, least: int) -> Iterator[bytes]:
        """Records of nothing that make the job as long as it must be."""
        asked = self.format.ask(_PADDING[self.format.route == CHAT])
        for number in range(self.count, least):
            yield _record(record_id(number, kind="P"), asked)


@dataclass(slots=True)
class Answers:
    """Reads the output of a job, and counts what it holds."""

    format: Format
    #: Names an answer, by the number of its line: `id`, `model` and the like.
    named: Callable[[int], Body]
    #: Least and greatest number of a line of the shard.
    first_line: int
    last_line: int
    #: Lines that have an outcome; of two of one line, the first stands.
    lines: set[int] = field(default_factory=set)
    errors: int = 0
    padding: int = 0
    #: Records that are nobody's, come twice, or can't be read.
    odd: int = 0
    #: Outcomes whose format does not tell of tokens.
    uncounted: int = 0

    def results(self, output: Iterable[bytes]) -> Iterator[bytes]:
        """Lines of the shard's result, each with its newline."""
        for data in output:
            result = self._result(data)
            if result is not None:
                yield result

    def _result(self, data: bytes) -> bytes | None:
        try:
            record = _read_output(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.odd += bool(data.strip())
            return None
        if is_padding(record.recordId):
            self.padding += 1
            return None
        line = self._new_line(record)
        if line is None:
            self.odd += 1
            return None
        self.lines.add(line)
        if record.error is not None:
            self.errors += 1
            return _result(line, *_failure(record.error))
        return _result(line, *self._answer(line, record.modelOutput))

    def _new_line(self, record: _Output) -> int | None:
        """The line that a record is the outcome of; None: it is of none that lacks one."""
        line = line_of(record.recordId)
        if line is None or line in self.lines or not self.first_line <= line <= self.last_line:
            return None
        return line if record.error is not None or record.modelOutput is not None else None

    def _answer(self, line: int, output: Any) -> tuple[int, Body]:
        try:
            if not isinstance(output, dict):
                raise OddAnswer
            body = self.format.answer(output)
        except OddAnswer:
            self.errors += 1
            said = "The model's answer is not as its format has it."
            return _BAD_GATEWAY, error_body(said, "server_error", code="invalid_model_output")
        self.uncounted += "usage" not in body
        return 200, self.named(line) | body


def within(results: Iterable[bytes], limit: int, *, count: int) -> Iterator[bytes]:
    """Lines of a result that has no more bytes: what does not fit any more is said to be so.

    Args:
        results: its lines.
        limit: most bytes of them all.
        count: most lines.
    """
    left = limit - _NOTE_BYTES * count
    for result in results:
        left -= len(result)
        if left >= 0 or len(result) <= _NOTE_BYTES:
            yield result
        else:
            left += len(result)
            said = f"The results of the job are larger than the limit of {limit} bytes."
            body = error_body(said, "invalid_request_error", code="result_too_large")
            yield _result(msgspec.json.decode(result, type=_Line).line, 413, body)


def read_manifest(data: bytes) -> Manifest | None:
    """The counts of a job; None: they can't be read."""
    try:
        return _read_manifest(data)
    except msgspec.MsgspecError:
        return None


def error_body(
    message: str, kind: str, *, code: str | None = None, param: str | None = None
) -> Body:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _refusal(error: InvalidRequest) -> Body:
    return error_body(error.message, "invalid_request_error", code=error.code, param=error.param)


def _failure(error: _Error) -> tuple[int, Body]:
    """What Bedrock said of one record; its words may quote the request, whose client they go to."""
    try:
        status = int(error.errorCode)
    except ValueError:
        status = 0
    if not 400 <= status <= 599:
        status = 500
    kind = "server_error" if status >= 500 else "invalid_request_error"
    said = error.errorMessage or f"The model answered with the error {error.errorCode}."
    return status, error_body(said, kind, code=str(error.errorCode))


def _record(name: str, asked: Body) -> bytes:
    return _write({"recordId": name, "modelInput": asked}) + b"\n"


def _result(line: int, status_code: int, body: Body) -> bytes:
    return _write({"line": line, "status_code": status_code, "body": body}) + b"\n"
