"""What SES tells of mails, by SNS: which addresses are to get no more.

Shapes: Amazon SES developer guide, "Contents of event data that Amazon SES publishes to Amazon
SNS" (`eventType`) and "Amazon SNS notification contents for Amazon SES" (`notificationType`).
"""

from collections.abc import Iterator, Mapping
from email.utils import parseaddr
from typing import Any

import msgspec

from backburner.domain.delivery import is_address
from backburner.domain.mailing import Cause

#: A bounce that is for ever; `Transient` ones, such as full mailboxes, pass, and of
#: `Undetermined` ones nobody knows.
_PERMANENT = "Permanent"

#: Says of a complaint that it is the opposite: the owner took the mail out of the spam.
_NOT_SPAM = "not-spam"


def unwanted(event: Mapping[str, Any]) -> Iterator[tuple[str, Cause]]:
    """Addresses in an SNS event that a mail came back from for good, or whose owner complained.

    Whatever else comes by the topic is left out.
    """
    for record in event["Records"]:
        try:
            told = msgspec.json.decode(record["Sns"]["Message"])
        except msgspec.DecodeError:  # SES's greeting to a new topic, or somebody else's
            continue
        if isinstance(told, dict):
            yield from _of(told)


def _of(told: Mapping[str, Any]) -> Iterator[tuple[str, Cause]]:
    kind = told.get("eventType") or told.get("notificationType")
    if kind == "Bounce":
        bounce = _object(told, "bounce")
        if bounce.get("bounceType") == _PERMANENT:
            yield from ((one, Cause.BOUNCED) for one in _addresses(bounce, "bouncedRecipients"))
    elif kind == "Complaint":
        complaint = _object(told, "complaint")
        if complaint.get("complaintFeedbackType") != _NOT_SPAM:
            found = _addresses(complaint, "complainedRecipients")
            yield from ((one, Cause.COMPLAINED) for one in found)


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _addresses(about: Mapping[str, Any], name: str) -> Iterator[str]:
    """Plain addresses; mail servers may tell them with a name: `Ada <ada@example.com>`."""
    recipients = about.get(name)
    for one in recipients if isinstance(recipients, list) else ():
        given = one.get("emailAddress") if isinstance(one, dict) else None
        address = parseaddr(given)[1] if isinstance(given, str) else ""
        if is_address(address):
            yield address
