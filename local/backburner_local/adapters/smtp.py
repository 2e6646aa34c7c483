"""Mail through an SMTP server: a provider's, the company's, or one on this machine."""

import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address

from backburner.domain.errors import AddressRefused, InvalidRequest
from backburner.ports import Clock, Mail
from backburner.wire import mime

#: For each answer of the server. A mail takes about ten of them, and has a minute.
TIMEOUT_SECONDS = 10.0

#: Codes that say that there is no such mailbox (RFC 5321, 4.2.3), unless what follows speaks of
#: something else, such as a policy (5.7.1) or a full mailbox (5.2.2): RFC 3463, 3.2 and 3.3.
_NO_MAILBOX = frozenset({550, 551, 553})
_ENHANCED = re.compile(rb"\s*5\.(\d{1,3})\.(\d{1,3})\b")
_NO_SUCH_ADDRESS, _MAILBOX_DISABLED = b"1", (b"2", b"1")


class Security(StrEnum):
    """How the connection is encrypted."""

    #: From the first byte on; port 465.
    TLS = "tls"
    #: Once the server was asked for it, and never without; port 587.
    STARTTLS = "starttls"
    #: Not at all; port 25.
    NONE = "none"

    @property
    def port(self) -> int:
        """The usual port."""
        return {Security.TLS: 465, Security.STARTTLS: 587, Security.NONE: 25}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mails are handed over, and as whom.

    Raises:
        InvalidRequest: a password would travel in the clear, or one of the two is missing.
    """

    host: str
    port: int
    security: Security = Security.STARTTLS
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.user is None) != (self.password is None):
            raise InvalidRequest("An SMTP user needs a password, and a password a user.")
        if self.user is not None and self.security is Security.NONE and not self._is_here:
            raise InvalidRequest("A password goes to another machine only over TLS or STARTTLS.")

    @property
    def _is_here(self) -> bool:
        """Whether nothing leaves this machine."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False


class SmtpMailer:
    """Hands over each mail on a connection of its own: they are few, and servers hang up."""

    def __init__(self, server: SmtpServer, sender: str, clock: Clock) -> None:
        """Send as `sender`, whom the server must let send; raises InvalidRequest if it is none."""
        self._server = server
        self._sender = mime.address(sender)
        self._clock = clock

    def send(self, mail: Mail) -> None:
        """Hand over one message.

        Raises:
            AddressRefused: the server says that there is no such mailbox.
            InvalidRequest: the server will never take this mail.
            OSError: not now; smtplib's errors are among these. Whether the mail was taken is
                unknown if the server fell silent after its last byte.
        """
        message = mime.compose(mail, sender=self._sender, now=self._clock.now())
        with self._connected() as smtp, _told(mail.to):
            smtp.sendmail(self._sender.addr_spec, [mail.to], message)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        server = self._server
        smtp = self._connect()
        try:
            if server.security is Security.STARTTLS:
                smtp.starttls(context=ssl.create_default_context())
            if server.user is not None and server.password is not None:
                smtp.login(server.user, server.password)
            yield smtp
            with suppress(OSError):  # the mail was taken, however the server says goodbye
                smtp.quit()
        finally:
            smtp.close()

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        # Left to itself, smtplib asks the DNS for this machine's name, and may wait for it.
        name = self._sender.domain
        if server.security is Security.TLS:
            return smtplib.SMTP_SSL(
                server.host,
                server.port,
                name,
                timeout=TIMEOUT_SECONDS,
                context=ssl.create_default_context(),
            )
        return smtplib.SMTP(server.host, server.port, name, timeout=TIMEOUT_SECONDS)


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Tell what is for ever from what may pass, or the operator mends."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        code, words = error.recipients[address]
        if _is_no_mailbox(code, words):
            raise AddressRefused(f"The mail server knows no such address ({code}).") from error
        raise
    except smtplib.SMTPDataError as error:
        words = _bytes(error.smtp_error)
        if _is_no_mailbox(error.smtp_code, words) and _ENHANCED.match(words):
            raise AddressRefused(
                f"The mail server knows no such address ({error.smtp_code})."
            ) from error
        if error.smtp_code >= 500:
            raise InvalidRequest(
                f"The mail server refused the mail ({error.smtp_code})."
            ) from error
        raise


def _is_no_mailbox(code: int, words: bytes) -> bool:
    """Whether the refusal is about the address, and for ever."""
    if code not in _NO_MAILBOX:
        return False
    enhanced = _ENHANCED.match(words)
    if enhanced is None:
        return True
    return enhanced[1] == _NO_SUCH_ADDRESS or enhanced.groups() == _MAILBOX_DISABLED


def _bytes(words: bytes | str) -> bytes:
    return words if isinstance(words, bytes) else words.encode()
