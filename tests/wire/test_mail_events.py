"""What SES tells: only what is for ever, or a complaint, stops mails to an address."""

import json
from typing import Any

import pytest

from backburner.domain.mailing import Cause
from backburner.wire.mail_events import unwanted
from tests.world import load_event

ADA = "ada@example.com"


def told(message: Any) -> list[tuple[str, Cause]]:
    text = message if isinstance(message, str) else json.dumps(message)
    return list(unwanted({"Records": [{"Sns": {"Message": text}}]}))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("bounce", [(ADA, Cause.BOUNCED)]),
        ("bounce_transient", []),
        ("complaint", [(ADA, Cause.COMPLAINED)]),
        ("complaint_not_spam", []),
        ("delivery", []),
        ("greeting", []),
    ],
)
def test_the_samples_say_whose_mails_stop(sample, expected):
    assert list(unwanted(load_event(f"sns_mailevents_{sample}"))) == expected


def bounce(kind: str, sub: str = "General", *addresses: Any) -> dict[str, Any]:
    recipients = [{"emailAddress": one} for one in addresses or (ADA,)]
    about = {"bounceType": kind, "bounceSubType": sub, "bouncedRecipients": recipients}
    return {"eventType": "Bounce", "bounce": about}


@pytest.mark.parametrize(
    ("kind", "sub", "stops"),
    [
        ("Permanent", "General", True),
        ("Permanent", "NoEmail", True),
        ("Permanent", "Suppressed", True),
        ("Permanent", "OnAccountSuppressionList", True),
        ("Transient", "General", False),
        ("Transient", "MailboxFull", False),
        ("Transient", "MessageTooLarge", False),
        ("Transient", "ContentRejected", False),
        ("Undetermined", "Undetermined", False),
    ],
)
def test_a_bounce_stops_mails_if_it_is_for_ever(kind, sub, stops):
    assert bool(told(bounce(kind, sub))) == stops


def test_the_older_kind_of_notification_says_the_same():
    message = bounce("Permanent")
    message["notificationType"] = message.pop("eventType")
    assert told(message) == [(ADA, Cause.BOUNCED)]


def test_an_address_may_come_with_a_name_and_several_at_once():
    message = bounce("Permanent", "General", "Ada <ada@example.com>", "bob@example.com")
    assert told(message) == [(ADA, Cause.BOUNCED), ("bob@example.com", Cause.BOUNCED)]


@pytest.mark.parametrize(
    "message",
    [
        "no JSON", "[]", "null", "{}", '{"eventType": "Bounce"}',
        {"eventType": "Bounce", "bounce": []},
        {"eventType": "Bounce", "bounce": {"bounceType": "Permanent"}},
        {"eventType": "Complaint", "complaint": {"complainedRecipients": "x"}},
        bounce("Permanent", "General", None), bounce("Permanent", "General", "nobody"),
        {"eventType": "Bounce", "bounce": {"bounceType": "Permanent", "bouncedRecipients": [7]}},
    ],
)  # fmt: skip
def test_whatever_else_comes_by_the_topic_is_left_out(message):
    assert told(message) == []
