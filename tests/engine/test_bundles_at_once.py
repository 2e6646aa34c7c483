"""Two handlers on one bundle, or on what may become one: whichever call the other falls between.

The second runs, start to end, between two port calls of the first. All such places are tried.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from backburner.domain.batch import Batch
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Fewer, Jobs
from backburner.domain.errors import BackendRefused, BackendThrottled, Conflict
from backburner.domain.shard import Cut
from backburner.ports import QueueName
from backburner.services import batches, claims, deletion, dispatch, pausing, sending
from tests import oracle
from tests.backend import Submission, by_name
from tests.tap import meanwhile
from tests.world import World, a_catalog, a_model, a_world_in_memory, chat

WIDE = Cut(lines=100, bytes=100_000, tokens=10**9)
JOBS = Jobs(
    model_id="vendor.model-v1:0",
    least_lines=4,
    usual_slots=3,
    fewer=Fewer.COMBINE,
    combine_seconds=120.0,
    timeout_seconds=1800.0,
)
PLACES = {
    "behind an endpoint": a_model(cut=WIDE, slots=3),
    "as jobs": a_model(endpoint="", jobs=JOBS, cut=WIDE, slots=3),
}
NAMES = ("r0", "r1", "r2", "r3")

#: Some 20 seconds in all; `tests/services/test_bundle*.py` have what was once found here.
pytestmark = pytest.mark.long

Act = Callable[[World], object]


def members(world: World) -> list[Batch]:
    """Those that wait, or travel, together, in order."""
    return [one for one in world.all_batches() if one.metadata.get("is") == "small"]


def waiting(world: World) -> None:
    """Four small ones wait, and slots are free."""
    if world.untapped.catalog.models["mistral"].has_jobs:
        for name in NAMES:
            lines = [chat(f"{name}-{number}") for number in (1, 2)]
            world.submit(lines, window="12h", metadata={"is": "small"})
        world.pump(QueueName.PLAN)
        return
    for name in ("f0", "f1", "f2"):
        world.respond(name, window="1h")
    for name in NAMES:
        world.respond(name, window="1h", metadata={"is": "small"})
    for attempt in world.outstanding[:2]:
        world.answer(attempt)


def travelling(world: World) -> None:
    waiting(world)
    do_dispatch(world)


def pool_of(world: World) -> str:
    return world.untapped.catalog.models["mistral"].pool


def bundles_of(world: World) -> list[Submission]:
    return [one for one in world.backend.submissions if is_bundle(one.shard.batch_id)]


def do_dispatch(world: World) -> None:
    dispatch.dispatch(world.env, pool_of(world))


def do_claim_one(world: World) -> None:
    """Another dispatcher, which saw less, takes the second of them alone."""
    (shard,) = world.shards(members(world)[1])
    model = world.untapped.catalog.models["mistral"]
    claimed = claims.claim(world.env, model, (shard,)).shard
    if claimed is not None:
        sending.send(world.env, claimed)


def do_cancel(world: World) -> None:
    one = members(world)[1]
    batches.cancel(world.env, one.tenant, one.id, kind=one.kind)


def do_delete(world: World) -> None:
    one = members(world)[1]
    if one.is_single:
        world.accepted.discard((one.tenant, one.id))
        with suppress(Conflict):
            deletion.delete(world.env, one.tenant, one.id, kind=one.kind)
    else:
        batches.cancel(world.env, one.tenant, one.id, kind=one.kind)


def do_pause(world: World) -> None:
    one = members(world)[1]
    if not one.is_single:
        with suppress(Exception):
            pausing.pause(world.env, one.tenant, one.id)


def expire(world: World) -> None:
    last = max(one.expires_at for one in members(world))
    world.clock.advance(max(0.0, last - world.clock.now()))
    world.reap()


def lease_ends(world: World) -> None:
    """The lease of the bundles ends, as nothing is told of them."""
    model = world.untapped.catalog.models["mistral"]
    ends_in = model.jobs.lease_seconds if model.jobs is not None else 400.0
    world.advance(ends_in + 60)
    world.reap()


def told_of_success(world: World) -> None:
    attempt = bundles_of(world)[0]
    if attempt.is_told:
        world.notify_success(attempt)
    else:
        world.answer(attempt, by_name({"r1": 500, "r1-1": 500}))


def told_of_failure(world: World) -> None:
    world.notify_error(bundles_of(world)[0])


def refused(world: World) -> None:
    world.backend.fail_next(BackendRefused("no"))
    do_dispatch(world)


def throttled(world: World) -> None:
    world.backend.fail_next(BackendThrottled("later"))
    do_dispatch(world)


RACES: dict[str, tuple[Act, Act, Act]] = {
    "two dispatchers": (waiting, do_dispatch, do_dispatch),
    "a dispatcher and one of less": (waiting, do_dispatch, do_claim_one),
    "a dispatcher and a cancel": (waiting, do_dispatch, do_cancel),
    "a dispatcher and a delete": (waiting, do_dispatch, do_delete),
    "a dispatcher and a pause": (waiting, do_dispatch, do_pause),
    "a dispatcher and the deadline": (waiting, do_dispatch, expire),
    "a refused dispatcher and another": (waiting, refused, do_dispatch),
    "a refused dispatcher and a cancel": (waiting, refused, do_cancel),
    "a throttled dispatcher and another": (waiting, throttled, do_dispatch),
    "a throttled dispatcher and a delete": (waiting, throttled, do_delete),
    "two results": (travelling, told_of_success, told_of_success),
    "a result and a failure": (travelling, told_of_success, told_of_failure),
    "a failure and a result": (travelling, told_of_failure, told_of_success),
    "a result and a cancel": (travelling, told_of_success, do_cancel),
    "a result and a delete": (travelling, told_of_success, do_delete),
    "a result and a pause": (travelling, told_of_success, do_pause),
    "a result and the deadline": (travelling, told_of_success, expire),
    "a result and the end of its lease": (travelling, told_of_success, lease_ends),
    "the end of its lease and a result": (travelling, lease_ends, told_of_success),
    "a failure and the end of its lease": (travelling, told_of_failure, lease_ends),
    "a cancel and a result": (travelling, do_cancel, told_of_success),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("race", RACES)
def test_it_does_not_matter_when_the_other_comes_to_a_bundle(race, place):
    before, first, second = RACES[race]
    number = calls = 0
    while number <= calls:
        with a_world_in_memory(catalog=a_catalog(PLACES[place])) as world:
            before(world)
            hook = meanwhile(number, world.tap, partial(second, world))
            try:
                with world.tap.hooked(hook):
                    first(world)
                    calls = len(world.tap.calls)
                oracle.check_step(world)
                go_on(world)
                oracle.check_end(world)
                if not {told_of_failure, lease_ends} & {first, second}:
                    sent_once(world)
            except BaseException as error:
                error.add_note(f"the second came before call {number} of the first")
                raise
        number += 1


def go_on(world: World) -> None:
    for one in members(world):
        if one.paused:
            pausing.resume(world.env, one.tenant, one.id)
    world.settle()


def sent_once(world: World) -> None:
    """Nothing is asked twice, but what failed."""
    sent = Counter(name for one in world.backend.submissions for name in one.custom_ids)
    assert {name for name, times in sent.items() if times > 1} <= {"r1", "r1-1"}
