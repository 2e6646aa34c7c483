"""A file that a tenant uploaded, or that a batch wrote."""

from dataclasses import dataclass
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
    created_at: Instant
    expires_at: Instant | None = None
    #: Object that the content is in; None while the batch that writes it still runs.
    key: str | None = None
    #: Batch that writes it.
    batch_id: str | None = None
