"""A file that a tenant uploaded, or that a batch wrote."""

from dataclasses import dataclass, field
from enum import StrEnum

from backburner.domain.request import Instant


class FilePurpose(StrEnum):
    """What a file is for."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of one tenant."""

    tenant: str
    id: str
    filename: str
    purpose: FilePurpose
    size: int
    mimetype: str = "application/jsonl"
    #: Lines in it, and the SHA-256 of its content in hexadecimal digits, where they are known.
    line_count: int | None = None
    sha256: str | None = None
    #: Where every so-manieth line begins, in bytes; empty: nobody noted it.
    line_starts: tuple[int, ...] = ()
    line_stride: int = 1
    created_at: Instant
    expires_at: Instant | None = None
    #: Object that the content is in; None while the batch that writes it still runs.
    key: str | None = None
    #: Batch that writes it.
    batch_id: str | None = None

    def place_of(self, line: int) -> tuple[int, int]:
        """A byte at which a line begins that is not behind this one (from 0), and how many before.

        Returns:
            The byte, and the number of lines from there to the one that is asked for.
        """
        if not self.line_starts:
            return 0, line
        number = min(line // self.line_stride, len(self.line_starts) - 1)
        return self.line_starts[number], line - number * self.line_stride


#: Line starts of a file that are noted at most: few enough to stand in its record.
_MOST_STARTS = 64


@dataclass(slots=True)
class LineStarts:
    """Notes where lines begin while a file is written: of more and more lines, fewer."""

    size: int = 0
    line_count: int = 0
    starts: list[int] = field(default_factory=list)
    stride: int = 1

    def add(self, size: int) -> None:
        """The next line has so many bytes."""
        if self.line_count % self.stride == 0:
            if len(self.starts) == _MOST_STARTS:
                del self.starts[1::2]
                self.stride *= 2
            if self.line_count % self.stride == 0:
                self.starts.append(self.size)
        self.line_count += 1
        self.size += size

    def add_lines(self, data: bytes, count: int) -> None:
        """These bytes are the next so many lines."""
        begin = 0
        while (passed := -self.line_count % self.stride) < count:
            noted = begin
            for _ in range(passed):
                noted = data.index(b"\n", noted) + 1
            end = data.index(b"\n", noted) + 1
            self.line_count += passed
            self.size += noted - begin
            self.add(end - noted)
            begin = end
            count -= passed + 1
        self.line_count += count
        self.size += len(data) - begin
