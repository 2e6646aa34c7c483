"""What can go wrong, by who can act on it.

BackburnerError
├── Rejected            the caller must change the request
│   ├── InvalidRequest      a field is wrong; `param` names it
│   │   └── AddressRefused      mails never reach the address
│   ├── Unauthenticated     no key, or a key nobody knows
│   ├── NotFound            no such thing for this tenant
│   ├── StateConflict       the thing is in a state that forbids this, and will stay so
│   ├── KeyReused           the Idempotency-Key was given to another request
│   ├── TooLarge            over a limit that the message names
│   └── OverQuota           the tenant has all that it may have; later there may be room
│       └── RateLimited         as many requests as it may make in a minute
├── Busy                try again later; `retry_after_seconds` says when
│   └── StorageUnavailable  nothing can be written now
│       └── StorageFull         as no room is left
├── Conflict            a condition of a transaction did not hold: someone else was first
├── Lost                something that we had written is gone, or can't be read
├── Undelivered         a target could not be told now; it may have said when to try again
├── Gone                a target will never be there again
└── BackendError        a backend refused or broke
    ├── BackendThrottled    the backend asks for less; nothing was started
    │   ├── BackendFull         no slot of the account is left for one more job
    │   └── BackendUnready      nothing is started before its operator saw to it
    └── BackendRefused      the backend will never take this shard
"""


class BackburnerError(Exception):
    """Something went wrong in Backburner."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__class__.__doc__)

    @property
    def message(self) -> str:
        return str(self.args[0])


class Rejected(BackburnerError):
    """The request can't be accepted as it is."""

    code: str | None = None

    def __init__(
        self, message: str | None = None, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(Rejected):
    """A field of the request is wrong."""


class AddressRefused(InvalidRequest):
    """No mail will ever reach the address."""


class Unauthenticated(Rejected):
    """No valid API key was given: send `Authorization: Bearer <key>`, `x-api-key` or `api-key`."""

    code = "invalid_api_key"


class NotFound(Rejected):
    """There is no such thing here."""


class StateConflict(Rejected):
    """The thing is in a state that forbids this."""


class KeyReused(Rejected):
    """The 'Idempotency-Key' was given to another request: each request needs its own."""

    code = "idempotency_key_reused"


class TooLarge(Rejected):
    """The request is larger than the limit."""


class OverQuota(Rejected):
    """The tenant has all that it may have."""

    code = "insufficient_quota"

    def __init__(
        self,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after_seconds: int = 60,
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after_seconds = retry_after_seconds


class RateLimited(OverQuota):
    """The tenant made as many requests as it may make in a minute."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str | None = None, *, limit: int, retry_after_seconds: int) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.limit = limit


class Busy(BackburnerError):
    """Too much is going on: try again later."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: int = 5) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class StorageUnavailable(Busy):
    """Nothing can be stored now: try again later."""


class StorageFull(StorageUnavailable):
    """Nothing can be stored now, as the disk is full: try again later."""


class Conflict(BackburnerError):
    """A condition of the transaction did not hold; nothing of it was written."""


class Lost(BackburnerError):
    """Something that we had written is gone, or can't be read."""


class Undelivered(BackburnerError):
    """The target could not be told now."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Gone(BackburnerError):
    """The target says that it will never be there again."""


class BackendError(BackburnerError):
    """A backend failed."""


class BackendThrottled(BackendError):
    """The backend asks for less; the shard was not started."""


class BackendFull(BackendThrottled):
    """The account has no slot left for one more job of the model."""


class BackendUnready(BackendThrottled):
    """The backend is not set up for the shard: its operator has to see to that."""


class BackendRefused(BackendError):
    """The backend will never take this shard."""


class InvalidLine(Exception):
    """One line of an input file can't be run.

    Attributes:
        code: OpenAI's batch error code, such as `invalid_json_line`.
        param: the field that is wrong, where one can be named.
        custom_id: the client's name for the request, where it could still be read.
    """

    def __init__(
        self, code: str, message: str, *, param: str | None = None, custom_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.custom_id = custom_id
