"""`backburner keys`: who may come in."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.services import keys as key_service
from backburner_local.cli.common import USAGE, as_json_option, fail
from backburner_local.cli.target import Target, on_target


@click.group()
def keys() -> None:
    """Make, list and revoke API keys; each belongs to a tenant."""


@keys.command("create")
@click.option("--tenant", required=True, help="Whose key it is: a-z, 0-9 and '-'.")
@click.option("--requests-per-minute", type=int, help="Requests a minute; 0: any number.")
@click.option("--waiting-lines", type=int, help="Lines that may wait for a model; 0: any number.")
@click.option("--stored-bytes", type=int, help="Bytes that its files may have; 0: any number.")
@on_target
@as_json_option
def create_key(
    target: Target,
    tenant: str,
    as_json: bool,  # noqa: FBT001
    **limits: int | None,
) -> None:
    """Make a key for a tenant and print it; it can't be shown again.

    What comes with the key is held to the limits given here; others are the operator's.
    """
    given = {name: limit for name, limit in limits.items() if limit is not None}
    with target.environment() as env:
        try:
            quota = replace(env.limits.quota, **given) if given else None
            secret, _ = key_service.create(env, tenant, quota=quota)
        except InvalidRequest as error:
            fail(error.message, USAGE)
    click.echo(json.dumps({"tenant": tenant, "key": secret}) if as_json else secret)
    if not as_json:
        click.echo(f"A key of {tenant}. Keep it: it can't be shown again.", err=True)


@keys.command("list")
@on_target
@as_json_option
def list_keys(target: Target, as_json: bool) -> None:  # noqa: FBT001
    """Show which keys there are, by their first characters."""
    with target.environment() as env:
        found = key_service.all_keys(env)
    if as_json:
        click.echo(json.dumps([{"key": k.hint, "tenant": k.tenant} for k in found]))
        return
    table = Table("key", "tenant", "made", box=None, header_style="bold")
    for key in found:
        made = datetime.fromtimestamp(key.created_at, UTC).isoformat(timespec="seconds")
        table.add_row(f"{key.hint}…", key.tenant, made)
    Console().print(table)


@keys.command("revoke")
@click.argument("start")
@on_target
def revoke_key(target: Target, start: str) -> None:
    """Revoke the key that begins with START."""
    from backburner_local.world import forget_dev_key

    with target.environment() as env:
        try:
            key = key_service.revoke(env, start)
        except (InvalidRequest, NotFound) as error:
            fail(error.message, USAGE)
    seconds = env.limits.key_cache_seconds
    until = f" Functions that know it forget it within {seconds:.0f} s." if seconds else ""
    click.echo(f"Revoked {key.hint}… of {key.tenant}.{until}")
    if target.stack is None and forget_dev_key(target.data_dir / "dev.key", key):
        click.echo("It was the development key; the next `backburner up` makes another.")
