"""Options of `backburner up` that say how mails leave this machine."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from backburner.domain.errors import InvalidRequest

F = TypeVar("F", bound=Callable[..., Any])

#: A password among a command's arguments could be read by everyone on the machine.
PASSWORD = "BACKBURNER_SMTP_PASSWORD"  # noqa: S105 - the name of a variable

_OPTIONS = (
    click.option(
        "--smtp-host",
        metavar="HOST",
        envvar="BACKBURNER_SMTP_HOST",
        help="Server that sends mails; without one they stay in the data folder's outbox.",
    ),
    click.option(
        "--smtp-port",
        type=click.IntRange(1, 65535),
        envvar="BACKBURNER_SMTP_PORT",
        help="Its port; default: 587 with starttls, 465 with tls, 25 with none.",
    ),
    click.option(
        "--smtp-security",
        type=click.Choice(["starttls", "tls", "none"]),
        default="starttls",
        show_default=True,
        envvar="BACKBURNER_SMTP_SECURITY",
        help="How the connection is encrypted.",
    ),
    click.option(
        "--smtp-user",
        envvar="BACKBURNER_SMTP_USER",
        help=f"Who logs in; the password is in {PASSWORD}, or in a file.",
    ),
    click.option(
        "--smtp-password-file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        envvar="BACKBURNER_SMTP_PASSWORD_FILE",
        help="File with the password alone.",
    ),
    click.option(
        "--mail-from",
        metavar="EMAIL",
        envvar="BACKBURNER_MAIL_FROM",
        help="Address that mails come from; needed with --smtp-host.",
    ),
)


def mail_options(command: F) -> F:
    """Give a command the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_mail(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices as `Options` takes them; exits with what is wrong about mail."""
    left = dict(choices)
    given = {name: left.pop(name) for name in choices if name.startswith("smtp_")}
    if left["public_url"] is not None:
        left["public_url"] = left["public_url"].rstrip("/")
    if left["mail_from"] is None:
        del left["mail_from"]
    if given["smtp_host"] is None:
        return left
    if "mail_from" not in left:
        raise click.UsageError("--smtp-host needs --mail-from.")
    from backburner.wire import mime
    from backburner_local.adapters.smtp import Security, SmtpServer

    security = Security(given["smtp_security"])
    try:
        mime.address(left["mail_from"])
        left["smtp"] = SmtpServer(
            host=given["smtp_host"],
            port=given["smtp_port"] or security.port,
            security=security,
            user=given["smtp_user"],
            password=_password(given["smtp_password_file"]),
        )
    except InvalidRequest as error:
        raise click.UsageError(error.message) from error
    return left


def _password(file: Path | None) -> str | None:
    if file is not None:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    return os.environ.get(PASSWORD) or None
