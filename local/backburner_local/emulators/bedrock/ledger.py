"""What the model was paid for: every record that it answered, over all jobs and restarts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Ran(msgspec.Struct, frozen=True):
    """One record that the model answered."""

    job_id: str
    record_id: str
    #: Digest of its `modelInput`, whatever the order of its members.
    content: str


@dataclass(frozen=True, slots=True)
class Totals:
    """How often each record was answered; more than once means: paid twice."""

    by_record_id: Counter[str]
    by_content: Counter[str]


_read = msgspec.json.Decoder(Ran).decode


class Ledger:
    """An append-only file; survives a kill of this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)

    def note(self, job_id: str, record_id: str, model_input: object) -> None:
        self._file.write(msgspec.json.encode(Ran(job_id, record_id, digest(model_input))) + b"\n")

    def ran(self) -> list[Ran]:
        """All of them, oldest first."""
        lines = self._path.read_bytes().split(b"\n")
        return [_read(line) for line in lines if line]

    def totals(self) -> Totals:
        ran = self.ran()
        return Totals(Counter(one.record_id for one in ran), Counter(one.content for one in ran))

    def close(self) -> None:
        self._file.close()


def digest(model_input: object) -> str:
    """The same for bodies that mean the same."""
    body = msgspec.json.encode(model_input, order="sorted")
    return hashlib.sha256(body).hexdigest()[:16]
