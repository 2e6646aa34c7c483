"""A delivery: telling one target that a batch reached its terminal state."""

import re
from dataclasses import dataclass
from enum import StrEnum

from backburner.domain.request import Instant


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    #: Given up after the last attempt; kept and listed.
    DEAD = "dead"


class Channel(StrEnum):
    """How a target is told."""

    EMAIL = "email"
    EVENTS = "events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message to one target about one batch; at least once, always with the same event id."""

    tenant: str
    batch_id: str
    channel: Channel
    #: Address of the target; empty for the events topic.
    target: str
    #: Stable over all attempts: receivers tell repeats by it.
    event_id: str
    event_type: str
    status: DeliveryStatus = DeliveryStatus.PENDING
    #: Attempts begun.
    attempts: int = 0
    created_at: Instant
    #: When reap looks whether a message got lost.
    due_at: Instant
    #: No attempt is made before: one runs, or the pause after one that failed.
    not_before: Instant = 0.0
    last_error: str | None = None
    #: As its batch's.
    ttl: int | None = None


_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


def is_address(text: str) -> bool:
    """Whether the text is one plain mail address: RFC 5321, without quotes and beyond-ASCII."""
    return len(text) <= 254 and "=?" not in text and bool(_ADDRESS.fullmatch(text))


def pause_seconds(attempts: int) -> float:
    """Seconds to the next attempt: half a minute, doubling up to an hour."""
    return min(3600.0, 30.0 * 2.0 ** max(0, attempts - 1))


#: Attempts after which a delivery is dead: about nine hours.
MAX_DELIVERY_ATTEMPTS = 16
