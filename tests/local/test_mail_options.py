"""How the operator of one machine says where mails go."""

import pytest
from click.testing import CliRunner

from backburner_local import cli
from backburner_local.cli.mail_options import PASSWORD, with_mail
from backburner_local.options import Options

UNSET = {
    "smtp_host": None,
    "smtp_port": None,
    "smtp_security": "starttls",
    "smtp_user": None,
    "smtp_password_file": None,
    "mail_from": None,
    "public_url": None,
}
HOST = {"smtp_host": "mail.example.com", "mail_from": "us@example.com"}


def options(**choices: object) -> Options:
    return Options(**with_mail(UNSET | choices))


def test_without_a_server_mails_stay_in_the_outbox():
    assert options().smtp is None
    assert options().mail_from == "backburner@localhost"
    assert options(mail_from="us@example.com").mail_from == "us@example.com"


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_a_server_has_the_usual_port_unless_another_is_given(security, port):
    server = options(**HOST, smtp_security=security).smtp
    assert server is not None
    assert (server.host, server.port, server.security) == ("mail.example.com", port, security)
    other = options(**HOST, smtp_security=security, smtp_port=2525).smtp
    assert other is not None
    assert other.port == 2525


def test_the_password_comes_from_the_environment_or_a_file(monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("of the file\n")
    monkeypatch.setenv(PASSWORD, "of the environment")
    server = options(**HOST, smtp_user="us").smtp
    assert server is not None
    assert server.password == "of the environment"
    server = options(**HOST, smtp_user="us", smtp_password_file=file).smtp
    assert server is not None
    assert server.password == "of the file"


def test_links_need_no_slash_at_the_end():
    assert options(public_url="https://queue.example.com/").public_url == (
        "https://queue.example.com"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--smtp-host", "mail.example.com"], "--smtp-host needs --mail-from"),
        (["--smtp-host", "h", "--mail-from", "nobody"], "no mail address"),
        (["--smtp-host", "h", "--mail-from", "a@b.example", "--smtp-user", "us"], "a password"),
        (["--smtp-host", "h", "--smtp-port", "0"], "not in the range"),
        (["--smtp-host", "h", "--smtp-security", "ssl"], "not one of"),
    ],
)
def test_what_can_not_work_is_told_before_anything_starts(monkeypatch, arguments, reason):
    monkeypatch.delenv(PASSWORD, raising=False)
    result = CliRunner().invoke(cli.main, ["up", *arguments])
    assert result.exit_code == 2
    assert reason in result.output


def test_a_password_goes_nowhere_in_the_clear(monkeypatch):
    monkeypatch.setenv(PASSWORD, "secret")
    arguments = ["--smtp-host", "h", "--smtp-security", "none", "--smtp-user", "us"]
    result = CliRunner().invoke(cli.main, ["up", *arguments, "--mail-from", "us@example.com"])
    assert result.exit_code == 2
    assert "TLS" in result.output
