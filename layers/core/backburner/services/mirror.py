"""Show the user of the drop folder what became of a dropped object, beside it."""

import hashlib
from dataclasses import asdict

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.errors import NotFound
from backburner.domain.finding import Finding
from backburner.ports import Environment
from backburner.services import files

DROP, RESULTS, REJECTED = "drop/", "results/", "rejected/"

#: Most bytes of a key (S3 user guide, "Naming Amazon S3 objects"), and of a file's name locally.
_KEY_BYTES, _NAME_BYTES = 1024, 255


def publish(env: Environment, ended: Batch) -> None:
    """Put a dropped batch's results under `results/`, before it is told as ended."""
    if ended.dropped_key is None:
        return
    stem, dot, suffix = ended.dropped_key.rpartition(".")
    for file_id, ending in (
        (ended.output_file_id, dot + suffix),
        (ended.error_file_id, f".errors{dot}{suffix}"),
    ):
        if file_id is not None:
            target = mirrored(stem, RESULTS, ending)
            env.blobs.copy(files.blob_key(ended.tenant, file_id), target)


def reject(env: Environment, dropped_key: str | None, found: list[Finding]) -> None:
    """Put a dropped object that can't be run under `rejected/`, with the reasons beside it."""
    if dropped_key is None:
        return
    reasons = {"file": dropped_key, "errors": [asdict(finding) for finding in found]}
    env.blobs.put(
        mirrored(dropped_key, REJECTED, ".error.json"),
        msgspec.json.format(msgspec.json.encode(reasons), indent=2) + b"\n",
        content_type="application/json",
    )
    try:
        env.blobs.copy(dropped_key, mirrored(dropped_key, REJECTED))
    except NotFound:  # its user removed it meanwhile
        return


def mirrored(dropped_key: str, folder: str, ending: str = "") -> str:
    """The key under another folder. One that would be too long is cut, and told apart by a hash.

    Args:
        dropped_key: of the dropped object, or its beginning.
        folder: that it is mirrored under.
        ending: that the key gets.
    """
    path, slash, name = dropped_key.removeprefix(DROP).rpartition("/")
    path = folder + path + slash
    room = min(_NAME_BYTES, _KEY_BYTES - len(path.encode())) - len(ending.encode())
    if len(name.encode()) > room:
        digest = "-" + hashlib.sha256(dropped_key.encode()).hexdigest()[:12]
        name = _cut(name, room - len(digest)) + digest
    if len((path + name + ending).encode()) > _KEY_BYTES:  # it is the path that is too long
        digest = hashlib.sha256(dropped_key.encode()).hexdigest()
        return f"{folder}{digest}{ending}"
    return path + name + ending


def _cut(text: str, size: int) -> str:
    """The text's beginning, of at most so many bytes."""
    return text.encode()[: max(0, size)].decode(errors="ignore")
