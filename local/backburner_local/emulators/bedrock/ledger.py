"""What the model was paid for: the records that it answered, over all jobs and restarts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from backburner_local.emulators.bedrock.lines import open_lines, read_lines


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


#: Bytes after which a file is full: some hundred thousand records.
_FULL_BYTES = 64 * 1024 * 1024


class Ledger:
    """Two append-only files, which survive a kill of this process: the older one is full.

    What was before these is forgotten.
    """

    def __init__(self, path: Path, *, full_bytes: int = _FULL_BYTES) -> None:
        self._path = path
        self._older = path.with_suffix(".older.jsonl")
        self._full_bytes = full_bytes
        self._file = open_lines(path)

    def note(self, ran: Ran) -> None:
        if self._file.tell() >= self._full_bytes:
            self._file.close()
            self._path.replace(self._older)
            self._file = open_lines(self._path)
        self._file.write(msgspec.json.encode(ran) + b"\n")

    def ran(self) -> list[Ran]:
        """All of them that are known, oldest first."""
        return [_read(line) for path in (self._older, self._path) for line in read_lines(path)]

    def totals(self) -> Totals:
        ran = self.ran()
        return Totals(Counter(one.record_id for one in ran), Counter(one.content for one in ran))

    def close(self) -> None:
        self._file.close()


def digest(model_input: bytes | msgspec.Raw) -> str:
    """The same for bodies that mean the same."""
    body = msgspec.json.encode(msgspec.json.decode(model_input), order="sorted")
    return hashlib.sha256(body).hexdigest()[:16]
