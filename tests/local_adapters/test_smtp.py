"""SMTP over real sockets: what is encrypted, who logs in, and which refusals are for ever."""

import smtplib
import socket
import ssl
from dataclasses import replace

import pytest

from backburner.domain.errors import AddressRefused, InvalidRequest
from backburner.ports import Mail
from backburner_local.adapters import smtp
from backburner_local.adapters.clock import FixedClock
from backburner_local.adapters.smtp import Security, SmtpMailer, SmtpServer
from tests.e2e_aws.certificate import make_certificate
from tests.mail_server import MailServer, now_and_then

MAIL = Mail(to="ada@example.com", subject="s", text="text\n", message_id="evt_1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.file, certificate.key_file)
    return context


@pytest.fixture
def trusted(monkeypatch, certificate):
    """The server's certificate is one that this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))


def mailer(server: MailServer, security: Security = Security.NONE, **login: str) -> SmtpMailer:
    here = SmtpServer(host="127.0.0.1", port=server.port, security=security, **login)
    return SmtpMailer(here, "us@example.com", FixedClock())


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_mail_and_a_password_travel_encrypted(trusted, context, security):
    with MailServer(
        context=context, is_tls=security is Security.TLS, logins={"us": "secret"}
    ) as server:
        mailer(server, security, user="us", password="secret").send(MAIL)
    (taken,) = server.taken
    assert taken.is_encrypted
    assert taken.login == ("us", "secret")
    assert (taken.sender, taken.recipient) == ("us@example.com", "ada@example.com")


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])
def test_a_server_whose_certificate_nobody_trusts_gets_nothing(context, security):
    with MailServer(context=context, is_tls=security is Security.TLS) as server:
        with pytest.raises(OSError, match="certificate verify failed"):
            mailer(server, security).send(MAIL)
        assert server.tries == 0


def test_a_server_that_can_not_encrypt_gets_nothing_where_it_should():
    with MailServer(logins={"us": "secret"}) as server:
        with pytest.raises(smtplib.SMTPNotSupportedError, match="STARTTLS"):
            mailer(server, Security.STARTTLS, user="us", password="secret").send(MAIL)
        assert server.tries == 0


@pytest.mark.parametrize("host", ["mail.example.com", "10.0.0.1", "::2"])
def test_a_password_leaves_this_machine_only_encrypted(host):
    login = {"user": "us", "password": "secret"}
    with pytest.raises(InvalidRequest, match="TLS"):
        SmtpServer(host=host, port=25, security=Security.NONE, **login)
    for here in ("127.0.0.1", "localhost", "::1"):
        SmtpServer(host=here, port=25, security=Security.NONE, **login)


@pytest.mark.parametrize("login", [{"user": "us"}, {"password": "secret"}])
def test_half_a_login_is_none(login):
    with pytest.raises(InvalidRequest, match="password"):
        SmtpServer(host="localhost", port=587, **login)


def test_a_password_is_not_shown():
    server = SmtpServer(host="localhost", port=587, user="us", password="secret")
    assert "secret" not in repr(server)


#: Step, answer, and what becomes of it: the address is refused, the mail is, or it is tried again.
REFUSALS = [
    ("RCPT", "550 5.1.1 No such user", AddressRefused),
    ("RCPT", "550 No such user here", AddressRefused),
    ("RCPT", "551 5.1.6 Moved away", AddressRefused),
    ("RCPT", "553 5.1.3 Bad mailbox name", AddressRefused),
    ("RCPT", "550 5.2.1 Mailbox disabled", AddressRefused),
    ("RCPT", "550 5.7.1 Relaying denied", smtplib.SMTPRecipientsRefused),
    ("RCPT", "552 5.2.2 Mailbox full", smtplib.SMTPRecipientsRefused),
    ("RCPT", "550 5.2.2 Mailbox full", smtplib.SMTPRecipientsRefused),
    ("RCPT", "554 Transaction failed", smtplib.SMTPRecipientsRefused),
    ("RCPT", "450 4.2.0 Greylisted", smtplib.SMTPRecipientsRefused),
    ("RCPT", "421 4.3.2 Going down", smtplib.SMTPRecipientsRefused),
    ("taken", "550 5.1.1 No such user after all", AddressRefused),
    ("taken", "550 Looks like spam", InvalidRequest),
    ("taken", "554 5.6.0 Not a mail", InvalidRequest),
    ("taken", "451 4.3.0 Later", smtplib.SMTPDataError),
    ("DATA", "451 4.3.0 Later", smtplib.SMTPDataError),
    ("MAIL", "550 5.7.1 You may not send", smtplib.SMTPSenderRefused),
    ("AUTH", "535 5.7.8 Wrong password", smtplib.SMTPAuthenticationError),
    ("connect", "554 No service", smtplib.SMTPConnectError),
    ("connect", "421 Too many connections", smtplib.SMTPConnectError),
]


@pytest.mark.parametrize(("step", "answer", "error"), REFUSALS)
def test_a_refusal_is_of_the_address_or_the_mail_or_passes(step, answer, error):
    def refuse(at: str, about: str) -> str | None:
        return answer if at == step else None

    with MailServer(refuse=refuse, logins={"us": "secret"}) as server:
        with pytest.raises(error) as caught:
            mailer(server, user="us", password="secret").send(MAIL)
        assert type(caught.value) is error
        assert server.taken == []
    if isinstance(caught.value, InvalidRequest):
        assert "user" not in caught.value.message, "words of a stranger"


def test_a_mail_that_was_taken_is_sent_however_the_server_says_goodbye(monkeypatch):
    with MailServer() as server:
        monkeypatch.setattr("tests.mail_server._Session._on_quit", lambda self, _: self._say("bye"))
        mailer(server).send(MAIL)
        assert server.by_event_id() == {"evt_1": 1}


def test_a_server_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(smtp, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here = SmtpServer(host="127.0.0.1", port=silent.getsockname()[1], security=Security.NONE)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            SmtpMailer(here, "us@example.com", FixedClock()).send(MAIL)


def test_a_server_that_is_away_is_an_error_that_passes():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        SmtpMailer(
            SmtpServer(host="127.0.0.1", port=port, security=Security.NONE),
            "us@example.com",
            FixedClock(),
        ).send(MAIL)


def test_a_server_that_refuses_every_third_try_gets_each_mail_once_in_the_end():
    left = [f"evt_{number}" for number in range(60)]
    with MailServer(refuse=now_and_then(0.3)) as server:
        sending = mailer(server)
        while left:
            try:
                sending.send(replace(MAIL, message_id=left[0]))
            except smtplib.SMTPException:
                left.append(left[0])
            left.pop(0)
        assert 0.15 < 1 - 60 / server.tries < 0.45
        assert set(server.by_event_id().values()) == {1}
        assert len(server.taken) == 60
