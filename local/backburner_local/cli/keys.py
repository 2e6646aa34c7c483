"""`backburner keys`: who may come in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from backburner.domain.errors import InvalidRequest, NotFound
from backburner.ports import Environment
from backburner.services import keys as key_service
from backburner_local.cli.common import USAGE, as_json_option, data_dir_option, fail


@click.group()
def keys() -> None:
    """Make, list and revoke API keys; each belongs to a tenant."""


@keys.command("create")
@click.argument("tenant")
@data_dir_option
@as_json_option
def create_key(tenant: str, data_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Make a key for TENANT and print it; it can't be shown again."""
    with _stored(data_dir) as env:
        try:
            secret, _ = key_service.create(env, tenant)
        except InvalidRequest as error:
            fail(error.message, USAGE)
    click.echo(json.dumps({"tenant": tenant, "key": secret}) if as_json else secret)


@keys.command("list")
@data_dir_option
@as_json_option
def list_keys(data_dir: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show which keys there are, by their first characters."""
    with _stored(data_dir) as env:
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
@data_dir_option
def revoke_key(start: str, data_dir: Path) -> None:
    """Revoke the key that begins with START."""
    from backburner_local.world import forget_dev_key

    with _stored(data_dir) as env:
        try:
            key = key_service.revoke(env, start)
        except NotFound as error:
            fail(error.message, USAGE)
    click.echo(f"Revoked {key.hint}… of {key.tenant}.")
    if forget_dev_key(data_dir / "dev.key", key):
        click.echo("It was the development key; the next `backburner up` makes another.")


@contextmanager
def _stored(data_dir: Path) -> Iterator[Environment]:
    """The store of a data folder, whether a stack runs on it or not."""
    from backburner_local.stack import stored

    if not (data_dir / "backburner.sqlite").exists():
        fail(f"{data_dir} holds no stack; start one with `backburner up`.", USAGE)
    with stored(data_dir) as env:
        yield env
