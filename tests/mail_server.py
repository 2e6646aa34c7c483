"""A mail server on a real socket: takes mails, or refuses them as a test says (RFC 5321).

```
with MailServer(refuse=now_and_then(0.3)) as server:
    ...  # the product sends to 127.0.0.1, server.port
    server.by_event_id()  # how often each mail was taken
```
"""

import base64
import random
import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

#: What a client is at when it is refused: `connect`, `AUTH`, `MAIL`, `RCPT`, `DATA` (before the
#: content comes) or `taken` (after it came). Returns the refusal, such as `450 4.2.0 Later.`
Refuse = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A mail that the server answered 250 to."""

    sender: str
    recipient: str
    data: bytes
    is_encrypted: bool
    #: Name and password that were given before it.
    login: tuple[str, str] | None

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.data, policy=policy.default)

    @property
    def event_id(self) -> str:
        return str(self.message["X-Backburner-Event-Id"])


class MailServer:
    """Listens at 127.0.0.1; keeps what it took for as long as it lives, across clients."""

    def __init__(
        self,
        *,
        refuse: Refuse | None = None,
        context: ssl.SSLContext | None = None,
        is_tls: bool = False,
        logins: dict[str, str] | None = None,
    ) -> None:
        """Prepare; nothing is listened to before the block is entered.

        Args:
            refuse: asked at every step; None: nothing is refused.
            context: offers STARTTLS, with this certificate.
            is_tls: speaks TLS from the first byte instead.
            logins: names and passwords; given any, it takes mail from nobody else.
        """
        self.refuse = refuse
        self.context = context
        self.is_tls = is_tls
        self.logins = logins or {}
        self.taken: list[Taken] = []
        #: Mails that a client tried to send, refused or not.
        self.tries = 0
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def by_event_id(self) -> Counter[str]:
        """How often each mail was taken."""
        with self._lock:
            return Counter(one.event_id for one in self.taken)

    def __enter__(self) -> "MailServer":
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.of = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="mail-server"
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def refusal(self, step: str, about: str = "") -> str | None:
        with self._lock:
            self.tries += step == "MAIL"
            return self.refuse(step, about) if self.refuse is not None else None

    def take(self, mail: Taken) -> None:
        with self._lock:
            self.taken.append(mail)


def now_and_then(share: float, *, seed: int = 0) -> Refuse:
    """Refuse that share of mails for now: half of them at the address, half after the content."""
    dice = random.Random(seed)

    def refuse(step: str, about: str) -> str | None:
        if step == "RCPT" and dice.random() < share / 2:
            return "450 4.2.0 Greylisted: try again later."
        if step == "taken" and dice.random() < share / (2 - share):
            return "451 4.3.0 Try again later."
        return None

    return refuse


# ---------------------------------------------------------------- one client


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    of: MailServer


@dataclass
class _Envelope:
    sender: str = ""
    recipients: list[str] = field(default_factory=list)


class _Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True  # lines of an answer go out at once
    server: _Server

    def setup(self) -> None:
        self.request.settimeout(10)
        if self.server.of.is_tls:
            self._encrypt()
        super().setup()

    def finish(self) -> None:
        with suppress(OSError):  # the client is gone
            super().finish()
        self.request.close()  # what was encrypted is no more the socket that the server knows

    def handle(self) -> None:
        self.of = self.server.of
        self.login: tuple[str, str] | None = None
        self.envelope = _Envelope()
        try:
            if not self._refused("connect"):
                self._say("220 mail.example.com ESMTP")
                while self._command():
                    pass
        except (OSError, ssl.SSLError):
            return  # the client is gone

    def _command(self) -> bool:
        line = self.rfile.readline(2000)
        if not line:
            return False
        verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
        act = getattr(self, f"_on_{verb.lower()}", None)
        if act is None:
            self._say("502 5.5.1 What?")
            return True
        act(rest)
        return verb.upper() != "QUIT"

    def _on_ehlo(self, _: str) -> None:
        offers = ["mail.example.com", "SIZE 1000000", "8BITMIME"]
        if self.of.context is not None and not self._is_encrypted:
            offers.append("STARTTLS")
        if self.of.logins:
            offers.append("AUTH PLAIN")
        for offer in offers[:-1]:
            self._say(f"250-{offer}")
        self._say(f"250 {offers[-1]}")

    def _on_starttls(self, _: str) -> None:
        self._say("220 2.0.0 Go on")
        super().finish()
        self._encrypt()
        super().setup()
        self.login, self.envelope = None, _Envelope()

    def _on_auth(self, rest: str) -> None:
        if self._refused("AUTH"):
            return
        _, name, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        if self.of.logins.get(name) != password:
            self._say("535 5.7.8 Wrong name or password")
            return
        self.login = (name, password)
        self._say("235 2.7.0 Come in")

    def _on_mail(self, rest: str) -> None:
        if self.of.logins and self.login is None:
            self._say("530 5.7.0 Log in first")
        elif not self._refused("MAIL", rest):
            self.envelope = _Envelope(sender=_address(rest))
            self._say("250 2.1.0 Good")

    def _on_rcpt(self, rest: str) -> None:
        address = _address(rest)
        if not self._refused("RCPT", address):
            self.envelope.recipients.append(address)
            self._say("250 2.1.5 Good")

    def _on_data(self, _: str) -> None:
        if not self.envelope.recipients:
            self._say("503 5.5.1 For whom?")
            return
        if self._refused("DATA"):
            return
        self._say("354 Go on, and end with a dot")
        data = self._content()
        sender, recipients = self.envelope.sender, self.envelope.recipients
        self.envelope = _Envelope()
        if self._refused("taken", recipients[0]):
            return
        for recipient in recipients:
            self.of.take(Taken(sender, recipient, data, self._is_encrypted, self.login))
        self._say("250 2.0.0 Taken")

    def _on_rset(self, _: str) -> None:
        self.envelope = _Envelope()
        self._say("250 2.0.0 Good")

    def _on_noop(self, _: str) -> None:
        self._say("250 2.0.0 Good")

    def _on_quit(self, _: str) -> None:
        self._say("221 2.0.0 Bye")

    def _content(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionError("The client left in the middle of a mail.")
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def _refused(self, step: str, about: str = "") -> bool:
        refusal = self.of.refusal(step, about)
        if refusal is not None:
            self._say(refusal)
        return refusal is not None

    @property
    def _is_encrypted(self) -> bool:
        return isinstance(self.request, ssl.SSLSocket)

    def _encrypt(self) -> None:
        assert self.server.of.context is not None
        self.request = self.server.of.context.wrap_socket(self.request, server_side=True)

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


def _address(rest: str) -> str:
    """`FROM:<ada@example.com> SIZE=9` → `ada@example.com`."""
    return rest.partition("<")[2].partition(">")[0]
