"""Scenes: what one begins with a shard, and what others do just before that takes effect."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backburner.domain.shard import ShardStatus
from backburner.ports import Item, Key, Put, Store, Update, Write


@dataclass(frozen=True, slots=True)
class Scene:
    """Acts by their names in a cast: see Rivals."""

    #: What happens first.
    first: tuple[str, ...]
    begun: str
    #: Where the shard is to go, and what others do before.
    into: ShardStatus
    others: tuple[str, ...]


CLAIM, END, AGAIN = ShardStatus.IN_FLIGHT, ShardStatus.DONE, ShardStatus.WAITING
DROP, ASIDE = ShardStatus.DROPPED, ShardStatus.PAUSED

SCENES = (
    # the last slot, and the last of a tenant's share
    Scene(("ask", "tell"), "dispatch", CLAIM, ("ask", "ask")),
    Scene(("ask", "tell"), "dispatch", CLAIM, ("ask", "ask")),
    Scene(("ask", "tell"), "ask", CLAIM, ("dispatch",)),
    Scene(("tell",), "ask", CLAIM, ("ask", "ask")),
    Scene(("own", "tell"), "dispatch", CLAIM, ("own",)),
    Scene(("tell",), "own", CLAIM, ("own",)),
    # a shard that is claimed, and is not what it was any more
    Scene(("ask", "tell"), "dispatch", CLAIM, ("dispatch", "late", "reap")),
    Scene(("late", "reap"), "dispatch", CLAIM, ("dispatch", "late", "reap")),
    Scene(("late", "reap"), "dispatch", CLAIM, ("tell",)),
    Scene(("late", "reap"), "dispatch", CLAIM, ("tell",)),
    Scene(("late", "reap"), "dispatch", CLAIM, ("cancelling",)),
    Scene(("late", "reap"), "dispatch", CLAIM, ("pause", "resume")),
    Scene(("late", "reap"), "dispatch", CLAIM, ("pausing",)),
    Scene(("late", "reap"), "dispatch", CLAIM, ("pausing",)),
    Scene(("late", "reap"), "dispatch", CLAIM, ("expire", "expiring")),
    Scene(("late", "reap"), "dispatch", CLAIM, ("expire", "expiring")),
    # two words of one attempt, or of two attempts
    Scene((), "tell", END, ("tell",)),
    Scene((), "tell", END, ("fail", "dispatch")),
    Scene((), "tell", END, ("cancel",)),
    Scene((), "fail", END, ("tell",)),
    Scene((), "fail", END, ("late", "reap", "dispatch")),
    Scene((), "fail", END, ("late", "reap", "dispatch")),
    Scene(("late", "reap"), "tell", END, ("dispatch",)),
    Scene(("late", "reap"), "tell", END, ("pause",)),
    # a lease that ends
    Scene(("late",), "reap", AGAIN, ("tell",)),
    Scene(("late",), "look", AGAIN, ("look", "dispatch")),
    Scene(("late",), "look", AGAIN, ("look", "dispatch")),
    # a batch that is paused, resumed, stopped
    Scene(("late", "reap"), "pause", ASIDE, ("tell",)),
    Scene(("late", "reap"), "pause", ASIDE, ("tell",)),
    Scene(("late", "reap"), "pause", ASIDE, ("resume",)),
    Scene(("late", "reap", "pause"), "resume", AGAIN, ("tell",)),
    Scene(("late", "reap", "pause"), "resume", AGAIN, ("pause",)),
    Scene(("late", "reap"), "cancel", DROP, ("tell",)),
    Scene(("late", "reap", "pause"), "cancel", DROP, ("tell",)),
)


class OvertakenStore:
    """A store that has others act before the first transaction that moves a shard so far."""

    def __init__(self, store: Store, into: ShardStatus, act: Callable[[], object]) -> None:
        self.store = store
        self._into = into
        self._act: Callable[[], object] | None = act

    def get(self, *keys: Key) -> list[Item | None]:
        return self.store.get(*keys)

    def query(self, partition: str, **options: Any) -> list[Item]:
        return self.store.query(partition, **options)

    def transact(self, *writes: Write) -> None:
        if self._act is not None and any(is_way(write, self._into) for write in writes):
            act, self._act = self._act, None
            act()
        self.store.transact(*writes)


def is_way(write: Write, into: ShardStatus) -> bool:
    """Whether the write moves a shard into the state."""
    if not write.key.sort.startswith("shard/"):
        return False
    match write:
        case Update():
            return write.set.get("status") == into
        case Put():
            return write.item.get("status") == into
        case _:
            return False
