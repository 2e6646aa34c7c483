"""`backburner explain`."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backburner_local.cli.common import NOT_COMPLETED, as_json_option, connects, fail

if TYPE_CHECKING:
    from backburner_local.client import Client

_MOST_SHOWN = 20


@dataclass(slots=True)
class _Amounts:
    """What a file asks of one model."""

    requests: int = 0
    bytes: int = 0
    prompt_bytes: int = 0
    answer_tokens: int = 0
    unlimited_requests: int = 0


@dataclass(slots=True)
class _Found:
    """What is in a file."""

    models: dict[str, _Amounts] = field(default_factory=dict)
    #: Lines that can't be run, with the reasons.
    invalid: list[tuple[int, str]] = field(default_factory=list)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--endpoint", default="/v1/chat/completions", show_default=True, help="Route of the requests."
)
@click.option("--window", default="24h", show_default=True, help="Time it may take: 15m to 7d.")
@as_json_option
@connects
def explain(client: "Client", file: Path, endpoint: str, window: str, as_json: bool) -> None:  # noqa: FBT001
    """Say which backend each model of FILE would take, why, when it would end and what it costs.

    FILE (JSON lines) is read here; nothing is uploaded or run. Costs are rather too high: of the
    longest answers that the requests ask for.
    """
    found = _read(file, endpoint)
    if not found.models:
        fail(f"{file} has no request that can be run.", NOT_COMPLETED)
    estimate = client.estimate(
        completion_window=window,
        endpoint=endpoint,
        models={name: asdict(amounts) for name, amounts in found.models.items()},
    )
    if as_json:
        click.echo(json.dumps(estimate))
        return
    for line, why in found.invalid[:_MOST_SHOWN]:
        click.echo(f"line {line}: {why}", err=True)
    if len(found.invalid) > _MOST_SHOWN:
        click.echo(f"… and {len(found.invalid) - _MOST_SHOWN} more lines", err=True)
    for choice in estimate["data"]:
        _print(choice)


def _read(file: Path, endpoint: str) -> _Found:
    """Count what each model would have to do."""
    from backburner.domain.errors import InvalidLine
    from backburner.ports import Limits
    from backburner.services.reading import numbered_lines
    from backburner.wire.openai import OpenAIDialect  # slow to import, as those before

    dialect, found = OpenAIDialect(), _Found()
    with file.open("rb") as stream:
        for number, data in numbered_lines(stream, Limits().line_bytes):
            try:
                if data is None:
                    raise InvalidLine("line_too_long", "This line is too long.")
                request = dialect.parse(number, data, route=endpoint)
            except InvalidLine as error:
                found.invalid.append((number, error.message))
                continue
            amounts = found.models.setdefault(request.model, _Amounts())
            amounts.requests += 1
            amounts.bytes += len(data)
            amounts.prompt_bytes += request.prompt_bytes
            amounts.answer_tokens += request.max_tokens
            amounts.unlimited_requests += not request.max_tokens
    return found


def _print(choice: dict[str, Any]) -> None:
    """One model: where it goes, and the table of its backends."""
    from rich.console import Console  # slow to import, as the next
    from rich.table import Table

    where = f"{choice['backend']}, {choice['why']}" if choice["backend"] else choice["why"]
    requests = f"{choice['requests']} request" + ("s" if choice["requests"] != 1 else "")
    click.echo(f"{choice['model']}: {requests} → {where}")
    heads = ("", "backend", "slots free", "shards", "starts", "ends", "cost", "")
    table = Table(*heads, box=None, header_style="bold", padding=(0, 2, 0, 0))
    for option in choice["options"]:
        is_taken = option["backend"] == choice["backend"]
        table.add_row(
            "→" if is_taken else "",
            option["backend"],
            f"{option['free_slots']} of {option['slots']}",
            str(option["shards"]),
            _time(option["starts_at"]),
            _time(option["ends_at"]),
            "?" if option["cost_usd"] is None else f"{option['cost_usd']:.4f} USD",
            option["refusal"] or option.get("note") or "",
        )
    Console().print(table)


def _time(seconds: int | None) -> str:
    """An instant in the time of this machine; nobody knows some."""
    if seconds is None:
        return "?"
    return datetime.fromtimestamp(seconds).astimezone().strftime("%a %H:%M")
