"""`backburner doctor`: what is wrong, and what to do about it."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backburner_local.cli.common import NOT_COMPLETED, OK, as_json_option
from backburner_local.cli.target import profile_option, region_option

if TYPE_CHECKING:
    from backburner_local.doctor import Finding

_SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("-", "dim")}
_NAME_WIDTH = 12


@click.command()
@click.option(
    "--instance-type",
    default="",
    help="Of the endpoint.  [default: the stack's, or the template's]",
)
@click.option(
    "--max-instances",
    type=click.IntRange(1),
    help="Most instances at once.  [default: the stack's, or the template's]",
)
@click.option("--sender", default="", metavar="EMAIL", help="Address that mails will come from.")
@click.option(
    "--model-uri", default="", metavar="s3://BUCKET/PREFIX/", help="Where the model's artifact is."
)
@click.option("--image-uri", default="", help="Container; default: the AWS vLLM container.")
@click.option(
    "--catalog",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Models that run as jobs are looked at.  [default: the catalog that is deployed]",
)
@click.option("--stack", metavar="NAME", help="Look at this stack, too.")
@region_option
@profile_option
@as_json_option
def doctor(
    stack: str | None,
    region: str | None,
    profile: str | None,
    max_instances: int | None,
    catalog: Path | None,
    as_json: bool,  # noqa: FBT001
    **wanted: Any,
) -> None:
    """Check what deploying to AWS needs, and how a deployed stack does; changes nothing.

    Exits with 1 if something fails.
    """
    from backburner_local.deployed import Account
    from backburner_local.doctor import Patient, Result, examine

    console = Console(highlight=False)
    findings: list[Finding] = []
    if catalog is not None:
        wanted["catalog"] = catalog
    patient = Patient(stack=stack, max_instances=max_instances or 0, **wanted)
    looked = examine(patient, lambda: Account.connect(region=region, profile=profile))
    with console.status("Looking …"):
        for finding in looked:
            findings.append(finding)
            if not as_json:
                console.print(_row(finding))
    fails = sum(one.result is Result.FAIL for one in findings)
    warns = sum(one.result is Result.WARN for one in findings)
    if as_json:
        click.echo(json.dumps({"ok": not fails, "findings": [asdict(one) for one in findings]}))
    else:
        console.print(f"\n{_count(fails, 'failure')}, {_count(warns, 'warning')}.")
    sys.exit(NOT_COMPLETED if fails else OK)


def _row(finding: "Finding") -> Table:
    """One finding: a sign, what it is about, what was seen; below that what to do."""
    sign, style = _SIGNS[finding.result]
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1, style=style)
    grid.add_column(width=_NAME_WIDTH, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row(sign, finding.check, Text(finding.detail))
    if finding.advice:
        grid.add_row("", "", Text(finding.advice, style="dim"))
    return grid


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
