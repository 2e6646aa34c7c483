"""Files that tenants upload and batches write."""

from contextlib import suppress

from backburner.domain.batch import Batch
from backburner.domain.errors import Conflict, NotFound
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.quota import Quota
from backburner.ports import Absent, Delete, Environment, Is, Put
from backburner.services import quotas, records
from backburner.services.once import Note


def blob_key(tenant: str, file_id: str) -> str:
    return f"files/{tenant}/{file_id}"


def result_id(batch_id: str, name: str) -> str:
    """Id of a batch's `output` or `errors` file: known before the file is there."""
    return f"file-{batch_id.partition('_')[2]}-{name}"


def batch_id_of(file_id: str) -> tuple[str, str] | None:
    """Batch and `output` or `errors`, if the id is that of a result file."""
    prefix, dash, name = file_id.rpartition("-")
    if dash and name in ("output", "errors") and prefix.startswith("file-"):
        return f"batch_{prefix.removeprefix('file-')}", name
    return None


def add(
    env: Environment,
    tenant: str,
    *,
    file_id: str,
    filename: str,
    purpose: FilePurpose,
    size: int,
    line_count: int | None = None,
    sha256: str | None = None,
    expires_at: float | None = None,
    note: Note | None = None,
    quota: Quota | None = None,
) -> StoredFile:
    """Record a file whose content is at its blob key already.

    Args:
        env: the world.
        tenant: whose it is.
        file_id: a new id.
        filename: what the client calls it.
        purpose: what it is for.
        size: bytes of it.
        line_count: lines of it, where they were counted.
        sha256: hash of it, where that was made.
        expires_at: when it goes; None: never.
        note: written with the record, so that what it names is made only once.
        quota: of the tenant; None: whatever its size.

    Raises:
        Conflict: the note was there before.
        OverQuota: there is no room for it.
    """
    file = StoredFile(
        tenant=tenant,
        id=file_id,
        filename=filename,
        purpose=purpose,
        size=size,
        line_count=line_count,
        sha256=sha256,
        created_at=env.clock.now(),
        expires_at=expires_at,
        key=blob_key(tenant, file_id),
    )
    record = Put(records.file_key(tenant, file_id), records.file_item(file), when=(Absent(),))
    counted = quotas.store_file(tenant, size, quota=quota)
    try:
        env.store.transact(record, counted, *([note(file)] if note is not None else []))
    except Conflict:
        if quota is not None:
            quotas.check_room(env, tenant, size, quota)
        raise
    return file


def find(env: Environment, tenant: str, file_id: str, *, param: str = "file_id") -> StoredFile:
    """The tenant's file; raises NotFound."""
    (item,) = env.store.get(records.file_key(tenant, file_id))
    file = records.to_file(item) if item is not None else None
    if file is None or (file.expires_at is not None and file.expires_at <= env.clock.now()):
        raise NotFound(f"No such File object: {file_id}", param=param)
    return file


#: The file of a running batch: the batch, and whether it is its `output` or `errors`.
Running = tuple[Batch, str]


def find_or_running(env: Environment, tenant: str, file_id: str) -> StoredFile | Running:
    """The file, or the batch that still writes it; raises NotFound."""
    with suppress(NotFound):
        return find(env, tenant, file_id)
    # The batch may end between the two looks, and the file be there then.
    return _running(env, tenant, file_id) or find(env, tenant, file_id)


def got_no_line(env: Environment, tenant: str, file_id: str) -> bool:
    """Whether it was shown while its batch ran, and the batch has ended without a line for it."""
    batch, name = _writer(env, tenant, file_id) or (None, "")
    if batch is None or not batch.is_terminal or batch.plan_prefix is None:
        return False
    return (batch.output_file_id if name == "output" else batch.error_file_id) is None


def _running(env: Environment, tenant: str, file_id: str) -> Running | None:
    found = _writer(env, tenant, file_id)
    if found is None or found[0].is_terminal:
        return None
    return found if file_id in (found[0].output_file_id, found[0].error_file_id) else None


def _writer(env: Environment, tenant: str, file_id: str) -> Running | None:
    """The batch whose result file has this id, and which of the two it is."""
    named = batch_id_of(file_id)
    if named is None:
        return None
    (item,) = env.store.get(records.batch_key(tenant, named[0]))
    return (records.to_batch(item), named[1]) if item is not None else None


def page(
    env: Environment,
    tenant: str,
    *,
    after: str | None,
    limit: int,
    newest_first: bool = True,
    purpose: str | None = None,
) -> tuple[list[StoredFile], bool]:
    """Files of a tenant, and whether there are more."""
    found: list[StoredFile] = []
    now = env.clock.now()
    while True:
        items = env.store.query(
            f"{tenant}/files", after=after, limit=limit + 1, newest_first=newest_first
        )
        for file in map(records.to_file, items):
            after = file.id
            if (purpose is None or file.purpose == purpose) and not (
                file.expires_at is not None and file.expires_at <= now
            ):
                found.append(file)
        if len(items) <= limit or len(found) > limit:
            return found[:limit], len(found) > limit


def delete(env: Environment, tenant: str, file_id: str) -> None:
    """Remove a file; raises NotFound. A batch that is reading it goes on with its shards."""
    file = find(env, tenant, file_id)
    forget(env, file)


def forget(env: Environment, file: StoredFile) -> None:
    """Remove the record first: what is left after a crash is an object that nobody can name."""
    with suppress(Conflict):  # it is gone, and not counted any more
        env.store.transact(
            Delete(records.file_key(file.tenant, file.id), when=(Is("id", file.id),)),
            quotas.store_file(file.tenant, -file.size),
        )
    if file.key is not None:
        env.blobs.delete(file.key)
