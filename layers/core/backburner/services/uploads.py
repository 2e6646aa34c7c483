"""The drop folder: an object put there becomes a batch."""

from pathlib import PurePosixPath

from backburner.domain.batch import Batch
from backburner.domain.errors import Conflict, NotFound, Rejected
from backburner.domain.file import FilePurpose
from backburner.domain.finding import Finding
from backburner.ports import Environment
from backburner.services import files, mirror, records, submit


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
    once = records.upload_key(tenant, f"{blob_key}#{stat.etag}" if stat else "")
    if stat is None or env.store.get(once) != [None]:
        return None
    file_id = env.ids.new("file")
    try:
        size = env.blobs.copy(blob_key, files.blob_key(tenant, file_id)).size
    except NotFound:
        return None
    file = files.add(
        env,
        tenant,
        file_id=file_id,
        filename=path.name,
        purpose=FilePurpose.BATCH,
        size=size,
    )
    new = submit.NewBatch(
        input_file_id=file_id,
        route="/v1/chat/completions",
        metadata={"dropped": path.name[:512]},
        dropped_key=blob_key,
    )
    try:
        return submit.submit_batch(env, tenant, new, once=once)
    except Conflict:  # the event came twice at once
        files.forget(env, file)
    except Rejected as error:
        finding = Finding(code=error.code or "rejected", message=error.message)
        mirror.reject(env, blob_key, [finding])
    return None
