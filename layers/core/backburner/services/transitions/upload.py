"""An upload's way from its creation to a file."""

from collections.abc import Mapping

from backburner.domain.file import StoredFile
from backburner.domain.upload import Upload, UploadStatus
from backburner.ports import Absent, Below, Condition, Is, Put, Update, Write
from backburner.services import records

_PENDING = Is("status", UploadStatus.PENDING)


def create(upload: Upload) -> list[Write]:
    """Take parts from now on."""
    key = records.upload_key(upload.tenant, upload.id)
    return [Put(key, records.upload_item(upload), when=(Absent(),))]


def receive(upload: Upload, size: int, *, below: int) -> list[Write]:
    """A part came; only if fewer than so many bytes did before."""
    return [_update(upload, {}, _PENDING, Below("received", below), add={"received": size})]


def complete(upload: Upload, file: StoredFile, *, parts_digest: str) -> list[Write]:
    """Pending → completed, with its file."""
    changes = {"status": UploadStatus.COMPLETED.value, "parts_digest": parts_digest}
    return [
        _update(upload, changes, _PENDING),
        Put(records.file_key(file.tenant, file.id), records.file_item(file), when=(Absent(),)),
        Update(records.usage_key(file.tenant), add={"stored_bytes": file.size}),
    ]


def close(upload: Upload, status: UploadStatus) -> list[Write]:
    """Pending → cancelled or expired."""
    return [_update(upload, {"status": status.value}, _PENDING)]


def cleaned_up(upload: Upload) -> list[Write]:
    """Nothing is left of its parts: reap need not look at it any more."""
    return [_update(upload, {"due_key": None, "due_sort": None}, Is("id", upload.id))]


def _update(
    upload: Upload,
    changes: Mapping[str, str | None],
    *when: Condition,
    add: Mapping[str, int] | None = None,
) -> Update:
    key = records.upload_key(upload.tenant, upload.id)
    return Update(key, set=changes, add=add or {}, when=when)
