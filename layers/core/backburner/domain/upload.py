"""An upload: a large file that comes in parts. A reservation: room for the body of a request."""

from dataclasses import dataclass
from enum import StrEnum

from backburner.domain.file import FilePurpose
from backburner.domain.request import Instant


class UploadStatus(StrEnum):
    """Where an upload stands; the words are OpenAI's."""

    #: Parts may come.
    PENDING = "pending"
    #: Its parts became a file.
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    #: It was not completed in time.
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One upload of one tenant.

    Its parts are objects, named by what is in them: one that is sent twice is the same part.
    """

    tenant: str
    id: str
    status: UploadStatus = UploadStatus.PENDING
    #: Bytes that the parts must have together.
    size: int
    filename: str
    purpose: FilePurpose
    #: What the client says that the file is.
    mimetype: str
    created_at: Instant
    #: When parts may not come any more.
    expires_at: Instant
    #: Seconds that the file is kept; None: as long as the operator keeps files.
    file_expires_seconds: float | None = None
    #: File that it becomes.
    file_id: str
    #: Bytes of all parts that came, those that came twice counted twice.
    received: int = 0
    #: SHA-256 of the ids of the parts that it was completed with.
    parts_digest: str | None = None
    #: Second of the epoch after which its record may vanish; None: never.
    ttl: int | None = None

    def status_at(self, now: Instant) -> UploadStatus:
        """Its status; one whose time is over is expired, whether anybody noted that or not."""
        if self.status is UploadStatus.PENDING and now >= self.expires_at:
            return UploadStatus.EXPIRED
        return self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Room for the body of one raw request, until the request is started."""

    tenant: str
    #: Of the request.
    id: str
    #: Bytes that are counted with the tenant's files.
    size: int
    #: When its room is given back, and what was put there is removed.
    expires_at: Instant
    #: Its body is being removed: the request can't be started any more.
    is_ending: bool = False
