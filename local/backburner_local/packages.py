"""A model's artifact put where an endpoint loads it from: into a bucket, or into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

import msgspec

from backburner.domain.errors import NotFound
from backburner.ports import Blobs
from backburner_model.packaging import MANIFEST, Artifact, Entry, UnfitModel

_CHUNK_BYTES = 8 * 1024 * 1024

Tell = Callable[[str], object]


class Packed(msgspec.Struct, frozen=True):
    """What is known about a file that has arrived."""

    size: int
    sha256: str


def upload(artifact: Artifact, blobs: Blobs, prefix: str, *, tell: Tell) -> int:
    """Send what is not there yet, and see in the end that all of it is.

    Args:
        artifact: What to send.
        blobs: The bucket.
        prefix: Ends in a slash.
        tell: Given a line for each file.

    Returns:
        Bytes that were sent.

    Raises:
        UnfitModel: the prefix holds files of something else, or something did not arrive.
    """
    there = {stat.key.removeprefix(prefix): stat.size for stat in blobs.list(prefix)}
    _refuse_strangers(artifact, prefix, there.keys())
    packed = {name: one for name, one in _manifest(blobs, prefix).items() if name in there}
    sent = 0
    for entry in artifact.entries:
        known = packed.get(entry.name)
        if known and known.size == entry.size == there[entry.name] and _is_same(entry, known):
            tell(f"there already  {entry.name}")
            continue
        packed[entry.name] = _send(entry, blobs, prefix)
        # After each file, so that a run that was cut off goes on where it was.
        blobs.put(prefix + MANIFEST, msgspec.json.encode(packed), content_type="application/json")
        tell(f"sent           {entry.name}  {entry.size:,} bytes")
        sent += entry.size
    _check_arrival(artifact, blobs, prefix)
    return sent


def write_folder(artifact: Artifact, folder: Path, *, tell: Tell) -> None:
    """Lay the artifact out in a new folder, without links.

    Raises:
        UnfitModel: something is in the folder already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UnfitModel(f"{folder} is not empty.")
    for entry in artifact.entries:
        target = folder / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with entry.source.open("rb") as source, target.open("xb") as file:
            _copy(source, file)
        tell(f"written  {entry.name}  {entry.size:,} bytes")


def from_hub(reference: str) -> Path:
    """The folder of `owner/name` or `owner/name@revision`, downloaded into the hub's own cache.

    Raises:
        UnfitModel: that is no name.
        OSError: the hub can't be reached, does not have it, or does not give it.
    """
    from huggingface_hub import snapshot_download  # slow to import: only when needed

    repository, _, revision = reference.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None))
    except ValueError as error:
        raise UnfitModel(str(error)) from error


def _refuse_strangers(artifact: Artifact, prefix: str, there: Collection[str]) -> None:
    strangers = sorted(set(there) - {entry.name for entry in artifact.entries} - {MANIFEST})
    if strangers:
        raise UnfitModel(
            f"{prefix} holds {len(strangers)} files that are not of this model, such as"
            f" {strangers[0] or 'a folder marker'}: instances would load them too. Take a prefix of"
            " its own for each model and version."
        )


def _manifest(blobs: Blobs, prefix: str) -> dict[str, Packed]:
    try:
        return msgspec.json.decode(blobs.get(prefix + MANIFEST), type=dict[str, Packed])
    except (NotFound, msgspec.DecodeError):
        return {}


def _is_same(entry: Entry, known: Packed) -> bool:
    with entry.source.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest() == known.sha256


def _send(entry: Entry, blobs: Blobs, prefix: str) -> Packed:
    with entry.source.open("rb") as source, blobs.write(prefix + entry.name) as target:
        return Packed(entry.size, _copy(source, target))


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy in constant memory; returns the checksum of what was copied."""
    checksum = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        checksum.update(chunk)
        target.write(chunk)
    return checksum.hexdigest()


def _check_arrival(artifact: Artifact, blobs: Blobs, prefix: str) -> None:
    there = {stat.key.removeprefix(prefix): stat.size for stat in blobs.list(prefix)}
    missing = [one.name for one in artifact.entries if there.get(one.name) != one.size]
    if missing:
        raise UnfitModel(f"Not everything arrived: {', '.join(missing[:5])}. Run it again.")
    _refuse_strangers(artifact, prefix, there.keys())
