"""Telling people, programs and dashboards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One message; the id is the same on every attempt to send it."""

    to: str
    subject: str
    text: str
    message_id: str
    #: The same as HTML, for programs that show it; None: the text alone.
    html: str | None = None
    #: URL at which the receiver ends such mails; None: there is none.
    unsubscribe_url: str | None = None


class Mailer(Protocol):
    """Sends mail."""

    def send(self, mail: Mail) -> None:
        """Hand over one message; raises an exception if it was not taken.

        Raises:
            AddressRefused: nobody is there, and never will be.
            InvalidRequest: this mail will never be taken; trying again is no use.
        """


class Events(Protocol):
    """Publishes events to whoever subscribed."""

    def publish(self, event: Mapping[str, Any], attributes: Mapping[str, str]) -> None:
        """Publish one event, with attributes that subscribers can filter by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAnswer:
    """What the receiver of a webhook answered."""

    status: int
    #: How long it asked to wait; 0: it did not.
    retry_after_seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class Webhooks(Protocol):
    """Posts to URLs that tenants named: see domain/targets.py for where that may lead."""

    @property
    def may_be_local(self) -> bool:
        """Whether URLs of this machine, and without TLS, are taken."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> HookAnswer:
        """Post once, within half a minute; follows no redirect.

        Raises:
            InvalidRequest: the URL is one that no webhook may go to.
            Undelivered: nobody answered; or the host may not be connected to.
        """


class Metrics(Protocol):
    """Publishes metrics."""

    def publish(self, values: Mapping[str, float], dimensions: Mapping[str, str]) -> None:
        """Publish values under one set of dimensions, as of now."""
