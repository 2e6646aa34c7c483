"""The manifest: the shards that a batch was cut into, as an object beside their requests."""

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.shard import Shard
from backburner.ports import Environment


def save(env: Environment, batch: Batch, planned: list[Shard]) -> None:
    """Write the manifest; the same file and catalog give the same manifest."""
    env.blobs.put(_key(batch), msgspec.json.encode(planned), content_type="application/json")


def load(env: Environment, batch: Batch) -> list[Shard]:
    """The planned shards, all as they were before the first was claimed; none if never planned."""
    if batch.planned_shards == 0:
        return []
    return msgspec.json.decode(env.blobs.get(_key(batch)), type=list[Shard])


def skipped_key(batch: Batch) -> str:
    """Object with the outcomes of the lines that were skipped as invalid."""
    return batch.blob_prefix + "results/skipped.jsonl"


def _key(batch: Batch) -> str:
    return batch.blob_prefix + "manifest.json"
