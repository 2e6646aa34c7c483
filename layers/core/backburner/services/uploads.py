"""Large files that come in parts, and become files once they are whole."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backburner.domain.errors import (
    Busy,
    Conflict,
    InvalidRequest,
    NotFound,
    Rejected,
    StateConflict,
)
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.upload import Upload, UploadStatus
from backburner.ports import BlobStat, Environment
from backburner.services import files, records
from backburner.services.once import Note
from backburner.services.transitions import upload as transitions

#: Bytes read at a time.
_CHUNK = 1024 * 1024
#: Most parts of one file: with 4 MiB each, 40 GB.
MAX_PARTS = 10_000
#: Most parts that are joined at once where time is short: S3 is asked for each, twice.
_JOINED_PARTS = 128

PREFIX = "uploads/"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """What a client asks for; checked already."""

    size: int
    filename: str
    purpose: FilePurpose
    mimetype: str
    #: Seconds that the file is kept; None: as long as the operator keeps files.
    file_expires_seconds: float | None = None


def create(env: Environment, tenant: str, new: NewUpload, *, note: Note | None = None) -> Upload:
    """Take parts of a file from now on, for an hour; raises Conflict if the note was there."""
    now = env.clock.now()
    expires_at = now + env.limits.upload_seconds
    kept = env.limits.record_seconds
    upload = Upload(
        tenant=tenant,
        id=env.ids.new("upload"),
        size=new.size,
        filename=new.filename,
        purpose=new.purpose,
        mimetype=new.mimetype,
        created_at=now,
        expires_at=expires_at,
        file_expires_seconds=new.file_expires_seconds,
        file_id=env.ids.new("file"),
        ttl=math.ceil(expires_at + kept) if kept else None,
    )
    env.store.transact(*transitions.create(upload), *([note(upload)] if note is not None else []))
    return upload


def find(env: Environment, tenant: str, upload_id: str) -> Upload:
    """The tenant's upload; raises NotFound."""
    (item,) = env.store.get(records.upload_key(tenant, upload_id))
    if item is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="id")
    return records.to_upload(item)


def find_pending(env: Environment, tenant: str, upload_id: str) -> Upload:
    """The upload, if it can still be completed; raises NotFound or StateConflict."""
    upload = find(env, tenant, upload_id)
    status = upload.status_at(env.clock.now())
    if status is not UploadStatus.PENDING:
        raise _ended(status)
    return upload


def find_open(env: Environment, tenant: str, upload_id: str) -> Upload:
    """The upload, if it takes another part; raises NotFound or StateConflict."""
    upload = find_pending(env, tenant, upload_id)
    if upload.received >= _most_received(upload):
        raise StateConflict(
            f"The upload was created for {upload.size} bytes, and has got {upload.received}.",
            param="id",
        )
    return upload


def part_id(sha256: str) -> str:
    """The name of what has this hash: sent twice, it is the same part."""
    return f"part_{sha256[:40]}"


def part_key(upload: Upload, part: str) -> str:
    return f"{_prefix(upload)}parts/{part}"


def receive(env: Environment, upload: Upload, part: str, size: int) -> None:
    """Count a part whose object is there already.

    Raises:
        StateConflict: the upload has ended meanwhile, or got too much; the object is gone.
    """
    try:
        env.store.transact(*transitions.receive(upload, size, below=_most_received(upload)))
    except Conflict:
        env.blobs.delete(part_key(upload, part))
        find_open(env, upload.tenant, upload.id)
        raise


def complete(
    env: Environment, tenant: str, upload_id: str, parts: Sequence[str], *, md5: str | None = None
) -> tuple[Upload, StoredFile | None]:
    """Make a file of the parts, in this order. Asked for again, the answer is the same.

    Args:
        env: the world.
        tenant: whose it is.
        upload_id: of the upload.
        parts: ids, in the order of their bytes; others that came are left out.
        md5: of the whole, in hexadecimal digits; None: it is not checked.

    Returns:
        The upload, and its file unless that was deleted since.

    Raises:
        Busy: it takes longer than one call may; ask again.
        InvalidRequest: a part is missing, or the whole is not what was announced.
        NotFound: the tenant has no such upload.
        StateConflict: it was cancelled, expired, or was completed with other parts.
    """
    digest = _digest(parts)
    if not _is_done(find(env, tenant, upload_id), digest):
        try:
            _complete(env, find_pending(env, tenant, upload_id), parts, digest, md5)
        except (Conflict, Rejected):
            seen = find(env, tenant, upload_id)
            if seen.status_at(env.clock.now()) is UploadStatus.PENDING:
                raise
            if not _is_done(seen, digest):  # else another call was faster
                env.blobs.delete(*_objects(env, seen))
                raise _ended(seen.status_at(env.clock.now())) from None
    upload = find(env, tenant, upload_id)
    env.blobs.delete(*_objects(env, upload))
    return upload, _file(env, upload)


def _complete(
    env: Environment, upload: Upload, parts: Sequence[str], digest: str, md5: str | None
) -> None:
    there = {stat.key: stat for stat in env.blobs.list(_prefix(upload))}
    target = _target(upload, digest)
    _join(env, upload, _in_order(upload, parts, there), there, target)
    _check_md5(env, target, md5)
    file = _new_file(env, upload, target)
    try:
        env.store.transact(*transitions.complete(upload, file, parts_digest=digest))
    except Conflict:
        if not _is_done(find(env, upload.tenant, upload.id), digest):
            env.blobs.delete(target)
        raise


def cancel(env: Environment, tenant: str, upload_id: str) -> Upload:
    """Take no more parts, and forget those that came; again is no error.

    Raises:
        NotFound: the tenant has no such upload.
        StateConflict: it was completed, or expired.
    """
    upload = find(env, tenant, upload_id)
    if upload.status is not UploadStatus.CANCELLED:
        try:
            upload = find_pending(env, tenant, upload_id)
            env.store.transact(*transitions.close(upload, UploadStatus.CANCELLED))
        except Conflict:
            return cancel(env, tenant, upload_id)
    env.blobs.delete(*_objects(env, upload))
    return find(env, tenant, upload_id)


def clean_up(env: Environment, upload: Upload) -> None:
    """Remove what is left of an upload whose time is over."""
    with suppress(Conflict):  # it ended before
        env.store.transact(*transitions.close(upload, UploadStatus.EXPIRED))
    ended = find(env, upload.tenant, upload.id)
    left = _objects(env, ended)
    # Whoever was completing it may have died, or have named other parts.
    left += [stat.key for stat in env.blobs.list(_target_prefix(ended))]
    kept = _target(ended, ended.parts_digest) if ended.parts_digest is not None else None
    env.blobs.delete(*[key for key in left if key != kept])
    env.store.transact(*transitions.cleaned_up(ended))


# ---------------------------------------------------------------- what was asked for


def _most_received(upload: Upload) -> int:
    """Bytes after which no more parts are taken: clients send each up to three times."""
    return 3 * upload.size


def _ended(status: UploadStatus) -> StateConflict:
    return StateConflict(f"The upload is {status}.", param="id")


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _is_done(upload: Upload, digest: str) -> bool:
    return upload.status is UploadStatus.COMPLETED and upload.parts_digest == digest


def _in_order(upload: Upload, parts: Sequence[str], there: dict[str, BlobStat]) -> list[BlobStat]:
    """The objects of the parts; raises InvalidRequest unless they are whole."""
    stats: list[BlobStat] = []
    for number, part in enumerate(parts):
        stat = there.get(part_key(upload, part))
        if stat is None:
            raise InvalidRequest(
                f"'part_ids.{number}': the upload has no part '{part}'.",
                param=f"part_ids.{number}",
            )
        stats.append(stat)
    size = sum(stat.size for stat in stats)
    if size != upload.size:
        raise InvalidRequest(
            f"The parts have {size} bytes together; the upload was created for {upload.size}.",
            param="part_ids",
        )
    return stats


def _check_md5(env: Environment, key: str, md5: str | None) -> None:
    """Raise InvalidRequest if the object is not what was announced.

    It stays: another call may have made it the file just now. Reap removes what nobody names.
    """
    if md5 is None:
        return
    found = hashlib.md5(usedforsecurity=False)
    with env.blobs.read(key) as stream:
        while data := stream.read(_CHUNK):
            found.update(data)
    if found.hexdigest() != md5.lower():
        raise InvalidRequest(
            f"'md5' is {md5}, but that of the parts together is {found.hexdigest()}.", param="md5"
        )


# ---------------------------------------------------------------- joining


def _join(
    env: Environment,
    upload: Upload,
    parts: Sequence[BlobStat],
    there: dict[str, BlobStat],
    target: str,
) -> None:
    """Make one object of the parts.

    S3 copies parts of 5 MiB and more by itself. Smaller ones have to be read and sent, and a
    function can't even take one of 5 MiB: where time is short, they are joined by groups, and a
    call that runs out of time leaves what it has joined to the next.
    """
    whole = env.blobs.stat(target)
    if whole is not None and whole.size == upload.size:  # its name says that it is these parts
        return
    seconds = env.limits.joining_seconds
    ends_at = env.clock.now() + seconds if seconds else math.inf
    joined: list[str] = []
    for group in _groups(parts, env.limits.joined_bytes) if seconds else [list(parts)]:
        keys = [stat.key for stat in group]
        key = keys[0] if len(keys) == 1 else f"{_prefix(upload)}joined/{_digest(keys)}"
        if len(parts) == len(group):  # there is but one group
            joined = keys
            break
        if len(keys) > 1 and key not in there:
            _check_time(env, ends_at)
            env.blobs.compose(key, keys)
        joined.append(key)
    _check_time(env, ends_at)
    env.blobs.compose(target, joined)


def _groups(parts: Sequence[BlobStat], least: int) -> Iterator[list[BlobStat]]:
    """Neighbours that have so many bytes together, or are as many as one call can join."""
    group: list[BlobStat] = []
    size = 0
    for part in parts:
        group.append(part)
        size += part.size
        if size >= least or len(group) == _JOINED_PARTS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _check_time(env: Environment, ends_at: float) -> None:
    if env.clock.now() >= ends_at:
        raise Busy("The parts are being joined: ask again.", retry_after_seconds=1)


def _new_file(env: Environment, upload: Upload, key: str) -> StoredFile:
    now = env.clock.now()
    kept = upload.file_expires_seconds or env.limits.output_expires_seconds
    return StoredFile(
        tenant=upload.tenant,
        id=upload.file_id,
        filename=upload.filename,
        purpose=upload.purpose,
        size=upload.size,
        mimetype=upload.mimetype,
        created_at=now,
        expires_at=now + kept if kept else None,
        key=key,
    )


def _file(env: Environment, upload: Upload) -> StoredFile | None:
    try:
        return files.find(env, upload.tenant, upload.file_id)
    except NotFound:
        return None


# ---------------------------------------------------------------- objects


def _prefix(upload: Upload) -> str:
    return f"{PREFIX}{upload.tenant}/{upload.id}/"


def _target_prefix(upload: Upload) -> str:
    return f"{files.blob_key(upload.tenant, upload.file_id)}-"


def _target(upload: Upload, digest: str) -> str:
    """The object that the file will have: its name also says which parts it is made of."""
    return f"{_target_prefix(upload)}{digest[:16]}"


def _objects(env: Environment, upload: Upload) -> list[str]:
    return [stat.key for stat in env.blobs.list(_prefix(upload))]
