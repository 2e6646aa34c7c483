"""`backburner webhooks` and `backburner deliveries`: who is told, and what could not be."""

import json
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from backburner_local.cli.common import USAGE, as_json_option, connects, fail

if TYPE_CHECKING:
    from backburner_local.client import Client

_BATCH_EVENTS = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")

_AGO = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS = {"m": 60, "h": 3600, "d": 86400}


@click.group()
def webhooks() -> None:
    """URLs that are told when something ends."""


@webhooks.command("create")
@click.argument("address", metavar="URL")
@click.option("--name", default="webhook", show_default=True, help="What people call it.")
@click.option(
    "--event",
    "events",
    multiple=True,
    metavar="TYPE",
    help="What it is told of; may be given again.  [default: the ends of batches]",
)
@click.option("--notify", metavar="EMAIL", help="Address that is told if it is disabled.")
@as_json_option
@connects
def create_webhook(
    client: "Client",
    address: str,
    name: str,
    events: tuple[str, ...],
    notify: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Have URL told, and print the secret that signs what it is told."""
    fields = {"url": address, "name": name, "event_types": list(events or _BATCH_EVENTS)}
    if notify is not None:
        fields["x_notify_email"] = notify
    _print_secret(client.create_webhook(**fields), as_json=as_json)


@webhooks.command("list")
@as_json_option
@connects
def list_webhooks(client: "Client", as_json: bool) -> None:  # noqa: FBT001
    """Show which there are."""
    found = client.webhooks()
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [(one["id"], one["x_status"], one["name"], one["url"]) for one in found]
    _print_table(("webhook", "status", "name", "url"), rows)


@webhooks.command("delete")
@click.argument("webhook_id")
@connects
def delete_webhook(client: "Client", webhook_id: str) -> None:
    """Tell it nothing more."""
    client.delete_webhook(webhook_id)
    click.echo(f"Deleted {webhook_id}.")


@webhooks.command("enable")
@click.argument("webhook_id")
@connects
def enable_webhook(client: "Client", webhook_id: str) -> None:
    """Tell one again that was disabled."""
    client.webhook_action(webhook_id, "")
    click.echo(f"Enabled {webhook_id}.")


@webhooks.command("test")
@click.argument("webhook_id")
@click.option(
    "--event", default="batch.completed", show_default=True, metavar="TYPE", help="Of the sample."
)
@connects
def test_webhook(client: "Client", webhook_id: str, event: str) -> None:
    """Send it a sample, and say what it answers."""
    answer = client.webhook_action(webhook_id, "/test", event_type=event)
    click.echo(f"{webhook_id} answered {answer['status_code']}.")


@webhooks.command("rotate")
@click.argument("webhook_id")
@click.option("--keep-old", is_flag=True, help="The old secret signs too for a day.")
@as_json_option
@connects
def rotate_secret(
    client: "Client",
    webhook_id: str,
    keep_old: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Give it a new secret."""
    keeping = {"keep_old_secret_active_for_24_hours": keep_old}
    _print_secret(client.webhook_action(webhook_id, "/rotate_secret", **keeping), as_json=as_json)


@webhooks.command("callback-secret")
@click.option("--keep-old", is_flag=True, help="The old secret signs too for a day.")
@as_json_option
@connects
def callback_secret(
    client: "Client",
    keep_old: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Make, or replace, the secret that signs what callback URLs are told."""
    made = client.callback_secret(keep_old_secret_active_for_24_hours=keep_old)
    _print_secret(made, as_json=as_json)


def _print_secret(made: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(made))
        return
    click.echo(made["signing_secret"])
    about = f"The secret of {made['id']}. " if "id" in made else ""
    click.echo(f"{about}Keep it: it can't be shown again.", err=True)


@click.group()
def deliveries() -> None:
    """What was told of batches, and what could not be."""


@deliveries.command("list")
@click.option("--batch", metavar="ID", help="All of this batch, instead of those given up.")
@as_json_option
@connects
def list_deliveries(client: "Client", batch: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Show what was given up lately."""
    found = client.deliveries(batch)
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [
        (one["id"], one["status"], str(one["attempts"]), one["last_error"] or "") for one in found
    ]
    _print_table(("delivery", "status", "tries", "last error"), rows)


@deliveries.command("replay")
@click.argument("delivery_id", required=False)
@click.option(
    "--since", metavar="WHEN", help="All given up since: 90m, 2h, 3d ago, or 2026-11-22T09:30."
)
@click.option("--webhook", metavar="ID", help="With --since: of this webhook alone.")
@connects
def replay(
    client: "Client", delivery_id: str | None, since: str | None, webhook: str | None
) -> None:
    """Tell again one delivery, or all that were given up since an instant."""
    if (delivery_id is None) == (since is None):
        fail("Give either the id of a delivery or --since.", USAGE)
    if delivery_id is not None:
        client.replay(delivery_id)
        click.echo(f"{delivery_id} is told again.")
        return
    count = client.replay_since(_instant(since or ""), webhook)
    click.echo(f"{count} are told again.")


def _instant(given: str) -> float:
    """Seconds since the epoch; a time without a zone is UTC."""
    if ago := _AGO.fullmatch(given):
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        fail(f"'{given}' is no time: give 2h, or 2026-11-22T09:30.", USAGE)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _print_table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console  # slow to import
    from rich.table import Table

    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
