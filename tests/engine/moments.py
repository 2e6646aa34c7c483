"""Moments of a run: all that a later step or the oracle can see, to go back to and to compare."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec

from tests.backend import Submission
from tests.engine.runs import Run
from tests.memory import Sent
from tests.world import MemoryWorld

_encoder: Final = msgspec.msgpack.Encoder()

Moment = list[Any]


def moment(run: Run) -> Moment:
    """The moment that the run is at."""
    return [_own(getattr(owner, name)) for owner, name in changing(run)]


def go_back(run: Run, to: Moment) -> None:
    for (owner, name), value in zip(changing(run), to, strict=True):
        if isinstance(value, dict):
            there = getattr(owner, name)
            there.clear()
            there.update(_own(value))
        else:
            setattr(owner, name, _own(value))


def digest(here: Moment) -> bytes:
    """The same for two moments only if nothing can tell them apart."""
    return hashlib.blake2b(_encoder.encode(here), digest_size=16).digest()


def changing(run: Run) -> Iterator[tuple[Any, str]]:
    """What changes while a run goes on. Metrics are not in it, as nothing looks at them."""
    world = run.world
    assert isinstance(world, MemoryWorld)
    for owner, names in (
        (run, ("acts", "events")),
        (world, ("told", "tenants", "accepted", "uploaded", "asked_again", "dropped")),
        (world, ("bodies", "removed")),
        (world.clock, ("_now",)),
        (world.ids, ("made",)),
        (world.store, ("violations",)),
        (world.items, ("partitions",)),
        (world.blobs, ("objects", "puts")),
        (world.queue, ("sent", "sends")),
        (world.mailer, ("sent",)),
        (world.receiver, ("posted",)),
        (world.backend, ("submissions", "errors", "stopped", "wakes", "violations")),
        (world.backend, ("instance_count", "rooms")),
        (world.untapped, ("known_keys", "slow_webhooks", "secrets")),
        (world.untapped.leases, ("of",)),
    ):
        for name in names:
            yield owner, name


def _own(value: Any) -> Any:
    """A copy. Items, objects, messages and events are replaced, never changed: they need none."""
    if isinstance(value, dict):
        return {name: _owned(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_owned(inner) for inner in value]
    return set(value) if isinstance(value, set) else value


def _owned(value: Any) -> Any:
    if isinstance(value, Submission):
        return replace(value, results=list(value.results))
    if isinstance(value, Sent):
        return replace(value)
    return value.copy() if isinstance(value, dict | list) else value
