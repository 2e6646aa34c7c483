"""What an error looks like over HTTP: the one table."""

import logging
from collections.abc import Mapping

from backburner.domain.errors import (
    BackburnerError,
    BackendError,
    Busy,
    Conflict,
    InvalidRequest,
    NotFound,
    Rejected,
    StateConflict,
    StorageFull,
    StorageUnavailable,
    TooLarge,
    Unauthenticated,
)
from backburner.web.answer import Answer
from backburner.wire import objects

_logger = logging.getLogger("backburner")

#: Status and OpenAI's error type; the first row that fits counts. A conflict that will not heal is
#: 400, as clients send whatever got a 409 again.
_TABLE: tuple[tuple[type[BackburnerError], int, str], ...] = (
    (Unauthenticated, 401, "authentication_error"),
    (NotFound, 404, "invalid_request_error"),
    (TooLarge, 413, "invalid_request_error"),
    (InvalidRequest, 400, "invalid_request_error"),
    (StateConflict, 400, "invalid_request_error"),
    (Rejected, 400, "invalid_request_error"),
    (StorageFull, 507, "server_error"),
    (Busy, 503, "server_error"),
    (Conflict, 503, "server_error"),
    (BackendError, 503, "server_error"),
)

#: Longest wait that every client obeys: beyond it, old ones do not wait and new ones give up.
RETRY_AFTER_SECONDS = 60


def to_answer(error: Exception) -> Answer:
    """The answer to a request that failed."""
    for kind, status, name in _TABLE:
        if isinstance(error, kind):
            return _known(error, status, name)
    _logger.error("request.broke", exc_info=error)
    return failed(500, "server_error", "The server had an error. It was logged; try again later.")


def _known(error: BackburnerError, status: int, name: str) -> Answer:
    headers = {}
    message, param, code = error.message, None, None
    if isinstance(error, Rejected):
        param, code = error.param, error.code
    else:  # what happened inside is for the log
        _logger.warning("request.refused", exc_info=error)
        wait = error.retry_after_seconds if isinstance(error, Busy) else 1
        headers["retry-after"] = str(max(1, min(RETRY_AFTER_SECONDS, wait)))
        message, code = _told(error)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return failed(status, name, message, param=param, code=code, headers=headers)


def _told(error: BackburnerError) -> tuple[str, str | None]:
    """What a client may know of what happened inside, and its code."""
    if isinstance(error, StorageFull):
        return StorageFull.__doc__ or "", "insufficient_storage"
    if isinstance(error, StorageUnavailable):
        return StorageUnavailable.__doc__ or "", "storage_unavailable"
    return "Too much is going on: try again later.", None


def failed(
    status: int,
    kind: str,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    return Answer(
        status=status,
        body=objects.error_object(message, kind, param=param, code=code),
        headers=headers or {},
    )
