"""Show the user of the drop folder what became of a dropped object, beside it."""

from dataclasses import asdict
from pathlib import PurePosixPath

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.errors import NotFound
from backburner.domain.finding import Finding
from backburner.ports import Environment
from backburner.services import files

DROP, RESULTS, REJECTED = "drop/", "results/", "rejected/"


def publish(env: Environment, ended: Batch) -> None:
    """Put a dropped batch's results under `results/`, before it is told as ended."""
    if ended.dropped_key is None:
        return
    target = PurePosixPath(RESULTS + ended.dropped_key.removeprefix(DROP))
    if ended.output_file_id is not None:
        env.blobs.copy(files.blob_key(ended.tenant, ended.output_file_id), str(target))
    if ended.error_file_id is not None:
        errors = target.with_name(f"{target.stem}.errors{target.suffix}")
        env.blobs.copy(files.blob_key(ended.tenant, ended.error_file_id), str(errors))


def reject(env: Environment, dropped_key: str | None, found: list[Finding]) -> None:
    """Put a dropped object that can't be run under `rejected/`, with the reasons beside it."""
    if dropped_key is None:
        return
    target = REJECTED + dropped_key.removeprefix(DROP)
    reasons = {"file": dropped_key, "errors": [asdict(finding) for finding in found]}
    env.blobs.put(
        target + ".error.json",
        msgspec.json.format(msgspec.json.encode(reasons), indent=2) + b"\n",
        content_type="application/json",
    )
    try:
        env.blobs.copy(dropped_key, target)
    except NotFound:  # its user removed it meanwhile
        return
