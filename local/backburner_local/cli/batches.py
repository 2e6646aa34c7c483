"""`backburner submit`, `status`, `results`, `cancel`, `retry`, `pause` and `resume`."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backburner_local.cli.common import (
    NOT_COMPLETED,
    OK,
    SOME_FAILED,
    as_json_option,
    connects,
    fail,
    reason,
)

if TYPE_CHECKING:
    from backburner_local.client import Client


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--watch", is_flag=True, help="Stay, and show the progress.")
@click.option(
    "--endpoint", default="/v1/chat/completions", show_default=True, help="Route of the requests."
)
@click.option("--window", default="24h", show_default=True, help="Time it may take: 15m to 7d.")
@click.option("--skip-invalid", is_flag=True, help="Run the good lines of a file with bad ones.")
@click.option("--priority", type=click.IntRange(0, 9), default=0, help="Higher runs first.")
@click.option("--max-cost", metavar="USD", help="Stop when it has cost so many dollars.")
@click.option("--max-tokens", metavar="N", help="Stop when it has used so many tokens.")
@click.option("--notify", metavar="EMAIL", help="Address that is told when the batch ends.")
@click.option("--callback", metavar="URL", help="URL that is told when the batch ends.")
@as_json_option
@connects
def submit(
    client: "Client",
    file: Path,
    watch: bool,  # noqa: FBT001
    endpoint: str,
    window: str,
    skip_invalid: bool,  # noqa: FBT001
    priority: int,
    max_cost: str | None,
    max_tokens: str | None,
    notify: str | None,
    callback: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Upload FILE (JSON lines) and run it as a batch."""
    uploaded = client.upload(file)
    fields: dict[str, Any] = {
        "input_file_id": uploaded["id"],
        "endpoint": endpoint,
        "completion_window": window,
        "metadata": {"filename": file.name[:512]} | ({"notify_email": notify} if notify else {}),
    }
    if callback is not None:
        fields["callback_url"] = callback
    if skip_invalid:
        fields["x_on_invalid"] = "skip"
    if priority:
        fields["priority"] = priority
    limits = {"x_max_cost_usd": max_cost, "x_max_tokens": max_tokens}
    fields |= {name: limit for name, limit in limits.items() if limit is not None}
    batch = client.create_batch(**fields)
    if watch:
        if not as_json:
            click.echo(f"{batch['id']}  {file.name}", err=True)
        batch = _watch(client, batch["id"])
    _print_batch(batch, as_json=as_json)
    sys.exit(_exit_code(batch) if watch else OK)


@click.command()
@click.argument("batch_id", required=False)
@click.option("--watch", is_flag=True, help="Stay until the batch has ended.")
@as_json_option
@connects
def status(client: "Client", batch_id: str | None, watch: bool, as_json: bool) -> None:  # noqa: FBT001
    """Show one batch, or the latest batches."""
    if batch_id is None:
        _print_batches(client.batches(), as_json=as_json)
        return
    batch = client.batch(batch_id)
    if watch:
        batch = _watch(client, batch_id)
    _print_batch(batch, as_json=as_json)
    sys.exit(_exit_code(batch))


@click.command()
@click.argument("batch_id")
@click.option("--errors", is_flag=True, help="The requests that failed, instead of the answers.")
@click.option("--merged", is_flag=True, help="Of a retry: with the answers of the batches before.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="File to write to."
)
@connects
def results(
    client: "Client",
    batch_id: str,
    errors: bool,  # noqa: FBT001
    merged: bool,  # noqa: FBT001
    output: Path | None,
) -> None:
    """Write a batch's results, in input order; of a running batch, those that are in.

    A Message Batch has one file of results, once it has ended.
    """
    wanted = "x_merged_file_id" if merged else "output_file_id"
    chunks = _results(client, batch_id, "error_file_id" if errors else wanted)
    if output is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
        return
    try:
        _write_whole(chunks, output)
    except OSError as error:
        fail(f"The results can't be written: {reason(error)}", NOT_COMPLETED)


def _results(client: "Client", batch_id: str, wanted: str) -> Iterator[bytes]:
    """The content of the file that this member of the batch names."""
    batch = client.batch(batch_id)
    if batch.get("type") == "message_batch":  # it came through Anthropic's API
        if wanted != "output_file_id":
            fail("A Message Batch has one file of results: leave out the option.", NOT_COMPLETED)
        if batch["results_url"] is None:
            fail(f"{batch_id} is {batch['status']} and has no results.", NOT_COMPLETED)
        return client.results(batch_id)
    file_id = batch[wanted]
    if file_id is None:
        fail(f"{batch_id} is {batch['status']} and has no such results.", NOT_COMPLETED)
    return client.content(file_id)


def _write_whole(chunks: Iterable[bytes], target: Path) -> None:
    """Write a file that is there whole, or not at all."""
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@click.command()
@click.argument("batch_id")
@as_json_option
@connects
def cancel(client: "Client", batch_id: str, as_json: bool) -> None:  # noqa: FBT001
    """Stop a batch; what has finished is kept."""
    _print_batch(client.cancel(batch_id), as_json=as_json)


@click.command()
@click.argument("batch_id")
@click.argument("custom_ids", nargs=-1)
@click.option("--watch", is_flag=True, help="Stay, and show the progress.")
@click.option("--window", help="Time it may take; that of the batch if none is given.")
@as_json_option
@connects
def retry(
    client: "Client",
    batch_id: str,
    custom_ids: tuple[str, ...],
    watch: bool,  # noqa: FBT001
    window: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Run again what failed in a batch, or only the requests with these CUSTOM_IDS."""
    fields: dict[str, Any] = {"request_ids": list(custom_ids)} if custom_ids else {}
    if window is not None:
        fields["completion_window"] = window
    batch = client.retry(batch_id, **fields)
    if watch:
        batch = _watch(client, batch["id"])
    _print_batch(batch, as_json=as_json)
    sys.exit(_exit_code(batch) if watch else OK)


@click.command()
@click.argument("batch_id")
@as_json_option
@connects
def pause(client: "Client", batch_id: str, as_json: bool) -> None:  # noqa: FBT001
    """Start nothing more of a batch until it is resumed; its deadline goes on."""
    _print_batch(client.pause(batch_id), as_json=as_json)


@click.command()
@click.argument("batch_id")
@as_json_option
@connects
def resume(client: "Client", batch_id: str, as_json: bool) -> None:  # noqa: FBT001
    """Let a paused batch go on."""
    _print_batch(client.resume(batch_id), as_json=as_json)


def _watch(client: "Client", batch_id: str) -> dict[str, Any]:
    """Show the progress of a batch until it has ended."""
    from rich.console import Console  # slow to import, as the next

    from backburner_local import progress

    return progress.show(client.watch(batch_id), Console(stderr=True))


def _print_batch(batch: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(batch))
        return
    counts = batch["request_counts"]
    click.echo(
        f"{batch['id']}  {_state(batch)}  {counts['completed']} completed,"
        f" {counts['failed']} failed, {counts['total']} in all"
    )
    progress = batch.get("x_progress") or {}
    if progress.get("percent", 100) < 100:
        click.echo(f"  {_progress(progress)}")
    errors = (batch.get("errors") or {}).get("data", [])
    for error in errors[:20]:
        where = f"line {error['line']}: " if error.get("line") else ""
        click.echo(f"  {where}{error['message']} ({error['code']})", err=True)
    if len(errors) > 20:
        click.echo(f"  … and {len(errors) - 20} more", err=True)


def _progress(progress: dict[str, Any]) -> str:
    """What is known of how far a batch is, in one line."""
    parts = (
        ("percent", "{} %"),
        ("lines_per_s", "{} requests/s"),
        ("tokens", "{} tokens"),
        ("cost_so_far", "{} USD"),
        ("queue_position", "{} shards before it"),
        ("eta", "ends about {}"),
    )
    known = ((form, progress.get(name)) for name, form in parts)
    return ", ".join(form.format(value) for form, value in known if value is not None)


def _state(batch: dict[str, Any]) -> str:
    return "paused" if batch.get("x_paused") else str(batch["status"])


def _print_batches(batches: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(batches))
        return
    from rich.console import Console  # slow to import
    from rich.table import Table

    table = Table("batch", "status", "done", "failed", "all", box=None, header_style="bold")
    for batch in batches:
        counts = batch["request_counts"]
        values = (counts["completed"], counts["failed"], counts["total"])
        table.add_row(batch["id"], _state(batch), *map(str, values))
    Console().print(table)


def _exit_code(batch: dict[str, Any]) -> int:
    if batch["status"] in ("failed", "expired", "cancelled"):
        return NOT_COMPLETED
    is_partial = batch["status"] == "completed" and batch["request_counts"]["failed"]
    return SOME_FAILED if is_partial else OK
