"""A delivery: telling one target that a batch reached its terminal state."""

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from backburner.domain.batch import Batch, BatchKind, StopReason
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
    BUS = "bus"
    WEBHOOK = "webhook"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one target about one batch; at least once, always with the same event id."""

    tenant: str
    batch_id: str
    channel: Channel
    #: Tells targets of one channel apart.
    target_id: str
    #: Mail address, or callback URL; empty for the events topic, the bus, and for endpoints.
    target: str = ""
    #: Stable over all attempts: receivers tell repeats by it.
    event_id: str
    event_type: str
    status: DeliveryStatus = DeliveryStatus.PENDING
    #: Attempts begun.
    attempts: int = 0
    created_at: Instant
    #: When the first of these attempts could be made: its creation, or when it was asked for anew.
    tried_since: Instant
    #: When reap looks whether a message got lost.
    due_at: Instant
    #: No attempt is made before: one runs, or the pause after one that failed.
    not_before: Instant = 0.0
    last_error: str | None = None
    #: Digest that makes it: the batch id of that delivery; None: it is made by itself.
    digest_id: str | None = None
    #: As its batch's.
    ttl: int | None = None

    @property
    def name(self) -> str:
        """Which delivery of its batch it is."""
        return f"{self.channel}/{self.target_id}"


#: Target ids of the only topic that there is, of the only bus, and of the URL that a batch names
#: itself; other webhooks have the ids of their endpoints.
TOPIC, BUS, CALLBACK = "topic", "bus", "callback"

#: Characters of an address's hash: enough for the few addresses of one batch.
_HASH_LENGTH = 16


def address_id(address: str) -> str:
    """Target id of a mail address; keys and logs need not hold the address itself."""
    return hashlib.sha256(address.encode()).hexdigest()[:_HASH_LENGTH]


_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


def is_address(text: str) -> bool:
    """Whether the text is one plain mail address: RFC 5321, without quotes and beyond-ASCII."""
    return len(text) <= 254 and "=?" not in text and bool(_ADDRESS.fullmatch(text))


def event_type(ended: Batch) -> str:
    """What a batch's end is called: the status that its clients see, with what it is."""
    status: str = ended.status
    if ended.kind is BatchKind.RESPONSE and ended.stopping is not StopReason.CANCELLED:
        status = ended.response_status or "failed"  # to OpenAI's clients none expires
    return f"{ended.kind.noun}.{status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How often a channel is tried, and with which pauses."""

    #: Least seconds from each attempt that failed to the next; after the last one it is dead.
    pauses: tuple[float, ...]
    #: Share of a pause that chance adds at most: what failed together need not come back together.
    jitter: float = 0.2

    @property
    def max_attempts(self) -> int:
        return len(self.pauses) + 1


def doubling(first: float, *, longest: float, count: int) -> tuple[float, ...]:
    """Pauses that double up to the longest."""
    return tuple(min(longest, first * 2.0**number) for number in range(count))


_HOUR = 3600.0

#: About nine hours, with chance up to eleven.
_USUAL = DeliveryPolicy(pauses=doubling(30.0, longest=_HOUR, count=15))

#: Of webhooks, sooner and longer: a receiver may just start anew, or be away for a weekend. 60
#: hours, with chance up to 72.
_HOOKS = DeliveryPolicy(
    pauses=(2.0, 15.0, 120.0, 600.0, 1800.0, *(_HOUR * n for n in (1, 2, 4, 8, 12, 14, 18)))
)

POLICIES = {
    **dict.fromkeys((Channel.EMAIL, Channel.EVENTS, Channel.BUS), _USUAL),
    Channel.WEBHOOK: _HOOKS,
}

#: Seconds after which nothing is tried any more, however long targets ask to wait; and the longest
#: that one of them may.
LONGEST_SECONDS, LONGEST_PAUSE_SECONDS = 72 * _HOUR, 24 * _HOUR


def next_pause(
    delivery: Delivery, *, now: Instant, chance: float, asked: float = 0.0
) -> float | None:
    """Seconds to the next attempt; None: the one that failed was the last.

    Args:
        delivery: with the attempt that failed.
        now: the instant.
        chance: from 0 to 1.
        asked: seconds that the target asked to wait.
    """
    policy = POLICIES[delivery.channel]
    left = delivery.tried_since + LONGEST_SECONDS - now
    if delivery.attempts >= policy.max_attempts or left <= 0:
        return None
    own = policy.pauses[max(0, delivery.attempts - 1)] * (1 + policy.jitter * chance)
    return max(own, min(asked, left, LONGEST_PAUSE_SECONDS))
