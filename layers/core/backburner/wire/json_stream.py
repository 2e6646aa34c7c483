"""JSON that is too large to be held: one of its lists streams through."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, BinaryIO

from backburner.domain.errors import InvalidRequest, TooLarge

#: Bytes read at a time.
_CHUNK = 256 * 1024

_SPACE = re.compile(r"[ \t\n\r]*")


def _no_constant(name: str) -> None:
    raise ValueError(name)


_decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode


def read_members(
    stream: BinaryIO,
    *,
    list_name: str,
    take: Callable[[bytes | None], None],
    most_bytes: int,
    value_bytes: int,
    advice: str = "",
) -> dict[str, Any]:
    """Read an object whose member of that name is a list; its elements are handed over.

    Args:
        stream: the body.
        list_name: of the member that may be large.
        take: called with each element, as JSON on one line; None stands for one that is too long.
        most_bytes: of the whole.
        value_bytes: most bytes of an element, or of another member.
        advice: what to do instead, if the whole is too large.

    Returns:
        The other members, and the list's name if it was there, with None for its value.

    Raises:
        InvalidRequest: the body is no such object.
        TooLarge: it is over a limit.
    """
    text = _Text(stream, most_bytes, value_bytes, advice)
    if text.peek() != "{":
        text.value()
        raise InvalidRequest("The body must be a JSON object.")
    members: dict[str, Any] = {}
    text.pass_over("{")
    if text.peek() != "}":
        while True:
            name = text.value()[0]
            if not isinstance(name, str):
                raise text.broken()
            text.pass_over(":")
            if name == list_name:
                _read_list(text, list_name, take)
                members[name] = None
            else:
                members[name] = text.value()[0]
            if text.peek() != ",":
                break
            text.pass_over(",")
    text.pass_over("}")
    if text.peek():
        raise text.broken()
    return members


def read_items(stream: BinaryIO, *, value_bytes: int) -> Iterator[bytes | None]:
    """Read a file that is a list, or a single value: each item as JSON on one line.

    Args:
        stream: the file; as large as it likes.
        value_bytes: most bytes of an item; None stands for one that is longer.

    Raises:
        InvalidRequest: it is no valid JSON.
    """
    text = _Text(stream, None, value_bytes, what="The file", encoding="utf-8-sig")
    if text.peek() != "[":
        yield text.value()[1]
    else:
        text.pass_over("[")
        if text.peek() != "]":
            yield text.value()[1]
            while text.peek() == ",":
                text.pass_over(",")
                yield text.value()[1]
        text.pass_over("]")
    if text.peek():
        raise text.broken()


def _read_list(text: "_Text", name: str, take: Callable[[bytes | None], None]) -> None:
    if text.peek() != "[":
        raise InvalidRequest(f"{name}: must be a list.", param=name)
    text.pass_over("[")
    if text.peek() != "]":
        for index in count():
            take(text.value(f"{name}.{index}")[1])
            if text.peek() != ",":
                break
            text.pass_over(",")
    text.pass_over("]")


class _Text:
    """The body's text, as far as it was read and not passed over."""

    def __init__(
        self,
        stream: BinaryIO,
        most_bytes: int | None,
        value_bytes: int,
        advice: str = "",
        *,
        what: str = "The body",
        encoding: str = "utf-8",
    ) -> None:
        self._stream, self._what = stream, what
        self._most_bytes, self._value_bytes, self._advice = most_bytes, value_bytes, advice
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._text = ""
        self._at = 0
        self._size = 0
        self._has_ended = False

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def pass_over(self, character: str) -> None:
        if self.peek() != character:
            raise self.broken()
        self._at += 1

    def value(self, where: str = "") -> tuple[Any, bytes | None]:
        """The next value, and its JSON on one line."""
        where = where or self._what
        self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
            except json.JSONDecodeError:
                self._read_more(where)
                continue
            except (ValueError, RecursionError):
                raise self.broken() from None
            if end < len(self._text) or not self._read_on():  # `12` may be half of `1234`
                line = self._text[self._at : end].encode(errors="surrogatepass")
                self._at = end
                break
        if len(line) > self._value_bytes:
            return value, None
        # Inside of strings, line ends would have been refused.
        return value, line.replace(b"\n", b" ").replace(b"\r", b" ")

    def broken(self) -> InvalidRequest:
        return InvalidRequest(f"{self._what} is not valid JSON.", code="invalid_json")

    def _read_more(self, where: str) -> None:
        """Read on within a value that has begun."""
        if len(self._text) - self._at > self._value_bytes:
            raise InvalidRequest(
                f"{where}: is no valid JSON, or longer than the limit of {self._value_bytes} bytes."
            )
        if not self._read_on():
            raise self.broken()

    def _read_on(self) -> bool:
        """Read a piece more; False: there is none."""
        if self._has_ended:
            return False
        data = self._stream.read(_CHUNK)
        self._size += len(data)
        if self._most_bytes is not None and self._size > self._most_bytes:
            raise TooLarge(
                f"{self._what} is larger than the limit of {self._most_bytes} bytes. {self._advice}"
            )
        self._has_ended = not data
        try:
            self._text = self._text[self._at :] + self._decoder.decode(data, final=not data)
        except UnicodeDecodeError:
            raise InvalidRequest(f"{self._what} is not valid UTF-8.", code="invalid_json") from None
        self._at = 0
        return True
