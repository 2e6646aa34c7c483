"""What a gateway's batches and models are doing: looked at again and again, and shown."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backburner_local.client import ENDED, ApiError, Client, Unreachable

Object = dict[str, Any]

#: Widths from which on there is room for all columns, for whole ids, and for more than the least.
_WIDE, _MEDIUM, _NARROW = 100, 80, 52
#: Characters of an id that tell batches apart where there is no room for more.
_SHORT_ID = 8

_STYLES = {
    "completed": "green",
    "failed": "red",
    "expired": "yellow",
    "cancelled": "yellow",
    "paused": "magenta",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one look found. A table, as wide and high as there is room for."""

    url: str
    at: float
    models: list[Object] = field(default_factory=list)
    batches: list[Object] = field(default_factory=list)
    #: Why there is nothing newer; None: this is new.
    problem: str | None = None

    def to_json(self) -> Object:
        return {"at": int(self.at), "models": self.models, "batches": self.batches}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        yield _head(self, width)
        yield ""
        yield _models(self.models)
        yield ""
        rows = max(1, (options.height or console.height) - len(self.models) - 6)
        hidden = len(self.batches) - rows
        yield _batches(self.batches[: rows - 1 if hidden > 0 else rows], self.at, width)
        if hidden > 0:
            yield Text(f" … and {hidden + 1} more", style="dim")
        if not self.batches:
            yield Text(" No batches yet.", style="dim")


def views(client: Client, *, every_seconds: float, limit: int) -> Iterator[View]:
    """Look again and again; once it was there, a gateway that does not answer is waited for.

    Raises:
        ApiError: the key is not good.
        Unreachable: nothing answered the first time.
    """
    view = look(client, limit=limit)
    while True:
        yield view
        time.sleep(every_seconds)
        try:
            view = look(client, limit=limit)
        except Unreachable:
            view = replace(view, problem="No answer; trying again.")
        except ApiError as error:
            if error.status < 500 and error.status != 429:
                raise
            view = replace(view, problem=f"{error}")


def look(client: Client, *, limit: int) -> View:
    """What there is now: batches that run first, then the newest."""
    found = client.batches(limit) + client.message_batches(limit)
    found.sort(key=lambda batch: (batch["status"] in ENDED, -_seconds(batch["created_at"])))
    return View(
        url=str(client.http.base_url).rstrip("/"),
        at=time.time(),
        models=client.backlog(),
        batches=found[:limit],
    )


def changed_lines(view: View, told: dict[str, str]) -> Iterator[str]:
    """A line for each thing that changed since it was told last, for where no table can be.

    Args:
        view: what was found.
        told: what each was told to be; changed in place.
    """
    lines = [(model["id"], _model_line(model)) for model in view.models]
    lines += [(batch["id"], _batch_line(batch)) for batch in reversed(view.batches)]
    clock = datetime.fromtimestamp(view.at).astimezone().strftime("%H:%M:%S")
    for name, line in lines:
        if told.get(name) != line:
            told[name] = line
            yield f"{clock}  {line}"


def state(batch: Mapping[str, Any]) -> str:
    """Its status, or that it is paused."""
    return "paused" if batch.get("x_paused") else str(batch["status"])


def span(seconds: float) -> str:
    """A short span: `42 s`, `3 min`, `2 h 5 min`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _head(view: View, width: int) -> Text:
    clock = datetime.fromtimestamp(view.at).astimezone().strftime("%H:%M:%S")
    head = Text.assemble((f" {view.url}", "bold"), f"  {clock}")
    if view.problem is not None:
        head.append(f"  {view.problem}", style="red")
    head.truncate(width, overflow="ellipsis")
    return head


def _models(models: list[Object]) -> Table:
    table = _table("model")
    for title in ("instances", "waiting", "slots"):
        table.add_column(title, justify="right", no_wrap=True)
    for model in models:
        slots = f"{model['shards_in_flight']} of {model['slots']}"
        table.add_row(model["model"], _instances(model), f"{model['waiting_requests']:,}", slots)
    return table


def _instances(model: Object) -> str:
    count, most = model["instances"], model["max_instances"]
    if most is None:
        return "jobs"
    return f"{'?' if count is None else count} of {most}"


def _batches(batches: list[Object], now: float, width: int) -> Table:
    table = _table("batch")
    table.add_column("state", no_wrap=True)
    if width >= _WIDE:
        table.add_column("", width=20)
    table.add_column("done", justify="right", no_wrap=True)
    if width >= _NARROW:
        table.add_column("failed", justify="right", no_wrap=True)
        table.add_column("time", no_wrap=True)
    if width >= _WIDE:
        table.add_column("rate", justify="right", no_wrap=True)
    for batch in batches:
        table.add_row(*_row(batch, now, width))
    return table


def _row(batch: Object, now: float, width: int) -> Iterator[Any]:
    counts = batch["request_counts"]
    done, total = counts["completed"] + counts["failed"], counts["total"]
    shown = state(batch)
    yield batch["id"] if width >= _MEDIUM else f"…{batch['id'][-_SHORT_ID:]}"
    yield Text(shown, style=_STYLES.get(shown, "cyan"))
    if width >= _WIDE:
        yield ProgressBar(total=total or 1, completed=done, complete_style="cyan")
    yield _done(done, total, width)
    if width < _NARROW:
        return
    yield Text(f"{counts['failed']:,}", style="red" if counts["failed"] else "dim")
    yield _when(batch, now)
    if width >= _WIDE:
        rate = (batch.get("x_progress") or {}).get("lines_per_s")
        yield f"{rate:,.1f}/s" if rate is not None else ""


def _done(done: int, total: int, width: int) -> str:
    if not total:
        return "-"
    return f"{done:,}/{total:,}" if width >= _MEDIUM else f"{100 * done // total} %"


def _when(batch: Object, now: float) -> str:
    """When it will have ended, or how long it took, or how long it has been there."""
    began = _seconds(batch["created_at"])
    ended = next((batch[name] for name in _ENDS if batch.get(name)), None)
    if ended is not None:
        return f"took {span(_seconds(ended) - began)}"
    eta = (batch.get("x_progress") or {}).get("eta")
    if eta is not None:
        return f"{span(_seconds(eta) - now)} left"
    return f"for {span(now - began)}"


#: Members that say when a batch ended, in both APIs.
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at", "ended_at")


def _seconds(instant: float | str) -> float:
    """Seconds since the epoch, from either API's way to write an instant."""
    if isinstance(instant, str):
        return datetime.fromisoformat(instant).timestamp()
    return float(instant)


def _table(first: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=True, padding=(0, 1))
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    return table


def _model_line(model: Object) -> str:
    return (
        f"{model['model']}  {_instances(model)} instances"
        f"  {model['waiting_requests']} waiting"
        f"  {model['shards_in_flight']} of {model['slots']} slots"
    )


def _batch_line(batch: Object) -> str:
    counts = batch["request_counts"]
    done = counts["completed"] + counts["failed"]
    return f"{batch['id']}  {state(batch)}  {done}/{counts['total']}  {counts['failed']} failed"
