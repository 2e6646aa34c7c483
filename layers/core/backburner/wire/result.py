"""One request and what became of it, in one line: as Doubleword's Control Layer has it."""

import msgspec


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Result(msgspec.Struct):
    """A line of an output or error file."""

    id: str
    custom_id: str
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Input(msgspec.Struct):
    """A line of an input file, or of a shard's input."""

    body: msgspec.Raw = msgspec.Raw(b"null")


class _Model(msgspec.Struct):
    model: str | None = None


class _Merged(msgspec.Struct):
    id: str
    custom_id: str
    status: str
    status_code: int | None
    model: str | None
    input_body: msgspec.Raw
    response_body: msgspec.Raw
    error: msgspec.Raw


_read_result = msgspec.json.Decoder(_Result).decode
_read_input = msgspec.json.Decoder(_Input).decode
_read_model = msgspec.json.Decoder(_Model).decode
_write = msgspec.json.Encoder().encode

_NULL = msgspec.Raw(b"null")


def merged(line: bytes, request: bytes | None, *, is_success: bool) -> bytes:
    """Merge a line of a result file with that of the input.

    Args:
        line: of the output or error file.
        request: as it was sent in, in an object with a `body`; None: it is gone.
        is_success: whether the line is one of the output file.
    """
    given = _read_result(line)
    body, model = _asked(request)
    return (
        _write(
            _Merged(
                id=given.id,
                custom_id=given.custom_id,
                status="completed" if is_success else "failed",
                status_code=given.response.status_code if given.response else None,
                model=model,
                input_body=body,
                response_body=given.response.body if given.response else _NULL,
                error=given.error,
            )
        )
        + b"\n"
    )


def _asked(request: bytes | None) -> tuple[msgspec.Raw, str | None]:
    """Body and model of a request, as far as it can be read: bad lines may be anything."""
    if request is None:
        return _NULL, None
    try:
        body = _read_input(request).body
        return body, _read_model(body).model
    except (msgspec.MsgspecError, ValueError):
        return _NULL, None
