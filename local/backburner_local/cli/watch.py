"""`backburner watch`."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from backburner_local.cli.common import OK, as_json_option, connects

if TYPE_CHECKING:
    from rich.console import Console

    from backburner_local.client import Client
    from backburner_local.watching import View


@click.command()
@click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=0.2),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.option(
    "--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Most batches."
)
@click.option("--once", is_flag=True, help="Look once, and leave.")
@as_json_option
@connects
def watch(
    client: "Client",
    every_seconds: float,
    limit: int,
    once: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show batches, instances and what waits, until Ctrl-C.

    Where standard output is no terminal, a line is printed for each thing that changed; with
    --json, a line for each look.
    """
    from rich import console as consoles  # slow to import, as the next

    from backburner_local import watching

    if once:
        views = iter([watching.look(client, limit=limit)])
    else:
        views = watching.views(client, every_seconds=every_seconds, limit=limit)
    console = consoles.Console()
    with _until_stopped():
        if as_json:
            for view in views:
                click.echo(json.dumps(view.to_json()))
        elif console.is_terminal and once:
            console.print(next(views))
        elif console.is_terminal:
            _show(console, views)
        else:
            told: dict[str, str] = {}
            for view in views:
                for line in watching.changed_lines(view, told):
                    click.echo(line)


def _show(console: "Console", views: Iterator["View"]) -> None:
    """Draw the table on a screen of its own, which goes; the last table stays."""
    from rich.live import Live

    last = None
    try:
        with Live(console=console, screen=True, auto_refresh=True, refresh_per_second=2) as live:
            for last in views:
                live.update(last, refresh=True)
    finally:
        if last is not None:
            console.print(last)


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Leave in peace at Ctrl-C, or when asked to end: the terminal is put right first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(OK)
