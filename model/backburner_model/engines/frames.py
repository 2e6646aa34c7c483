"""What a server and its engine process say to each other, over two pipes."""

from __future__ import annotations

from typing import Final

import msgspec

#: Each frame is preceded by its length in bytes, in this many bytes.
LENGTH_BYTES: Final = 4


class Ask(msgspec.Struct, tag="ask", array_like=True):
    """Answer this request."""

    number: int
    route: str
    body: bytes


class Cancel(msgspec.Struct, tag="cancel", array_like=True):
    """Nobody waits for this request's answer any more."""

    number: int


class Reply(msgspec.Struct, array_like=True):
    """The answer to the request of that number."""

    number: int
    status_code: int
    body: bytes


_write = msgspec.msgpack.Encoder().encode
read_order: Final = msgspec.msgpack.Decoder(Ask | Cancel).decode
read_replies: Final = msgspec.msgpack.Decoder(list[Reply]).decode


def frame(message: Ask | Cancel | list[Reply]) -> bytes:
    """The message as it goes over the pipe; an empty list of replies means `ready`."""
    payload = _write(message)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload
