"""What an error looks like over HTTP: one table, in the shapes of OpenAI and Anthropic."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from backburner.domain.errors import (
    BackburnerError,
    BackendError,
    Busy,
    Conflict,
    InvalidRequest,
    KeyReused,
    NotFound,
    OverQuota,
    RateLimited,
    Rejected,
    StateConflict,
    StorageFull,
    StorageUnavailable,
    TooLarge,
    Unauthenticated,
)
from backburner.domain.quota import Rate
from backburner.web.answer import Answer, rate_headers
from backburner.wire import objects
from backburner.wire.anthropic import message as anthropic

_logger = logging.getLogger("backburner")


class MethodNotAllowed(Rejected):
    """The route has no such method."""

    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class RangeNotSatisfiable(Rejected):
    """The file has no bytes in this range."""

    def __init__(self, *, size: int) -> None:
        super().__init__(f"The file has {size} bytes, and none in this range.", param="Range")
        self.size = size


#: Status, OpenAI's type and Anthropic's type; the first row that fits counts. A conflict that will
#: not heal is 400, as clients send whatever got a 409 again.
_TABLE: tuple[tuple[type[BackburnerError], int, str, str], ...] = (
    (Unauthenticated, 401, "authentication_error", "authentication_error"),
    (NotFound, 404, "invalid_request_error", "not_found_error"),
    (MethodNotAllowed, 405, "invalid_request_error", "invalid_request_error"),
    (TooLarge, 413, "invalid_request_error", "request_too_large"),
    (RangeNotSatisfiable, 416, "invalid_request_error", "invalid_request_error"),
    (KeyReused, 422, "invalid_request_error", "invalid_request_error"),
    (RateLimited, 429, "rate_limit_error", "rate_limit_error"),
    (OverQuota, 429, "insufficient_quota", "rate_limit_error"),
    (InvalidRequest, 400, "invalid_request_error", "invalid_request_error"),
    (StateConflict, 400, "invalid_request_error", "invalid_request_error"),
    (Rejected, 400, "invalid_request_error", "invalid_request_error"),
    (StorageFull, 507, "server_error", "api_error"),
    (Busy, 503, "server_error", "overloaded_error"),
    (Conflict, 503, "server_error", "overloaded_error"),
    (BackendError, 503, "server_error", "overloaded_error"),
)
#: What is in no row.
_BROKE = (500, "server_error", "api_error")

#: Longest wait that every client obeys: beyond it, old ones do not wait and new ones give up.
RETRY_AFTER_SECONDS = 60

#: Where Anthropic's clients are at work.
_ANTHROPIC = "/v1/messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """What a client may know of an error."""

    message: str
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def to_answer(error: Exception, *, path: str = "", request_id: str = "req_unknown") -> Answer:
    """The answer to a request that failed, in the shape that the clients of its path read."""
    status, openai_type, anthropic_type = _row(error)
    failure = _failure(error, status)
    types = (openai_type, anthropic_type)
    return _shaped(status, types, failure, path=path, request_id=request_id)


def failed(status: int, message: str, *, code: str, path: str, request_id: str) -> Answer:
    """The answer to a request whose work failed, or is not done, although nothing raised."""
    openai_type = "server_error" if status >= 500 else "invalid_request_error"
    types = (openai_type, anthropic.error_type(status))
    failure = _Failure(message=message, code=code)
    return _shaped(status, types, failure, path=path, request_id=request_id)


def _shaped(
    status: int, types: tuple[str, str], failure: _Failure, *, path: str, request_id: str
) -> Answer:
    openai_type, anthropic_type = types
    if path == _ANTHROPIC or path.startswith(f"{_ANTHROPIC}/"):
        body = anthropic.error_object(
            anthropic_type, failure.message, code=failure.code, request_id=request_id
        )
    else:
        body = objects.error_object(
            failure.message, openai_type, param=failure.param, code=failure.code
        )
    return Answer(status=status, body=body, headers=failure.headers)


def _row(error: Exception) -> tuple[int, str, str]:
    for kind, status, openai_type, anthropic_type in _TABLE:
        if isinstance(error, kind):
            return status, openai_type, anthropic_type
    return _BROKE


def _failure(error: Exception, status: int) -> _Failure:
    if isinstance(error, Rejected):
        headers = {}
        if isinstance(error, MethodNotAllowed):
            headers["allow"] = error.allowed
        if isinstance(error, RangeNotSatisfiable):
            headers["content-range"] = f"bytes */{error.size}"
        if isinstance(error, OverQuota):
            headers |= _wait(error.retry_after_seconds)
        if isinstance(error, RateLimited):
            reset = error.retry_after_seconds
            headers |= rate_headers(Rate(limit=error.limit, remaining=0, reset_seconds=reset))
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        return _Failure(message=error.message, param=error.param, code=error.code, headers=headers)
    if not isinstance(error, BackburnerError) or status == _BROKE[0]:
        _logger.error("request.broke", exc_info=error)
        return _Failure(message="The server had an error. It was logged; try again later.")
    # What happened inside is for the log.
    _logger.warning("request.refused", exc_info=error)
    wait = error.retry_after_seconds if isinstance(error, Busy) else 1
    message, code = _told(error)
    return _Failure(message=message, code=code, headers=_wait(wait))


def _wait(seconds: int) -> dict[str, str]:
    return {"retry-after": str(max(1, min(RETRY_AFTER_SECONDS, seconds)))}


def _told(error: BackburnerError) -> tuple[str, str | None]:
    """What a client may know of what happened inside, and its code."""
    if isinstance(error, StorageFull):
        return StorageFull.__doc__ or "", "insufficient_storage"
    if isinstance(error, StorageUnavailable):
        return StorageUnavailable.__doc__ or "", "storage_unavailable"
    return "Too much is going on: try again later.", None
