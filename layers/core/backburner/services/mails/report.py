"""What a mail says of one batch: counts, times, reasons and links, nothing of its content."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from backburner.domain import budget, reasons
from backburner.domain.batch import Batch, BatchKind, BatchStatus, StopReason
from backburner.domain.delivery import Delivery
from backburner.domain.errors import NotFound
from backburner.ports import Environment
from backburner.services import files, links

#: Where one is found.
_ROUTES = {
    BatchKind.FILE: "batches",
    BatchKind.MESSAGES: "messages/batches",
    BatchKind.RESPONSE: "responses",
    BatchKind.REQUEST: "requests",
}

_OUTCOMES = {
    BatchStatus.COMPLETED: "Completed",
    BatchStatus.FAILED: "Failed",
    BatchStatus.EXPIRED: "Expired",
    BatchStatus.CANCELLED: "Cancelled",
}

#: Most characters of a name: subjects are cut after about 60 on phones.
_NAME_LENGTH = 60

_SHOWN_REASONS = 3

#: Reports of one mail that are shown whole; of the others, a line. Gmail cuts mails at 102 KB.
SHOWN_WHOLE = 12


class Tone(StrEnum):
    """How good the news is."""

    #: All requests succeeded.
    GOOD = "good"
    #: Some failed.
    MIXED = "mixed"
    #: It did not come to its end.
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why requests failed."""

    count: int
    code: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where something can be read."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is told of one batch."""

    #: How it ended, such as `Completed with failures`.
    outcome: str
    #: What its owner calls it.
    name: str
    #: The counts in a few words; empty: there is but one request.
    summary: str
    tone: Tone
    #: Label and value.
    rows: tuple[tuple[str, str], ...]
    reasons: tuple[Reason, ...]
    #: To files; anyone may follow them until `expires`.
    files: tuple[Link, ...] = ()
    expires: str = ""
    #: What needs an API key.
    status: Link

    @property
    def title(self) -> str:
        return f"{self.outcome}: {self.name}"

    @property
    def subject(self) -> str:
        return f"{self.title} ({self.summary})" if self.summary else self.title


def of(env: Environment, batch: Batch, told: Delivery) -> Report:
    """The report of a batch, the same on every attempt."""
    url = f"{env.public_url}/v1/{_ROUTES[batch.kind]}/{batch.id}"
    expires_at = _links_expire_at(env, batch, told)
    found = tuple(_files(env, batch, expires_at)) if expires_at > env.clock.now() else ()
    return Report(
        outcome=_outcome(batch),
        name=_name(env, batch),
        summary=_summary(batch),
        tone=_tone(batch),
        rows=tuple(_rows(batch)),
        reasons=tuple(
            Reason(count=count, code=code, words=reasons.words(code))
            for code, count in list(reasons.most(batch.reasons).items())[:_SHOWN_REASONS]
        ),
        files=found,
        expires=_day(expires_at) if found else "",
        status=Link(label="Status", url=url),
    )


def _tone(batch: Batch) -> Tone:
    if batch.status is not BatchStatus.COMPLETED:
        return Tone.BAD
    return Tone.MIXED if batch.failed else Tone.GOOD


def _outcome(batch: Batch) -> str:
    outcome = _OUTCOMES[batch.status]
    if batch.status is BatchStatus.COMPLETED and batch.stopping is StopReason.BUDGET:
        return f"{outcome}, budget used up"
    if batch.status is BatchStatus.COMPLETED and batch.failed:
        return f"{outcome} with failures"
    return outcome


def _summary(batch: Batch) -> str:
    if batch.is_single:
        return ""
    if not batch.total:
        return "the input was not accepted" if batch.reasons else "not started"
    if batch.completed == batch.total:
        return f"{number(batch.total)} {'request' if batch.total == 1 else 'requests'}"
    return f"{number(batch.completed)} of {number(batch.total)} succeeded"


def _rows(batch: Batch) -> Iterator[tuple[str, str]]:
    if batch.total and not batch.is_single:
        yield "Succeeded", f"{number(batch.completed)} of {number(batch.total)}"
        yield "Failed", number(batch.failed)
    yield "Duration", duration((batch.ended_at or batch.created_at) - batch.created_at)
    if batch.is_priced:
        yield "Cost", money(batch.cost_nanos)
    if batch.model is not None:
        yield "Model", plain(batch.model)
    yield batch.kind.noun.capitalize(), batch.id


def _name(env: Environment, batch: Batch) -> str:
    """The metadata's `name`, else that of the file that it came from, else its id."""
    given = batch.metadata.get("name") or _file_name(env, batch)
    return plain(given, _NAME_LENGTH) or f"{batch.kind.noun} {batch.id}"


def _file_name(env: Environment, batch: Batch) -> str:
    if batch.dropped_key is not None:
        return batch.dropped_key.rpartition("/")[2]
    if batch.input_file_id is None or batch.is_inline:
        return ""
    try:
        filename = files.find(env, batch.tenant, batch.input_file_id).filename
    except NotFound:  # deleted, or expired
        return ""
    return filename.replace("\\", "/").rpartition("/")[2]


def _files(env: Environment, batch: Batch, expires_at: float) -> Iterator[Link]:
    found = [("Results", batch.output_file_id), ("Errors", batch.error_file_id)]
    if batch.merged_file_id is not None:
        found.append(("All answers, with those of earlier batches", batch.merged_file_id))
    for label, file_id in found:
        if file_id is not None:
            url = links.to_file(env, batch.tenant, file_id, expires_at=expires_at)
            yield Link(label=label, url=url)


def _links_expire_at(env: Environment, batch: Batch, told: Delivery) -> float:
    """No later than the files; an instant that has passed: there are no links."""
    kept = batch.output_expires_seconds or env.limits.output_expires_seconds
    seconds = min(env.limits.link_seconds, kept or env.limits.link_seconds)
    return told.created_at + seconds if seconds else 0.0


# ---------------------------------------------------------------- as people write it


def plain(text: str, length: int = 200) -> str:
    """The text as one line that shows as it reads, and is no header of its own.

    Whatever does not print goes: line ends of any kind, marks that turn the direction of reading.
    `=?` would begin an encoded word; `://` a link, for which names are no place.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line.replace("=?", "= ?").replace("://", ": //")
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def number(count: int) -> str:
    """`1,000`."""
    return f"{count:,}"


def money(nanos: int) -> str:
    """Billionths of a dollar as `$1.23`; less than a cent with two digits that count."""
    dollars = nanos / budget.NANOS
    if 0 < dollars < 0.01:
        return f"${dollars:.2g}" if dollars >= 0.0001 else "less than $0.0001"
    return f"${dollars:,.2f}"


def duration(seconds: float) -> str:
    """A span as people write it: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _day(instant: float) -> str:
    """`29 November 2026, 14:05 UTC`."""
    at = datetime.fromtimestamp(int(instant), UTC)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
