"""The folders of the bucket: who fills them."""

from backburner.domain.batch import Batch, BatchStatus
from backburner.services import batches, collect, files, mirror, uploads

_BATCH = Batch(
    tenant="acme",
    id="batch_1",
    status=BatchStatus.VALIDATING,
    route="/v1/chat/completions",
    completion_window="24h",
    created_at=0.0,
    expires_at=0.0,
)

#: Every prefix of the bucket that services and the endpoint write to, with what says so.
WRITTEN = {
    "files/": files.blob_key("acme", "file_1"),
    "batches/": _BATCH.blob_prefix,
    "errors/": batches.errors_key(_BATCH),
    "results/": mirror.RESULTS,
    "rejected/": mirror.REJECTED,
    "async/": collect.OUTPUT_PREFIX,
    "uploads/": uploads.PREFIX,
}
#: Those of users.
BROUGHT = {mirror.DROP, "models/"}
