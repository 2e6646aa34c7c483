"""Show how a batch gets on: a bar with rate and time left."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(TextColumn):
    """Requests a second over the last moments."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.0f}/s" if speed else "-/s", style="progress.data.speed")


def show(batches: Iterable[dict[str, Any]], console: Console) -> dict[str, Any]:
    """Draw the progress of a batch that is watched; returns it as it ended."""
    batch: dict[str, Any] = {}
    bar = Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]}"),
        console=console,
    )
    with bar:
        task = bar.add_task("", total=None, failed="")
        for batch in batches:
            counts = batch["request_counts"]
            bar.update(
                task,
                description=batch["status"],
                total=counts["total"] or None,
                completed=counts["completed"] + counts["failed"],
                failed=f"{counts['failed']} failed" if counts["failed"] else "",
            )
    return batch
