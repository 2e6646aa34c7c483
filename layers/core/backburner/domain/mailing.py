"""Who may be mailed, and how often."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from backburner.domain.request import Instant


class Cause(StrEnum):
    """Why an address gets no mail."""

    #: It asked not to.
    UNSUBSCRIBED = "unsubscribed"
    #: A mail came back for good.
    BOUNCED = "bounced"
    #: Its owner called a mail spam.
    COMPLAINED = "complained"
    #: The mail server knows no such address.
    REFUSED = "refused"


class Digest(StrEnum):
    """What is put into one mail."""

    #: One batch.
    NONE = "none"
    #: All that end within an hour.
    HOURLY = "hourly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """An address gets no mail: of one tenant, or of any."""

    id: str
    address: str
    cause: Cause
    created_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """What a tenant wants of its mails."""

    enabled: bool = True
    #: Told of batches that name nobody; None: nobody is. Single requests tell whom they name.
    address: str | None = None
    digest: Digest = Digest.NONE


def suppression_id(address: str) -> str:
    """The same however the address is written: all servers take upper and lower case for one."""
    return f"addr_{hashlib.sha256(address.lower().encode()).hexdigest()[:32]}"


WHY = {
    Cause.UNSUBSCRIBED: "The address has unsubscribed.",
    Cause.BOUNCED: "An earlier mail to the address came back.",
    Cause.COMPLAINED: "The owner of the address called an earlier mail spam.",
    Cause.REFUSED: "A mail server knew no such address.",
}
