"""Webhooks: which endpoints a tenant has, what each wants to be told, and how that is signed.

Signatures are those of Standard Webhooks 1.0.0, as OpenAI's clients check them.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field, replace
from typing import Any

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.request import Instant

#: A batch goes on; told about once a minute, once, and to those alone who ask for it.
PROGRESS = "batch.progress"

#: What an endpoint may ask for. Those of batches and responses are OpenAI's.
EVENT_TYPES = (
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "response.completed",
    "response.failed",
    "response.cancelled",
    "response.incomplete",
    "request.completed",
    "request.failed",
    "request.expired",
    "request.cancelled",
    PROGRESS,
)

#: Most endpoints of a tenant, and characters of an endpoint's name.
MOST_ENDPOINTS, MOST_NAME = 20, 256

#: How long the secret before the last one is good, where that is asked for.
OLD_SECRET_SECONDS = 86400.0

#: Most secrets that sign at once.
MOST_SECRETS = 4

#: Deliveries in a row that were given up, after which an endpoint is told nothing more.
DEAD_IN_A_ROW = 10

#: What secrets begin with; the rest is base64 of the key.
_PREFIX = "whsec_"
_HINT_LENGTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What deliveries are signed with."""

    #: Never shown again, and in no log.
    value: str = field(repr=False)
    #: Until when it signs; None: until it is replaced.
    until: Instant | None = None

    @property
    def hint(self) -> str:
        """Tells secrets apart without giving one away."""
        return f"{_PREFIX}…{self.value[-_HINT_LENGTH:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A URL that a tenant wants to be told at."""

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    created_at: Instant
    #: Of the last change of what the tenant set, or of the secret.
    updated_at: Instant
    #: The newest first; a former one signs too for a while.
    secrets: tuple[Secret, ...]
    #: Address that is told if it is disabled.
    notify_email: str | None = None
    #: Deliveries in a row that were given up.
    dead_in_a_row: int = 0
    #: Since when it is told nothing, and why.
    disabled_at: Instant | None = None
    disabled_reason: str | None = None

    @property
    def is_enabled(self) -> bool:
        return self.disabled_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """All that a tenant has of webhooks; few, and read together."""

    #: Counts the changes.
    version: int = 0
    #: The oldest first.
    endpoints: tuple[Endpoint, ...] = ()
    #: What sign deliveries to the callback URLs of single batches; the newest first.
    callback_secrets: tuple[Secret, ...] = ()

    def find(self, endpoint_id: str) -> Endpoint:
        """Raises NotFound."""
        for one in self.endpoints:
            if one.id == endpoint_id:
                return one
        raise NotFound(f"No such WebhookEndpoint object: {endpoint_id}", param="id")

    def wanting(self, event_type: str) -> list[Endpoint]:
        """The endpoints that asked for such events, disabled ones too."""
        return [one for one in self.endpoints if event_type in one.event_types]

    def having(self, changed: Endpoint) -> "Hooks":
        """With this endpoint in the place of the one of its id."""
        endpoints = tuple(changed if one.id == changed.id else one for one in self.endpoints)
        return replace(self, endpoints=endpoints)


def new_secret(drawn: str) -> Secret:
    """A secret of random text, of 24 to 64 characters as Standard Webhooks has it."""
    return Secret(value=_PREFIX + base64.b64encode(drawn.encode()).decode())


def rotated(
    secrets: tuple[Secret, ...], new: Secret, *, now: Instant, keeps_old: bool
) -> tuple[Secret, ...]:
    """The secrets with a new one; the one that it replaces signs for a day more, or no more.

    Whoever keeps one keeps those before it too, as long as they are good.
    """
    if not keeps_old or not secrets:
        return (new,)
    current, *former = secrets
    good = [one for one in former if one.until is not None and now < one.until]
    return (new, replace(current, until=now + OLD_SECRET_SECONDS), *good)[:MOST_SECRETS]


def headers(
    event_id: str, body: bytes, secrets: tuple[Secret, ...], *, now: Instant
) -> dict[str, str]:
    """The headers of one attempt: its id, its time, and a signature for each secret."""
    timestamp = str(int(now))
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    good = [one for one in secrets if one.until is None or now < one.until]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(one, signed)}" for one in good),
    }


def _signature(secret: Secret, signed: bytes) -> str:
    key = base64.b64decode(secret.value.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def checked_name(given: Any) -> str:
    """Raises InvalidRequest."""
    if not isinstance(given, str) or not 1 <= len(given) <= MOST_NAME or not given.isprintable():
        raise InvalidRequest(
            f"'name' must be a text of 1 to {MOST_NAME} characters on one line.", param="name"
        )
    return given


def checked_event_types(given: Any) -> tuple[str, ...]:
    """Each once, in the order of the list of all; raises InvalidRequest."""
    if not isinstance(given, list) or not given:
        raise InvalidRequest("'event_types' must be a list of event types.", param="event_types")
    for one in given:
        checked_event_type(one, param="event_types")
    return tuple(one for one in EVENT_TYPES if one in given)


def checked_event_type(given: Any, *, param: str) -> str:
    """Raises InvalidRequest."""
    if not isinstance(given, str) or given not in EVENT_TYPES:
        raise InvalidRequest(
            f"'{param}' knows no '{str(given)[:64]}', but {', '.join(EVENT_TYPES)}.", param=param
        )
    return given
