"""Uploads as browsers and SDKs send them: multipart/form-data, streamed through."""

import hashlib
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from backburner.domain.errors import InvalidRequest, TooLarge

#: Bytes read at a time.
_CHUNK = 256 * 1024
#: Bytes of one field that is not the file, and how many such fields there may be.
_FIELD_BYTES, _FIELDS = 8192, 32
_NAME_LENGTH = 255


class Sink(Protocol):
    """Where a file goes."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(slots=True)
class Form:
    """What an upload brought."""

    fields: dict[str, str] = field(default_factory=dict)
    #: What the client calls the file; None: no file came.
    filename: str | None = None
    #: Bytes of the file.
    size: int = 0
    #: Lines of the file, the last one counted whether it ends or not.
    line_count: int = 0
    #: Hash of the file, in hexadecimal digits.
    sha256: str = ""


def read_form(
    stream: BinaryIO, content_type: str, file: Sink | None, *, limit: int, name: str = "file"
) -> Form:
    """Read a form whose parts may come in any order.

    Args:
        stream: the body.
        content_type: the request's header, which names the boundary.
        file: where the file goes; None: nowhere.
        limit: most bytes of it.
        name: of the part that is the file.

    Raises:
        InvalidRequest: not such a form.
        TooLarge: the file is over the limit.
    """
    kind, options = parse_options_header(content_type.encode(errors="replace"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest("The body must be multipart/form-data with a boundary.")
    reader = _Reader(file, limit, name)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_header_field": reader.add_header_name,
                "on_header_value": reader.add_header_value,
                "on_header_end": reader.end_header,
                "on_headers_finished": reader.open,
                "on_part_data": reader.add_data,
                "on_part_end": reader.close,
                "on_end": reader.end,
            },
        )
        while chunk := stream.read(_CHUNK):
            parser.write(chunk)
    except FormParserError as error:
        raise InvalidRequest(f"The body is not valid multipart/form-data: {error}") from None
    if not reader.has_ended:
        raise InvalidRequest("The body ends before the form does.")
    return reader.finish()


class _Reader:
    """Takes the parser's calls: the file streams through, fields are kept."""

    def __init__(self, file: Sink | None, limit: int, file_name: str) -> None:
        self.form = Form()
        self.has_ended = False
        self._file = file
        self._limit = limit
        self._file_name = file_name
        self._hash = hashlib.sha256()
        #: Last piece of the file.
        self._tail = b""
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        #: Name of the field that is read; None: it is the file.
        self._name: str | None = None
        self._value = bytearray()

    def begin(self) -> None:
        self._disposition = b""
        self._header_name = self._header_value = b""

    def add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def open(self) -> None:
        """A part's headers are in: is it the file, or a field?"""
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if not name:
            raise InvalidRequest("A part of the form has no name.")
        if name == self._file_name:
            if self.form.filename is not None:
                raise InvalidRequest(f"The form has more than one '{name}'.", param=name)
            self._name = None
            self.form.filename = clean_filename(options.get(b"filename", b""))
            return
        if len(self.form.fields) >= _FIELDS:
            raise InvalidRequest(f"The form has more than {_FIELDS} fields.")
        self._name = name
        self._value.clear()

    def add_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._add_to_file(data[start:end])
            return
        if len(self._value) + end - start > _FIELD_BYTES:
            raise InvalidRequest(
                f"The field '{self._name[:64]}' is longer than {_FIELD_BYTES} bytes.",
                param=self._name[:64],
            )
        self._value += data[start:end]

    def _add_to_file(self, data: bytes) -> None:
        self.form.size += len(data)
        if self.form.size > self._limit:
            raise TooLarge(
                f"'{self._file_name}' is larger than the limit of {self._limit} bytes.",
                param=self._file_name,
            )
        self.form.line_count += data.count(b"\n")
        self._hash.update(data)
        self._tail = data or self._tail
        if self._file is not None:
            self._file.write(data)

    def close(self) -> None:
        if self._name is not None:
            self.form.fields[self._name] = self._value.decode(errors="replace")

    def end(self) -> None:
        self.has_ended = True

    def finish(self) -> Form:
        """The form, once all of it was read."""
        self.form.line_count += bool(self._tail) and not self._tail.endswith(b"\n")
        self.form.sha256 = self._hash.hexdigest()
        return self.form


def clean_filename(given: bytes) -> str:
    """A name without folders and control characters; `upload` if nothing is left."""
    name = given.decode(errors="replace").replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:_NAME_LENGTH] or "upload"
