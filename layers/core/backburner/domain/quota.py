"""What one tenant may use at once, so that it can't keep the others out."""

from dataclasses import dataclass, fields

from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Instant

MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A tenant's limits; 0: none."""

    requests_per_minute: int = 0
    #: Requests that wait for a slot of one model.
    waiting_lines: int = 0
    #: Bytes of its files, uploaded and written by batches.
    stored_bytes: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise InvalidRequest(f"'{field.name}' must not be negative.", param=field.name)


#: Generous: these keep a runaway client from filling the disk, or the queue for days. Requests a
#: minute are not limited, as counting them costs calls; on AWS the API's throttle protects it.
DEFAULT_QUOTA = Quota(waiting_lines=5_000_000, stored_bytes=1 << 40)

#: No limits.
UNLIMITED = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How a tenant's minute stands, as far as is known here."""

    limit: int
    remaining: int
    #: Seconds until the next minute begins.
    reset_seconds: int


def minute_of(now: Instant) -> tuple[int, int]:
    """The number of the minute, and the seconds until the next: 1 to 60."""
    minute = int(now // MINUTE)
    return minute, max(1, int((minute + 1) * MINUTE - now + 0.999))
