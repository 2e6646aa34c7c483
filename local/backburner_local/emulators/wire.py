"""The wire formats that boto3 speaks to the emulated services: JSON 1.x, REST JSON, RPC v2 CBOR."""

from __future__ import annotations

import base64
import gzip
import uuid
from datetime import UTC, datetime
from typing import Any

import cbor2
import msgspec
from aiohttp import web

#: A decoded request or response of one operation.
Message = dict[str, Any]

JSON_1_1 = "application/x-amz-json-1.1"


class ApiError(Exception):
    """What the caller of an operation did wrong, or what we could not do for it."""

    def __init__(self, code: str, message: str, *, status: int = 400, query: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        #: The code that clients of the older query protocol know, where it differs.
        self.query_code = query or code


def encode_json(value: Any) -> bytes:
    """Compact JSON; an instant becomes seconds since 1970, as JSON 1.x wants it."""
    return msgspec.json.encode(_with_epochs(value))


def _with_epochs(value: Any) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp(), 3)
    if isinstance(value, dict):
        return {key: _with_epochs(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_with_epochs(item) for item in value]
    return value


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


async def read_body(request: web.Request) -> bytes:
    """The request's body, unpacked when the client compressed it."""
    body = await request.read()
    if body[:2] == b"\x1f\x8b":
        return gzip.decompress(body)
    return body


def decode_json(body: bytes) -> Message:
    try:
        message = msgspec.json.decode(body or b"{}")
    except msgspec.DecodeError as error:
        raise ApiError("SerializationException", f"The body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ApiError("SerializationException", "The body is not a JSON object.")
    return message


def decode_cbor(body: bytes) -> Message:
    try:
        message = cbor2.loads(body) if body else {}
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise ApiError("SerializationException", f"The body is not CBOR: {error}") from error
    if not isinstance(message, dict):
        raise ApiError("SerializationException", "The body is not a CBOR map.")
    return message


def json_response(message: Message | None) -> web.Response:
    body = b"" if message is None else encode_json(message)
    return _response(200, body, JSON_1_1)


def json_error(error: ApiError) -> web.Response:
    body = encode_json({"__type": error.code, "message": error.message})
    return _response(error.status, body, JSON_1_1)


def rest_response(message: Message) -> web.Response:
    """Of a service whose operations are routes; its instants are text already."""
    return _response(200, msgspec.json.encode(message), "application/json")


def rest_error(error: ApiError) -> web.Response:
    response = _response(
        error.status, msgspec.json.encode({"message": error.message}), "application/json"
    )
    response.headers["x-amzn-ErrorType"] = error.code
    return response


def cbor_response(message: Message | None) -> web.Response:
    body = cbor2.dumps(_without_none(message or {}), datetime_as_timestamp=True, timezone=UTC)
    response = _response(200, body, "application/cbor")
    response.headers["smithy-protocol"] = "rpc-v2-cbor"
    return response


def cbor_error(error: ApiError) -> web.Response:
    body = cbor2.dumps({"__type": f"com.amazonaws#{error.code}", "message": error.message})
    response = _response(error.status, body, "application/cbor")
    response.headers["smithy-protocol"] = "rpc-v2-cbor"
    fault = "Sender" if error.status < 500 else "Receiver"
    response.headers["x-amzn-query-error"] = f"{error.query_code};{fault}"
    return response


def _response(status: int, body: bytes, content_type: str) -> web.Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4()), "Content-Type": content_type}
    return web.Response(status=status, body=body, headers=headers)


def instant(value: Any) -> datetime:
    """An instant as either protocol delivers it: a datetime, seconds since 1970, or ISO text."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise ApiError("ValidationException", f"Not an instant: {value!r}.") from error
    raise ApiError("ValidationException", f"Not an instant: {value!r}.")


def iso_milliseconds(epoch: float) -> str:
    """``2024-03-29T03:48:05.077Z``."""
    at = datetime.fromtimestamp(epoch, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def required(message: Message, *names: str) -> list[Any]:
    """The members by name, or a ValidationException that tells the missing one."""
    for name in names:
        if message.get(name) in (None, ""):
            raise ApiError("ValidationException", f"Missing required member: {name}.")
    return [message[name] for name in names]


def page(items: list[Any], token: Any, limit: Any, *, most: int) -> tuple[list[Any], str | None]:
    """One page of a list, and the token of the next."""
    try:
        start = int(base64.b64decode(token)) if token else 0
    except ValueError as error:
        raise ApiError("ValidationException", "Invalid NextToken.") from error
    stop = start + min(int(limit or most), most)
    following = base64.b64encode(str(stop).encode()).decode() if stop < len(items) else None
    return items[start:stop], following
