"""Mails as RFC 5322 messages: the same bytes whoever sends them."""

import re
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Instant
from backburner.ports import Mail

#: Domain of message ids that name none.
DOMAIN = "backburner.local"

#: The mail's id once more: some services, such as SES, replace the Message-ID by their own.
EVENT_ID = "X-Backburner-Event-Id"

#: One word of printable ASCII: what a header can hold as it is, without being folded.
_URL = re.compile(r"https?://[!-;=?-~]{1,900}")

#: Text beyond ASCII is encoded: not every server on the way takes 8 bits.
_POLICY = SMTP.clone(cte_type="7bit")


def compose(mail: Mail, *, sender: Address, now: Instant) -> bytes:
    """The message, with CRLF line ends; raises InvalidRequest for what can't be one."""
    message = EmailMessage(policy=_POLICY)
    message_id = _message_id(mail.message_id)
    message["From"] = sender
    message["To"] = address(mail.to)
    message["Subject"] = _header("subject", mail.subject)
    message["Date"] = datetime.fromtimestamp(now, UTC)
    message["Message-ID"] = f"<{message_id}>" if "@" in message_id else f"<{message_id}@{DOMAIN}>"
    message[EVENT_ID] = message_id
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office note comes back
    message.set_content(mail.text)
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    return _unsubscribing(mail.unsubscribe_url) + bytes(message)


def _unsubscribing(url: str | None) -> bytes:
    """Headers by which mail programs offer to end such mails (RFC 2369, RFC 8058).

    Written by hand: the email package would encode a URL that is longer than a line. The second is
    for `https` alone: what is posted there must not be changed on the way.
    """
    if url is None:
        return b""
    if not _URL.fullmatch(url):
        raise InvalidRequest("A link to unsubscribe is an http URL.", param="unsubscribe_url")
    lines = f"List-Unsubscribe: <{url}>\r\n"
    if url.startswith("https:"):
        lines += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    return lines.encode()


def address(text: str) -> Address:
    """The one address that the text is; a list of them is none, nor is one with a name."""
    try:
        if text.isascii():  # others need SMTPUTF8
            return Address(addr_spec=_header("address", text))
    except (MessageError, ValueError, IndexError) as exc:
        raise InvalidRequest(f"{text[:100]!r} is no mail address.", param="address") from exc
    raise InvalidRequest(f"{text[:100]!r} has letters beyond ASCII.", param="address")


def _header(name: str, value: str) -> str:
    """Return the value if it can only ever be one header.

    `=?` starts an encoded word, which the email package would decode, line breaks and all.
    """
    if "=?" in value or not all(character.isprintable() for character in value):
        raise InvalidRequest(f"The {name} of a mail is one line of text.", param=name)
    return value


def _message_id(message_id: str) -> str:
    bare = _header("message_id", message_id).strip("<>")
    if not (bare and bare.isascii()) or any(character in bare for character in "<> "):
        raise InvalidRequest("A message id is ASCII without spaces or <>.", param="message_id")
    return bare
