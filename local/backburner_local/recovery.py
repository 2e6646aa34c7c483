"""After a crash: shards that were claimed but never reached the endpoint wait again.

On AWS nobody can tell such a shard from one whose result is late, so it waits for the end of its
lease. Here the emulator's queue tells.
"""

from collections.abc import Set as AbstractSet

from backburner.domain.shard import ShardStatus
from backburner.ports import AttemptState, Environment, Index
from backburner.services import records, sending

_PAGE = 100


def take_back(env: Environment, accepted: AbstractSet[str]) -> int:
    """Make shards in flight wait again that the endpoint does not know.

    Nothing may be sent to the endpoint, or told by it, meanwhile.

    Args:
        env: the world.
        accepted: attempts that the endpoint has accepted and not told of, as their inference ids.

    Returns:
        How many shards.
    """
    taken = 0
    after: str | None = None
    while True:
        items = env.store.query(records.DUE_SHARD, index=Index.DUE, after=after, limit=_PAGE)
        for item in items:
            after = str(item["due_sort"])
            shard = records.to_shard(item)
            model = env.catalog.get(shard.model)
            if model is None or shard.status is not ShardStatus.IN_FLIGHT:
                continue
            is_lost = str(shard.ref) not in accepted
            if is_lost and env.backends[model.backend].look(shard).state is AttemptState.UNKNOWN:
                sending.give_back(env, shard, pause=0.0)
                taken += 1
        if len(items) < _PAGE:
            return taken
