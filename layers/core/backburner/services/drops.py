"""The drop folder: an object put there becomes a batch."""

from pathlib import PurePosixPath

from backburner.domain.batch import Batch
from backburner.domain.errors import Conflict, NotFound, Rejected, TooLarge
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.finding import Finding
from backburner.ports import Absent, BlobStat, Environment, Put
from backburner.services import batches, files, mirror, records, submit


def take(env: Environment, blob_key: str) -> Batch | None:
    """Make a batch of a dropped object.

    The same content under the same key is taken once, however often its event comes. The object
    is copied first: what is done to it later changes nothing.

    Returns:
        The batch, or None: not for us, gone, taken already, or rejected.
    """
    path = PurePosixPath(blob_key)
    is_ours = blob_key.startswith(mirror.DROP) and not path.name.startswith(".")
    if not is_ours or path.suffix != ".jsonl":
        return None
    stat = env.blobs.stat(blob_key)
    tenant = env.drop_tenant
    once = records.drop_key(tenant, blob_key, stat.etag if stat else "")
    if stat is None or env.store.get(once) != [None]:
        return None
    if stat.size > env.limits.file_bytes:
        _reject(env, blob_key, TooLarge(f"A file has at most {env.limits.file_bytes} bytes."))
        return None
    file = _copy(env, stat)
    if file is None:
        return None
    new = submit.NewBatch(
        input_file_id=file.id,
        route="/v1/chat/completions",
        metadata={"dropped": path.name[:512]},
        dropped_key=blob_key,
    )
    try:
        return submit.submit_batch(
            env,
            tenant,
            new,
            note=lambda batch: Put(once, {"batch_id": batch.id}, when=(Absent(),)),
        )
    except Conflict:
        (taken,) = env.store.get(once)
        batch = batches.load(env, tenant, str(taken["batch_id"])) if taken else None
        if batch is None or batch.input_file_id != file.id:
            files.forget(env, file)
        if batch is None:  # nobody took it: S3 tells again
            raise
    except Rejected as error:
        _reject(env, blob_key, error)
    return None


def _copy(env: Environment, seen: BlobStat) -> StoredFile | None:
    """A file with the content that was seen, or None: it is gone."""
    tenant, file_id = env.drop_tenant, env.ids.new("file")
    copied = files.blob_key(tenant, file_id)
    try:
        size = env.blobs.copy(seen.key, copied).size
    except NotFound:
        return None
    after = env.blobs.stat(seen.key)
    if after is not None and after.etag != seen.etag:  # replaced: an event of its own comes
        env.blobs.delete(copied)
        return None
    kept = env.limits.output_expires_seconds
    return files.add(
        env,
        tenant,
        file_id=file_id,
        filename=PurePosixPath(seen.key).name,
        purpose=FilePurpose.BATCH,
        size=size,
        expires_at=env.clock.now() + kept if kept else None,
    )


def _reject(env: Environment, blob_key: str, error: Rejected) -> None:
    finding = Finding(code=error.code or "rejected", message=error.message)
    mirror.reject(env, blob_key, [finding])
