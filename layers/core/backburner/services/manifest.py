"""The manifest: the shards that a batch was cut into, as an object beside their requests."""

import msgspec

from backburner.domain.batch import Batch
from backburner.domain.errors import Lost
from backburner.domain.shard import Shard, root_id
from backburner.ports import Environment

_NAME = "manifest.json"


def save(env: Environment, prefix: str, planned: list[Shard]) -> None:
    """Write the manifest of one run of planning."""
    data = msgspec.json.encode(planned)
    env.blobs.put(prefix + _NAME, data, content_type="application/json")


def load(env: Environment, batch: Batch) -> list[Shard]:
    """The planned shards, all as they were before the first was claimed; none if never planned.

    Raises:
        NotFound: the manifest is gone.
        Lost: it can't be read.
    """
    if batch.plan_prefix is None:
        return []
    try:
        return msgspec.json.decode(env.blobs.get(batch.plan_prefix + _NAME), type=list[Shard])
    except msgspec.MsgspecError as error:
        raise Lost(f"The manifest of {batch.id} can't be read.") from error


def unreleased(env: Environment, batch: Batch, queued: list[Shard]) -> list[Shard]:
    """Planned shards that are not in the queue; where all are, nobody needs the manifest."""
    known = {root_id(shard) for shard in queued}
    if len(known) >= batch.planned_shards:
        return []
    return [shard for shard in load(env, batch) if shard.id not in known]


def skipped_key(prefix: str) -> str:
    """Object with the outcomes of the lines that were skipped as invalid."""
    return prefix + "skipped.jsonl"
