"""The manifest: the shards that a batch was cut into, as an object beside their requests."""

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.shard import Shard
from backburner.ports import Environment

_NAME = "manifest.json"


def save(env: Environment, prefix: str, planned: list[Shard]) -> None:
    """Write the manifest of one run of planning."""
    data = msgspec.json.encode(planned)
    env.blobs.put(prefix + _NAME, data, content_type="application/json")


def load(env: Environment, batch: Batch) -> list[Shard]:
    """The planned shards, all as they were before the first was claimed; none if never planned."""
    if batch.plan_prefix is None:
        return []
    return msgspec.json.decode(env.blobs.get(batch.plan_prefix + _NAME), type=list[Shard])


def skipped_key(prefix: str) -> str:
    """Object with the outcomes of the lines that were skipped as invalid."""
    return prefix + "skipped.jsonl"
