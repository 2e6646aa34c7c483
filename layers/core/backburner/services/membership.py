"""Who travels in a bundle."""

from collections.abc import Iterator

from backburner.domain.bundle import Bundle, Member
from backburner.domain.shard import AttemptRef, Shard, ShardStatus
from backburner.ports import Environment
from backburner.services import records


def load(env: Environment, ref: AttemptRef) -> Bundle | None:
    """The bundle, as long as anyone may still bring a result of it."""
    (item,) = env.store.get(records.shard_key(ref.tenant, ref.batch_id, ref.shard_id))
    return records.to_bundle(item) if item is not None else None


def of(env: Environment, shard: Shard) -> Bundle | None:
    """The bundle that the shard travels in."""
    if shard.bundle is None:
        return None
    (item,) = env.store.get(records.bundle_key(shard.tenant, shard.bundle))
    return records.to_bundle(item) if item is not None else None


def members(env: Environment, bundle: Bundle) -> Iterator[tuple[Member, int, Shard | None]]:
    """Each member, the number of its first request in the bundle, and its shard as it is now."""
    tenant = bundle.shard.tenant
    items = env.store.get(
        *(records.shard_key(tenant, one.batch_id, one.shard_id) for one in bundle.members)
    )
    for (member, first), item in zip(bundle.numbered(), items, strict=True):
        yield member, first, records.to_shard(item) if item is not None else None


def is_current(bundle: Bundle, shard: Shard | None) -> bool:
    """Whether the shard is on its way in the bundle."""
    return (
        shard is not None
        and shard.status is ShardStatus.IN_FLIGHT
        and shard.bundle == bundle.shard.batch_id
    )


def current(env: Environment, bundle: Bundle) -> list[Shard]:
    """Members that are on their way in the bundle."""
    found = [shard for _, _, shard in members(env, bundle)]
    return [shard for shard in found if shard is not None and is_current(bundle, shard)]
