"""`backburner mail`: what tenants want of their mails, and addresses that get none."""

import json
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.mailing import Digest, MailSettings, suppression_id
from backburner.services import mailing
from backburner_local.cli.common import USAGE, as_json_option, fail
from backburner_local.cli.target import Target, on_target

_tenant = click.option("--tenant", required=True, help="Whose mails.")
_some_tenant = click.option("--tenant", help="Of this tenant; default: those of all tenants.")


@click.group()
def mail() -> None:
    """Turn a tenant's mails off and on, and let addresses have mails again."""


@mail.command("show")
@_tenant
@on_target
@as_json_option
def show_mail(target: Target, tenant: str, as_json: bool) -> None:  # noqa: FBT001
    """Show what a tenant wants of its mails."""
    with target.environment() as env:
        _tell(mailing.settings(env, tenant), as_json=as_json)


@mail.command("set")
@_tenant
@click.option("--on/--off", "enabled", default=None, help="Whether there are any.")
@click.option(
    "--digest",
    type=click.Choice([one.value for one in Digest]),
    help="One mail for all of an hour.",
)
@click.option("--address", help="Told of batches that name nobody; '' tells nobody.")
@on_target
@as_json_option
def set_mail(target: Target, tenant: str, as_json: bool, **given: Any) -> None:  # noqa: FBT001
    """Change what a tenant wants of its mails; what is not given stays."""
    changes = {name: value for name, value in given.items() if value is not None}
    if "address" in changes:
        changes["address"] = changes["address"] or None
    with target.environment() as env:
        try:
            _tell(mailing.change(env, tenant, changes), as_json=as_json)
        except InvalidRequest as error:
            fail(error.message, USAGE)


@mail.command("suppressed")
@_some_tenant
@on_target
@as_json_option
def suppressed(target: Target, tenant: str | None, as_json: bool) -> None:  # noqa: FBT001
    """List addresses that get no mail, and why."""
    found, after, has_more = [], None, True
    with target.environment() as env:
        while has_more:
            page, has_more = mailing.suppressions(env, tenant, after=after)
            found += page
            after = page[-1].id if page else None
    if as_json:
        click.echo(json.dumps([{"address": one.address, "cause": one.cause} for one in found]))
        return
    table = Table("address", "cause", "since", box=None, header_style="bold")
    for one in found:
        since = datetime.fromtimestamp(one.created_at, UTC).isoformat(timespec="seconds")
        table.add_row(one.address, one.cause, since)
    Console().print(table)


@mail.command("allow")
@click.argument("address")
@_some_tenant
@on_target
def allow(target: Target, address: str, tenant: str | None) -> None:
    """Let ADDRESS have mails again."""
    with target.environment() as env:
        try:
            mailing.allow(env, suppression_id(address), tenant=tenant)
        except NotFound:
            whose = f"{tenant}'s mails" if tenant is not None else "the mails of all tenants"
            fail(f"{address} gets {whose} already.", USAGE)
    click.echo(f"{address} gets mails again.")


def _tell(settings: MailSettings, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(settings)))
        return
    click.echo(f"mails    {'on' if settings.enabled else 'off'}")
    click.echo(f"digest   {settings.digest}")
    click.echo(f"address  {settings.address or 'nobody'}")
