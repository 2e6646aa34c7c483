"""Small items under keys, and the vocabulary of their transactions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


class Key(NamedTuple):
    """Where an item lives. Items of one partition are sorted by `sort`, bytewise."""

    partition: str
    sort: str


#: One item: attribute name to str, int, float, bool, bytes, list or dict; None is never stored.
#: Names that begin with `~`, and `partition` and `sort`, are the store's own.
#:
#: `ttl` is for retention only: an item whose `ttl`, an int of seconds since the epoch, has passed
#: may vanish at any time later, from its indexes too. Until then it is there like any other.
Item = Mapping[str, Any]


class Index(StrEnum):
    """Sparse indexes: an item is in one if it has both of its attributes."""

    #: By `queue_key` and `queue_sort`: waiting shards of a pool, next one first.
    QUEUE = "queue"
    #: By `due_key` and `due_sort`: what reap must look at, soonest first.
    DUE = "due"


@dataclass(frozen=True, slots=True)
class Is:
    """The attribute exists and equals the value."""

    name: str
    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class IsIn:
    """The attribute exists and equals one of the values."""

    name: str
    values: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The attribute does not exist."""

    name: str


@dataclass(frozen=True, slots=True)
class Below:
    """The number is less than the limit; a missing attribute counts as 0."""

    name: str
    limit: float


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such item."""


Condition = Is | IsIn | Missing | Below | Absent


@dataclass(frozen=True, slots=True)
class Put:
    """Write the whole item, if all conditions hold for what is there."""

    key: Key
    item: Item
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """Change some attributes, if all conditions hold; makes the item if there is none.

    `set` with a None removes the attribute. `add` counts up from 0 where there is none.
    """

    key: Key
    set: Mapping[str, Any] = field(default_factory=dict)
    add: Mapping[str, int | float] = field(default_factory=dict)
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but insist that all conditions hold."""

    key: Key
    when: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the item, if all conditions hold; no error if there is none."""

    key: Key
    when: tuple[Condition, ...] = ()


Write = Put | Update | Check | Delete

#: Most writes in one transaction: DynamoDB's limit (API reference, TransactWriteItems).
MAX_WRITES = 100


class Store(Protocol):
    """Small items under keys, and transactions over them; no more than DynamoDB can keep.

    That is 400 KB an item, and numbers of 38 digits between 1e-130 and 1e126. Big things live in
    objects that items name.
    """

    def get(self, *keys: Key) -> list[Item | None]:
        """Read items, each as of its last committed transaction, in the order of the keys."""

    def query(
        self,
        partition: str,
        *,
        index: Index | None = None,
        prefix: str = "",
        after: str | None = None,
        up_to: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> list[Item]:
        """Read items of one partition in the order of their sort keys.

        Args:
            partition: of the table, or of the index.
            index: read an index instead; it may lag behind the table for a moment.
            prefix: only sort keys that start with it.
            after: only sort keys beyond this one, in the direction of reading; exclusive.
            up_to: only sort keys up to this one, in the direction of reading; inclusive.
            limit: most items returned. Fewer than `limit` means: there are no more.
            newest_first: read from the greatest sort key down.
        """

    def transact(self, *writes: Write) -> None:
        """Apply all writes, or none.

        On return they are durable. At most 100 writes, no key twice.

        Raises:
            Busy: the database has too much to do, or can't be written. It may have done it all
                the same: whoever tries again loads first.
            Conflict: a condition did not hold; nothing was written.
            ValueError: no store could do this: more than 100 writes, a key twice, a key or an item
                that is too long, a value that can't be stored, or a number added to a text.
        """
