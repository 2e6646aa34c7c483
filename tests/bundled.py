"""Worlds in which small shards travel together."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Fewer, Jobs
from backburner.domain.shard import Cut, Shard
from backburner.domain.slots import tenant_cap
from backburner.services import batches
from tests.backend import Submission
from tests.world import LIMITS, MemoryWorld, World, a_catalog, a_model, a_world_in_memory

WIDE = Cut(lines=100, bytes=100_000, tokens=10**9)
JOBS = Jobs(
    model_id="vendor.model-v1:0", least_lines=6, fewer=Fewer.COMBINE, combine_seconds=1800.0
)


#: Of the slots of jobs, those that a tenant may have.
CAP = tenant_cap(capacity=JOBS.usual_slots, share=LIMITS.tenant_share)


def behind_endpoint() -> AbstractContextManager[MemoryWorld]:
    return a_world_in_memory(catalog=a_catalog(a_model(cut=WIDE, slots=1)))


def as_jobs() -> AbstractContextManager[MemoryWorld]:
    model = a_model(endpoint="", jobs=JOBS, cut=WIDE, slots=1000)
    return a_world_in_memory(catalog=a_catalog(model))


def waiting_behind(world: World, count: int) -> list[Batch]:
    """Single requests that wait as another one has the only slot, which is freed then."""
    first = world.respond("first")
    some = [world.respond(f"r{number}") for number in range(count)]
    world.answer()
    world.pump()
    assert world.batch(first).status is BatchStatus.COMPLETED
    return some


def the_bundle(world: World) -> Submission:
    (attempt,) = world.outstanding
    assert is_bundle(attempt.shard.batch_id)
    return attempt


def statuses(world: World, some: list[Batch]) -> list[BatchStatus]:
    return [world.batch(one).status for one in some]


def shard_of(world: World, batch: Batch) -> Shard:
    return world.shards(batch)[-1]


def leaving(
    world: World, some: list[Batch], *, moment: str = "after", transaction: int = 1
) -> Callable[[int, str, str], None]:
    """These are cancelled as soon as they are claimed, or at another moment."""
    seen: list[int] = []

    def leave(call: int, at: str, name: str) -> None:
        if (at, name) == (moment, "store.transact"):
            seen.append(call)
            for one in some if len(seen) == transaction else ():
                batches.cancel(world.untapped, "acme", one.id, kind=one.kind)

    return leave


def lose_requests(world: World, batch: Batch) -> None:
    (shard,) = world.shards(batch)
    assert shard.input_key is not None
    world.blobs.delete(shard.input_key)
