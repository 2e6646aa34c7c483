"""A bundle: small shards of one tenant and one model that travel to their backend as one.

It is one invocation or one job, and takes one slot. Its members stay shards of their batches: each
is claimed, counted, ended and tried again for itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import msgspec

from backburner.domain.catalog import Fewer, Jobs, Model
from backburner.domain.request import Instant
from backburner.domain.shard import AttemptRef, Shard

#: What ids of bundles begin with: they stand where the id of a shard's batch does.
PREFIX = "bundle"

#: Most members: their names are kept in one item.
MOST_MEMBERS = 200

#: Most bytes of requests behind an endpoint: they travel in the call itself, which takes 128,000
#: (API reference, InvokeEndpointAsync, Body), with their numbers, which may be longer there.
MOST_BYTES = 100_000

#: Most requests of small batches in a job, and most tokens of these: their answers are to fit into
#: its result (Limits.result_bytes), with 12 KB each where they name no limit.
MOST_COMBINED = 4000
MOST_COMBINED_TOKENS = 12_000_000

#: Shards that travel as one; mostly it is one.
Load = tuple[Shard, ...]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's attempt that travels in a bundle."""

    batch_id: str
    shard_id: str
    attempt: int
    line_count: int


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """What travels, and what of."""

    #: As its backend sees it: a shard of the members' requests, numbered from 1.
    shard: Shard
    members: tuple[Member, ...]

    def ref(self, member: Member) -> AttemptRef:
        return AttemptRef(
            tenant=self.shard.tenant,
            batch_id=member.batch_id,
            shard_id=member.shard_id,
            attempt=member.attempt,
        )

    def numbered(self) -> Iterator[tuple[Member, int]]:
        """Each member, and the number of its first request in the bundle."""
        first = 1
        for member in self.members:
            yield member, first
            first += member.line_count


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """The most that travels as one."""

    lines: int
    bytes: int
    tokens: int


def is_bundle(batch_id: str) -> bool:
    """Whether this is the id of a bundle, in place of a batch's."""
    return batch_id.startswith(f"{PREFIX}_")


def is_small(shard: Shard, place: Model) -> bool:
    """Whether the shard may share a slot with others.

    Behind an endpoint that is a shard with room beside it, whose requests are at hand. What has
    failed once travels alone: it may be what made its attempt fail, and its neighbours' with it.
    """
    if shard.is_raw or shard.is_alone or not shard.size:
        return False
    if place.jobs is not None:
        return place.jobs.fewer is Fewer.COMBINE and shard.line_count < place.jobs.least_lines
    is_new = shard.attempt == 0 and shard.failed_at is None
    return is_new and shard.input_inline is not None and shard.line_count < place.cut.lines


#: Where shards of one pool run: several names may share one.
PlaceOf = Callable[[Shard], Model]


def loads(queue: Sequence[Shard], place_of: PlaceOf, *, free: int, now: Instant) -> list[Load]:
    """What is sent as one, in the queue's order.

    Args:
        queue: waiting shards of a pool, in their order.
        place_of: their models on the pool's backend.
        free: slots.
        now: the instant of sending.
    """
    if not queue:
        return []
    if place_of(queue[0]).has_jobs:
        return _combined(queue, place_of, now)
    return _shared(queue, place_of, free)


def _shared(queue: Sequence[Shard], place_of: PlaceOf, free: int) -> list[Load]:
    """Where more shards wait than slots are free, small ones share these evenly."""
    if len(queue) <= free:
        return [(shard,) for shard in queue]
    small = sum(shard.line_count for shard in queue if is_small(shard, place_of(shard)))
    most = ceil(small / max(1, free))

    def room(place: Model) -> _Room:
        cut = place.cut
        lines, size = min(cut.lines, most), min(cut.bytes, MOST_BYTES)
        return _Room(lines=lines, bytes=size, tokens=cut.tokens)

    return _gathered(queue, place_of, room)


def _combined(queue: Sequence[Shard], place_of: PlaceOf, now: Instant) -> list[Load]:
    """Small shards wait until they are enough for a job, or must go."""

    def room(place: Model) -> _Room:
        # For the lines of any two, whatever the catalog says of the largest.
        cut, least = place.cut, place.jobs.least_lines if place.jobs is not None else 0
        lines = max(min(cut.lines, MOST_COMBINED), 2 * least)
        tokens = min(cut.tokens, MOST_COMBINED_TOKENS)
        return _Room(lines=lines, bytes=cut.bytes, tokens=tokens)

    return [
        load for load in _gathered(queue, place_of, room) if _may_go(load, place_of(load[0]), now)
    ]


def _may_go(load: Load, place: Model, now: Instant) -> bool:
    jobs = place.jobs
    if jobs is None or not is_small(load[0], place):
        return True
    is_enough = sum(shard.line_count for shard in load) >= jobs.least_lines
    return is_enough or any(now >= latest_start(shard, jobs) for shard in load)


def _gathered(
    queue: Sequence[Shard], place_of: PlaceOf, room: Callable[[Model], _Room]
) -> list[Load]:
    """The shards, small ones with others of their tenant and model, as far as there is room."""
    gathered: list[_Filling] = []
    open_ones: dict[tuple[str, str], _Filling] = {}
    for shard in queue:
        place = place_of(shard)
        whose = (shard.tenant, shard.model)
        filling = open_ones.get(whose) if is_small(shard, place) else None
        if filling is None or not filling.has_room(shard, room(place)):
            filling = _Filling()
            gathered.append(filling)
            if is_small(shard, place):
                open_ones[whose] = filling
        filling.add(shard)
    return [tuple(filling.shards) for filling in gathered]


@dataclass(slots=True)
class _Filling:
    """A load that may get more."""

    shards: list[Shard] = field(default_factory=list)
    lines: int = 0
    bytes: int = 0
    tokens: int = 0

    def has_room(self, shard: Shard, room: _Room) -> bool:
        return (
            len(self.shards) < MOST_MEMBERS
            and self.lines + shard.line_count <= room.lines
            and self.bytes + shard.size <= room.bytes
            and self.tokens + shard.tokens <= room.tokens
        )

    def add(self, shard: Shard) -> None:
        self.shards.append(shard)
        self.lines += shard.line_count
        self.bytes += shard.size
        self.tokens += shard.tokens


def latest_start(shard: Shard, jobs: Jobs) -> Instant:
    """When a small shard waits for no others any more."""
    waited = max(shard.created_at, shard.failed_at or 0.0) + jobs.combine_seconds
    return min(waited, shard.deadline - jobs.usual_seconds)
