"""Mail on one machine: each message is a file that any mail program opens."""

import hashlib
import os
import threading
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from urllib.parse import quote

from backburner.domain.errors import InvalidRequest
from backburner.ports import Clock, Mail

#: Domain of message ids that name none.
DOMAIN = "backburner.local"
_MAX_NAME = 200


class OutboxMailer:
    """Writes `.eml` files (RFC 5322) into a folder, one for each message id."""

    def __init__(self, folder: Path, sender: str, clock: Clock) -> None:
        self._folder = folder
        self._sender = _address(sender)
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, mail: Mail) -> None:
        message = self._message(mail)
        path = self._folder / _file_name(mail.message_id)
        staged = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        with staged.open("wb") as file:
            file.write(bytes(message))
            file.flush()
            os.fsync(file.fileno())  # once noted as delivered, nobody sends it again
        staged.replace(path)

    def _message(self, mail: Mail) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self._sender
        message["To"] = _address(mail.to)
        message["Subject"] = _header("subject", mail.subject)
        message["Date"] = datetime.fromtimestamp(self._clock.now(), UTC)
        message["Message-ID"] = _message_id(mail.message_id)
        message.set_content(mail.text)
        return message


def _header(name: str, value: str) -> str:
    """Return the value if it can only ever be one header.

    `=?` starts an encoded word, which the email package would decode, line breaks and all.
    """
    if "=?" in value or not all(character.isprintable() for character in value):
        raise InvalidRequest(f"The {name} of a mail is one line of text.", param=name)
    return value


def _address(text: str) -> Address:
    """Return the one address that the text is; a list of them is none."""
    try:
        if text.isascii():  # others need SMTPUTF8
            return Address(addr_spec=_header("address", text))
    except (MessageError, ValueError, IndexError) as exc:
        raise InvalidRequest(f"{text[:100]!r} is no mail address.", param="address") from exc
    raise InvalidRequest(f"{text[:100]!r} has letters beyond ASCII.", param="address")


def _message_id(message_id: str) -> str:
    bare = _header("message_id", message_id).strip("<>")
    if not (bare and bare.isascii()) or any(character in bare for character in "<> "):
        raise InvalidRequest("A message id is ASCII without spaces or <>.", param="message_id")
    return f"<{bare}>" if "@" in bare else f"<{bare}@{DOMAIN}>"


def _file_name(message_id: str) -> str:
    name = quote(message_id.strip("<>"), safe="@")
    if len(name) > _MAX_NAME:
        name = hashlib.sha256(message_id.encode()).hexdigest()
    return f"{name}.eml"
