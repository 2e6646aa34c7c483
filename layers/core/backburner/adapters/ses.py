"""Mail through Amazon SES (API v2).

Facts: SES overwrites a message's Message-ID and Date with its own (developer guide, "Amazon SES
header fields"), so that receivers know a repeat by `X-Backburner-Event-Id`. Errors of SendEmail are
in its API reference; sending raw messages needs the actions `ses:SendEmail` and `ses:SendRawEmail`.
"""

import time
from dataclasses import dataclass
from typing import TypedDict

from botocore.exceptions import ClientError

from backburner.adapters.clients import Clients
from backburner.domain.errors import InvalidRequest
from backburner.ports import Mail

#: Errors that say that this mail will never be taken. All others pass, or the operator mends them:
#: throttles, quotas, an account or identity that may not send yet.
_REFUSED = frozenset({"MessageRejected", "BadRequestException", "InvalidParameterValue"})

#: What MessageRejected says where an identity is not verified: the sender's, or, in the sandbox,
#: the receiver's.
_NOT_VERIFIED = "not verified"


class _Named(TypedDict, total=False):
    ConfigurationSetName: str


@dataclass(frozen=True, slots=True)
class SesMailer:
    """Sends mail from one address, which SES must have verified."""

    clients: Clients
    #: Empty: no mail is sent.
    sender: str
    #: Has SES tell of mails that come back; empty: nobody is told.
    configuration_set: str = ""

    def send(self, mail: Mail) -> None:
        """Hand over one message.

        Raises:
            InvalidRequest: this mail will never be sent; trying again is no use.
            ClientError: not now.
        """
        if not self.sender:
            raise InvalidRequest("Mails are off: the stack's SenderAddress is empty.")
        # Only the function that delivers pays for the email package.
        from backburner.wire import mime

        raw = mime.compose(mail, sender=mime.address(self.sender), now=time.time())
        named: _Named = {}
        if self.configuration_set:
            named["ConfigurationSetName"] = self.configuration_set
        try:
            self.clients.sesv2.send_email(
                FromEmailAddress=self.sender,
                Destination={"ToAddresses": [mail.to]},
                Content={"Raw": {"Data": raw}},
                **named,
            )
        except ClientError as error:
            about = error.response.get("Error", {})
            reason = about.get("Message", "")
            if about.get("Code") in _REFUSED and _NOT_VERIFIED not in reason:
                raise InvalidRequest(f"SES refused the mail: {reason}") from error
            raise
