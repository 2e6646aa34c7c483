"""What has happened to a batch since a watcher saw it last."""

import re
from dataclasses import dataclass
from enum import StrEnum

from backburner.domain.batch import TERMINAL, Batch, BatchStatus
from backburner.domain.request import Instant


class Kind(StrEnum):
    """What changed, where it was not the status."""

    PROGRESS = "progress"
    PAUSED = "paused"
    RESUMED = "resumed"


_MARK = re.compile(r"([a-z_]{1,20})-([0-9]{1,9})(-paused)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a watcher knows of a batch. Written as text, it says where to go on."""

    status: BatchStatus
    #: Requests that have ended.
    ended: int = 0
    paused: bool = False

    @classmethod
    def of(cls, batch: Batch) -> "Seen":
        return cls(
            status=batch.shown_status, ended=batch.completed + batch.failed, paused=batch.paused
        )

    @classmethod
    def parse(cls, text: str) -> "Seen | None":
        """What the text says; None if it is none of ours."""
        found = _MARK.fullmatch(text)
        if found is None or found[1] not in list(BatchStatus):
            return None
        return cls(status=BatchStatus(found[1]), ended=int(found[2]), paused=bool(found[3]))

    def __str__(self) -> str:
        return f"{self.status}-{self.ended}" + ("-paused" if self.paused else "")

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that happened."""

    #: A status, or what else changed.
    name: BatchStatus | Kind
    #: When the batch came into the status; None: between the last look and this one.
    at: Instant | None = None
    #: What the watcher knows once it was told.
    seen: Seen


def changes(batch: Batch, seen: Seen | None) -> list[Change]:
    """What a watcher has to be told, in order, to know the batch as it is.

    One that knows nothing is told where the batch stands; one that does, of each status since.

    Args:
        batch: as it is now.
        seen: what the watcher knows; None: nothing.
    """
    passed = _passed(batch)
    now = Seen.of(batch)
    known = next((n for n, (status, _) in enumerate(passed) if seen and status is seen.status), -1)
    if seen is None or known < 0:
        status, at = passed[-1]
        return [Change(name=status, at=at, seen=now)]
    told = [
        Change(name=status, at=at, seen=Seen(status=status, ended=seen.ended, paused=seen.paused))
        for status, at in passed[known + 1 : -1]
    ]
    if passed[known + 1 :]:
        status, at = passed[-1]
        return [*told, Change(name=status, at=at, seen=now)]
    if now.paused is not seen.paused:
        told.append(Change(name=Kind.PAUSED if now.paused else Kind.RESUMED, seen=now))
    if now.ended != seen.ended:
        told.append(Change(name=Kind.PROGRESS, seen=now))
    return told


def _passed(batch: Batch) -> list[tuple[BatchStatus, Instant | None]]:
    """Statuses that the batch has come through as clients see them, the present one last."""
    way = (
        (BatchStatus.VALIDATING, batch.created_at),
        (BatchStatus.IN_PROGRESS, batch.in_progress_at),
        (BatchStatus.CANCELLING, batch.cancelling_at),
        (BatchStatus.FINALIZING, batch.finalizing_at if batch.cancelling_at is None else None),
        (batch.status, batch.ended_at if batch.is_terminal else None),
    )
    known = sorted((at, place, status) for place, (status, at) in enumerate(way) if at is not None)
    passed: list[tuple[BatchStatus, Instant | None]] = [(status, at) for at, _, status in known]
    if passed[-1][0] is not batch.shown_status:
        passed.append((batch.shown_status, None))
    return passed
