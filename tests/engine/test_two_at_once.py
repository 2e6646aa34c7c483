"""Two handlers on one thing: whichever call of the first the second falls between, one wins.

The second runs, start to end, between two port calls of the first. All such places are tried.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest

from backburner.domain.batch import Batch
from backburner.domain.delivery import Channel
from backburner.ports import QueueName
from backburner.services import batches, deliver, dispatch, finalize, plan
from tests import oracle
from tests.backend import answer_with, by_name
from tests.tap import meanwhile
from tests.world import LIMITS, World, a_world_in_memory

#: Results and retries are objects, which two may write at once.
SMALL = replace(LIMITS, inline_bytes=100)

Act = Callable[[World, Batch], object]


def nothing(world: World, batch: Batch) -> None:
    pass


def do_plan(world: World, batch: Batch) -> None:
    plan.plan(world.env, batch.tenant, batch.id)


def do_dispatch(world: World, batch: Batch) -> None:
    dispatch.dispatch(world.env, "manual:mistral")


def do_finalize(world: World, batch: Batch) -> None:
    finalize.finalize(world.env, batch.tenant, batch.id)


def do_cancel(world: World, batch: Batch) -> None:
    batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)


def do_reap(world: World, batch: Batch) -> None:
    world.reap()


def expire(world: World, batch: Batch) -> None:
    """Time and reap, as if the window had ended just now."""
    world.clock.advance(max(0.0, batch.expires_at - world.clock.now()))
    world.reap()


def lease_ends(world: World, batch: Batch) -> None:
    """All leases end, and the shards are started again."""
    for _ in range(5):
        world.advance(60)
        world.reap()
    do_dispatch(world, batch)


def told_of_success(world: World, batch: Batch) -> None:
    """Once with a result, then again without: whoever takes a result in removes it."""
    attempt = world.backend.submissions[0]
    if attempt.is_told:
        world.notify_success(attempt)
    else:
        world.answer(attempt, by_name({"acme-1": 500, "one": 500}))


def told_of_success_of_the_last(world: World, batch: Batch) -> None:
    """Another attempt of the same shard ends otherwise."""
    world.answer(world.backend.submissions[-1], by_name({"acme-2": 500}))


def two_attempts(world: World, batch: Batch) -> None:
    """The first attempt's lease ended; the second runs, and both may end yet."""
    in_flight(world, batch)
    lease_ends(world, batch)


def last_attempt(world: World, batch: Batch) -> None:
    """What is not answered now fails for good; results are too large to be kept inline."""
    for _ in range(2):
        in_flight(world, batch)
        while world.outstanding:
            world.fail()
        world.advance(30)
    in_flight(world, batch)


def told_again(world: World, batch: Batch) -> None:
    """The last attempt succeeds; told of twice, with one result."""
    attempt = world.backend.submissions[-1]
    if attempt.is_told:
        world.notify_success(attempt)
    else:
        world.answer(attempt)


def told_of_failure(world: World, batch: Batch) -> None:
    world.notify_error(world.backend.submissions[0])


def do_deliver(world: World, batch: Batch) -> None:
    (mail,) = (one for one in world.deliveries(batch) if one.channel is Channel.EMAIL)
    deliver.deliver(world.env, batch.tenant, batch.id, mail.name)


def planned(world: World, batch: Batch) -> None:
    world.pump(QueueName.PLAN)


def in_flight(world: World, batch: Batch) -> None:
    world.pump(QueueName.PLAN, QueueName.DISPATCH)


def canary_over(world: World, batch: Batch) -> None:
    in_flight(world, batch)
    world.answer()


def canary_failed(world: World, batch: Batch) -> None:
    in_flight(world, batch)
    world.answer(reply=answer_with(400))


def all_done(world: World, batch: Batch) -> None:
    for _ in range(20):
        world.pump(QueueName.PLAN, QueueName.DISPATCH)
        if not world.outstanding:
            return
        world.answer(reply=by_name({"acme-2": 400}))


def ended(world: World, batch: Batch) -> None:
    all_done(world, batch)
    world.pump(QueueName.FINALIZE)


@dataclass(frozen=True)
class Race:
    before: Act
    first: Act
    second: Act
    lines: int = 10
    is_response: bool = False


RACES = {
    "two planners": Race(nothing, do_plan, do_plan),
    "a planner and a cancel": Race(nothing, do_plan, do_cancel),
    "a planner and the deadline": Race(nothing, do_plan, expire),
    "a planner and reap": Race(nothing, do_plan, do_reap),
    "a cancel and a planner": Race(nothing, do_cancel, do_plan),
    "a cancel and a finalizer of what was never planned": Race(nothing, do_cancel, do_finalize),
    "two releases": Race(canary_over, do_plan, do_plan),
    "a release and a cancel": Race(canary_over, do_plan, do_cancel),
    "a cancel and a release": Race(canary_over, do_cancel, do_plan),
    "a release and the deadline": Race(canary_over, do_plan, expire),
    "a release and a failed canary": Race(canary_failed, do_plan, do_plan),
    "two dispatchers": Race(planned, do_dispatch, do_dispatch, lines=8),
    "a dispatcher and a cancel": Race(planned, do_dispatch, do_cancel, lines=8),
    "a cancel and a dispatcher": Race(planned, do_cancel, do_dispatch, lines=8),
    "a dispatcher and the deadline": Race(planned, do_dispatch, expire, lines=8),
    "two results": Race(in_flight, told_of_success, told_of_success, lines=4),
    "two results of the last attempt": Race(last_attempt, told_again, told_again, lines=4),
    "results of two attempts": Race(
        two_attempts, told_of_success, told_of_success_of_the_last, lines=4
    ),
    "results of two attempts, the later first": Race(
        two_attempts, told_of_success_of_the_last, told_of_success, lines=4
    ),
    "a result, and the failure of an attempt before": Race(
        two_attempts, told_of_success_of_the_last, told_of_failure, lines=4
    ),
    "a result and a failure": Race(in_flight, told_of_success, told_of_failure, lines=4),
    "a failure and a result": Race(in_flight, told_of_failure, told_of_success, lines=4),
    "a result and a cancel": Race(in_flight, told_of_success, do_cancel, lines=4),
    "a cancel and a result": Race(in_flight, do_cancel, told_of_success, lines=4),
    "a result and the deadline": Race(in_flight, told_of_success, expire, lines=4),
    "a result and the end of its lease": Race(in_flight, told_of_success, lease_ends, lines=4),
    "the end of a lease and a result": Race(in_flight, lease_ends, told_of_success, lines=4),
    "a failure and the end of its lease": Race(in_flight, told_of_failure, lease_ends, lines=4),
    "a result and reap": Race(in_flight, told_of_success, do_reap, lines=4),
    "two finalizers": Race(all_done, do_finalize, do_finalize),
    "a finalizer and reap": Race(all_done, do_finalize, do_reap),
    "a finalizer and a cancel": Race(all_done, do_finalize, do_cancel),
    "a cancel and a finalizer": Race(all_done, do_cancel, do_finalize),
    "a finalizer and the deadline": Race(all_done, do_finalize, expire),
    "two deliveries": Race(ended, do_deliver, do_deliver, lines=2),
    "a response's result and its cancel": Race(
        nothing, told_of_success, do_cancel, is_response=True
    ),
    "a response's cancel and its result": Race(
        nothing, do_cancel, told_of_success, is_response=True
    ),
    "a response's result, twice": Race(nothing, told_of_success, told_of_success, is_response=True),
    "a response's result and the deadline": Race(
        nothing, told_of_success, expire, is_response=True
    ),
    "a response's result and its lease": Race(
        nothing, told_of_success, lease_ends, is_response=True
    ),
}


@pytest.mark.parametrize("race", RACES.values(), ids=RACES)
def test_it_does_not_matter_when_the_other_comes(race):
    # The one place more, after the last call, is the two in a row.
    for number in range(calls_of_the_first(race) + 1):
        with a_world_in_memory(limits=SMALL) as world:
            batch = begin(world, race)
            race.before(world, batch)
            hook = meanwhile(number, world.tap, partial(race.second, world, batch))
            try:
                with world.tap.hooked(hook):
                    race.first(world, batch)
                oracle.check_step(world)
                world.settle()
                oracle.check_end(world)
            except BaseException as error:
                error.add_note(f"the second came before call {number} of the first")
                raise


def calls_of_the_first(race: Race) -> int:
    with a_world_in_memory(limits=SMALL) as world:
        batch = begin(world, race)
        race.before(world, batch)
        with world.tap.hooked(None):
            race.first(world, batch)
            return len(world.tap.calls)


def begin(world: World, race: Race) -> Batch:
    if race.is_response:
        return world.respond("one", window="1h")
    return world.submit(race.lines, window="1h", metadata={"notify_email": "a@b.example"})
