"""SNS topic of SES's events → addresses that mails come back from get no more."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services import mailing
from backburner.wire.mail_events import unwanted


def handler(event: dict[str, Any], context: Any) -> None:
    env = environment()
    for address, cause in unwanted(event):
        mailing.suppress(env, address, cause)
