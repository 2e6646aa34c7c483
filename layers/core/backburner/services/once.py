"""Requests that create something and may come twice: the second gets what the first got.

A client that lost an answer asks again. What the first request made is noted in the transaction
that makes it, so that no crash can part the two, and no lock can be left behind. Of two requests
at once, one commits; the other finds its note and answers the same.

A request is known by the key that its client chose, or else by all that it says. Without a key the
same may be asked for twice on purpose, so only what calls itself a retry looks for the first.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from backburner.domain.errors import Conflict, KeyReused
from backburner.domain.request import Instant
from backburner.ports import Absent, Condition, Environment, Is, Item, Key, Missing, Put
from backburner.services import records

#: How long a key is remembered, and for how long a retry without one finds the first request.
KEY_SECONDS, RETRY_SECONDS = 86400.0, 600.0

#: Others may note the same between a look and a write: once the note that was there is too old to
#: count, and once more while that is found out.
_TRIES = 3

T = TypeVar("T")

#: What the transaction that makes something writes beside it.
Note = Callable[[Any], Put]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that creates something, and by what it is known."""

    tenant: str
    #: Method and path.
    route: str
    #: Digest of all that it says.
    payload: str
    arrived_at: Instant
    #: The client's own key; None: it gave none.
    name: str | None = None
    #: Whether the client says that it asked before.
    is_retry: bool = False
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        by = ("body", self.payload) if self.name is None else ("key", self.name)
        digest = hashlib.sha256("\n".join((self.route, *by)).encode()).hexdigest()
        object.__setattr__(self, "key", records.once_key(self.tenant, digest))

    @property
    def may_repeat(self) -> bool:
        """Whether there may be a first one; if not, the store need not be asked."""
        return self.name is not None or self.is_retry

    @property
    def kept_seconds(self) -> float:
        return RETRY_SECONDS if self.name is None else KEY_SECONDS


def create(
    env: Environment,
    asked: Asked | None,
    make: Callable[[Note | None], T],
    read: Callable[[Item], T],
) -> tuple[T, bool]:
    """Make it, or return what the first such request made.

    Args:
        env: the world.
        asked: by what the request is known; None: nobody will ask again.
        make: makes it, and puts the note into the same transaction.
        read: the value of an item, as it was noted.

    Returns:
        The value, and whether an earlier request made it.

    Raises:
        Conflict: others were first at something else.
        KeyReused: the key was given to another request.
    """
    if asked is None:
        return make(None), False
    seen = _find(env, asked) if asked.may_repeat else None
    when = _unchanged(asked, seen)
    tries = 0
    while seen is None or not _is_first(env, asked, seen):
        try:
            return make(partial(_note, env, asked, when)), False
        except Conflict:
            tries += 1
            seen = _find(env, asked)
            if seen is None or tries == _TRIES:
                raise
            when = Is("id", seen["id"])
    return read(seen["value"]), True


def _find(env: Environment, asked: Asked) -> Item | None:
    (seen,) = env.store.get(asked.key)
    return seen


def _is_first(env: Environment, asked: Asked, seen: Item) -> bool:
    """Whether the request was made before; raises KeyReused if its key was given to another."""
    if env.clock.now() >= seen["at"] + asked.kept_seconds:
        return False
    if asked.name is not None and seen["payload"] != asked.payload:
        raise KeyReused
    # A retry may overtake what it repeats: that comes late, and finds a note from after its start.
    return asked.may_repeat or bool(seen["at"] >= asked.arrived_at)


def _unchanged(asked: Asked, seen: Item | None) -> Condition:
    """What holds as long as no other such request is noted."""
    if seen is not None:
        return Is("id", seen["id"])
    return Absent() if asked.may_repeat else Missing("is_retry")


def _note(env: Environment, asked: Asked, when: Condition, made: Any) -> Put:
    at = env.clock.now()
    item = {
        "id": made.id,
        "payload": asked.payload,
        "at": at,
        "value": records.accepted_item(made),
        "ttl": math.ceil(at + asked.kept_seconds),
        "is_retry": True if asked.is_retry else None,
    }
    return Put(asked.key, item, when=(when,))
