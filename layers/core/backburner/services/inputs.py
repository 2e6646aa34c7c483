"""The requests of a batch that runs, by line."""

from collections import OrderedDict

from backburner.domain.batch import Batch
from backburner.domain.shard import Shard, root_id
from backburner.ports import Environment
from backburner.services import batches, shard_lines

#: Shards whose requests are held at once: neighbours in a file are of one, or of one each model.
_HELD = 8


class Inputs:
    """Finds requests where planning put them; those of few shards are in memory at once."""

    def __init__(self, env: Environment, batch: Batch) -> None:
        self._env = env
        self._planned = [one for one in batches.shards(env, batch) if one.id == root_id(one)]
        self._held: OrderedDict[str, dict[int, bytes]] = OrderedDict()

    def find(self, line: int) -> bytes | None:
        """The line of a shard's input, or None: it never was one.

        Raises:
            NotFound: the batch ended, and its objects are gone.
        """
        for held in self._held.values():
            if line in held:
                return held[line]
        for shard in self._planned:
            if shard.first_line <= line <= shard.last_line and shard.id not in self._held:
                held = self._read(shard)
                if line in held:
                    return held[line]
        return None

    def _read(self, shard: Shard) -> dict[int, bytes]:
        head = self._env.shards.head
        held = {head(line)[0]: line for line in shard_lines.request_lines(self._env, shard)}
        self._held[shard.id] = held
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return held
