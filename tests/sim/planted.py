"""Faults to plant: stores that forget a condition of a transition, as a change of code might."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from backburner.domain.shard import ShardStatus
from backburner.ports import Below, Check, Condition, Is, Item, Key, Missing, Store, Update, Write
from tests.sim.scenes import is_way

#: Whether a write has a condition that is forgotten.
Forgotten = Callable[[Write, Condition], bool]


@dataclass
class ForgetfulStore:
    """A store that forgets some conditions."""

    store: Store
    forgets: Forgotten

    def get(self, *keys: Key) -> list[Item | None]:
        return self.store.get(*keys)

    def query(self, partition: str, **options: Any) -> list[Item]:
        return self.store.query(partition, **options)

    def transact(self, *writes: Write) -> None:
        self.store.transact(*map(self._without, writes))

    def _without(self, write: Write) -> Write:
        left = tuple(one for one in write.when if not self.forgets(write, one))
        return replace(write, when=left)


def _way(into: ShardStatus, *names: str) -> Forgotten:
    """Of a shard's way into a state, what it insists on of these attributes."""
    return lambda write, condition: (
        is_way(write, into) and isinstance(condition, Is) and condition.name in names
    )


def _slot(*, is_share: bool) -> Forgotten:
    """Of what takes a slot: that there is one, in the pool or in the tenant's share of it."""
    return lambda write, condition: (
        write.key.partition.endswith("pools")
        and (write.key.partition == "pools") is not is_share
        and isinstance(condition, Below)
        and condition.name == "in_flight"
    )


def _batch(*names: str) -> Forgotten:
    """Of a claim, what it insists on of its batch."""
    return lambda write, condition: (
        (isinstance(write, Check) or _counts_lines(write))
        and isinstance(condition, Is | Missing)
        and condition.name in names
    )


def _counts_lines(write: Write) -> bool:
    return isinstance(write, Update) and set(write.add) == {"running_lines"}


PLANTED: dict[str, Forgotten] = {
    "claim: a slot of the pool": _slot(is_share=False),
    "claim: a slot of the tenant": _slot(is_share=True),
    "claim: status": _way(ShardStatus.IN_FLIGHT, "status"),
    "claim: attempt": _way(ShardStatus.IN_FLIGHT, "attempt"),
    "claim: the batch runs": _batch("status", "stopping"),
    "claim: the batch is not stopping": _batch("stopping"),
    "claim: the batch is not paused": _batch("paused"),
    "finish: status": _way(ShardStatus.DONE, "status"),
    "finish: attempt": _way(ShardStatus.DONE, "attempt"),
    "finish: status and attempt": _way(ShardStatus.DONE, "status", "attempt"),
    "wait again: status": _way(ShardStatus.WAITING, "status"),
    "wait again: attempt": _way(ShardStatus.WAITING, "attempt"),
    "set aside: status": _way(ShardStatus.PAUSED, "status"),
    "drop: status": _way(ShardStatus.DROPPED, "status"),
}
