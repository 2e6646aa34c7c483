"""Every port call of a whole run is a point to die at, or to fail at: nothing is lost or doubled.

The scenario: a batch with a canary and a line that is retried, a single request, a dropped file;
a webhook is told of the first two.
One fault at one call, before it or after it took effect, or one event that comes twice; then
minutes pass, as the schedules see them. `make test-long` tries every two faults, the second at a
call that the run with the first makes.
"""

import logging
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial

import pytest

from tests.effort import IS_LONG
from tests.engine.branches import branches_of, points, raising
from tests.engine.moments import changing, digest, moment
from tests.engine.runs import CENSUS_LIMITS, Run, played
from tests.tap import Hook, PortError
from tests.world import World, a_world, a_world_in_memory

#: How long a port is out of order: longer than a lease, and shorter than all attempts are.
OUTAGE_SECONDS = 200.0
#: Of the scenario: another number is another census, to be made knowingly.
PORT_CALLS, EVENTS = 208, 26
#: Ways to put one fault into the run.
ONE_FAULT = 918

Act = Callable[[], object]
MakeWorld = Callable[..., AbstractContextManager[World]]


def census() -> tuple[list[str], int]:
    """All port calls of the run without a fault, and how many events come."""
    with a_world_in_memory(limits=CENSUS_LIMITS) as world:
        run = Run(world)
        return played(run), run.events


CALLS, EVENT_COUNT = census()
POINTS = list(points(CALLS))


@pytest.fixture(autouse=True, scope="module")
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def one_fault():
    """All runs with one fault."""
    return branches_of(Run, faults=1)


def judge(
    hook: Hook | None = None,
    *,
    twice: int | None = None,
    out_of_order: int | None = None,
    make: MakeWorld = a_world_in_memory,
) -> bytes:
    """The run with these faults, played through, ends as well as the one without."""
    with make(limits=CENSUS_LIMITS) as world:
        if out_of_order is not None:
            hook = outage(world, out_of_order)
        run = Run(world, twice=twice)
        played(run, hook)
        return digest(moment(run)) if make is a_world_in_memory else b""


def outage(world: World, number: int) -> Hook:
    """From that call on, all calls of its name fail, until some time has passed."""
    ends_at: list[float] = []

    def hook(call: int, at: str, name: str) -> None:
        if call == number and at == "before":
            ends_at.append(world.clock.now() + OUTAGE_SECONDS)
        if ends_at and at == "before" and name == CALLS[number] and world.clock.now() < ends_at[0]:
            raise PortError(name)

    return hook


def all_wrong(acts: Mapping[str, Act]) -> list[str]:
    wrong = []
    for name, act in acts.items():
        try:
            act()
        except Exception as error:  # noqa: BLE001 - all points are tried
            wrong.append(f"{name}: {error!r:.300}")
    return wrong


def some_of(acts: Mapping[str, Act], *, every: int) -> Mapping[str, Act]:
    """One of so many, unless there is time for all."""
    return acts if IS_LONG else dict(list(acts.items())[::every])


def test_the_census_reaches_every_kind_of_call_and_its_size_is_known():
    print(
        f"{len(CALLS)} port calls: {len(POINTS)} points to die or fail at once, {len(CALLS)} to "
        f"stay out of order at; {EVENT_COUNT} events that may come twice"
    )
    assert (len(CALLS), EVENT_COUNT) == (PORT_CALLS, EVENTS)
    kinds = {"store", "blobs", "queue", "backend", "mailer", "events", "webhooks"}
    assert {name.partition(".")[0] for name in CALLS} >= kinds


def test_a_fault_at_any_call_loses_nothing_and_doubles_nothing(one_fault, tally):
    """Before: it did not happen. After: it happened, and the answer was lost.

    A Conflict before says that others were at the same items, one after that it was our own write.
    """
    print(one_fault)
    assert one_fault.wrong == []
    assert one_fault.runs == len(POINTS) == ONE_FAULT
    tally("crash points", one_fault.runs)


def test_a_moment_holds_all_that_a_world_gathers():
    """What is left out would be the same in every run that goes back."""
    with a_world_in_memory(limits=CENSUS_LIMITS) as world:
        held = {(id(owner), name) for owner, name in changing(Run(world))}
        for owner in (world, world.backend, world.blobs, world.queue, world.mailer, world.receiver):
            gathers = {
                name
                for name, value in vars(owner).items()
                if isinstance(value, list | dict | set) and (id(owner), name) not in held
            }
            assert gathers <= {"published", "_values", "_max_receives"}, (
                owner
            )  # metrics, and settings


def test_runs_that_are_taken_for_one_end_as_each_of_them_played_through(one_fault):
    for fault in POINTS[::31]:
        assert judge(raising(fault)) in one_fault.ends


@pytest.mark.slow
@pytest.mark.long
def test_two_faults_lose_nothing_and_double_nothing(tally):
    two_faults = branches_of(Run, faults=2)
    print(two_faults)
    assert two_faults.wrong == []
    # Those of the run without a fault, and what the services do about the first.
    assert two_faults.runs > ONE_FAULT * (ONE_FAULT - 1) // 2
    dice = random.Random(1)
    for first in dice.sample(POINTS, 100):
        with a_world_in_memory(limits=CENSUS_LIMITS) as world:
            calls = played(Run(world), raising(first))
        second = dice.choice([*points(calls, first.number + 1)])
        assert judge(raising(first, second)) in two_faults.ends
    tally("pairs of crash points", two_faults.runs)


def test_a_port_that_stays_out_of_order_loses_nothing_and_doubles_nothing():
    acts = {f"{n} {name}": partial(judge, out_of_order=n) for n, name in enumerate(CALLS)}
    assert all_wrong(some_of(acts, every=4)) == []


def test_an_event_that_comes_twice_loses_nothing_and_doubles_nothing():
    acts = {f"event {number}": partial(judge, twice=number) for number in range(EVENT_COUNT)}
    assert all_wrong(acts) == []


def test_the_same_holds_on_a_disk():
    on_disk = {str(fault): partial(judge, raising(fault), make=a_world) for fault in POINTS}
    assert all_wrong(some_of(on_disk, every=31)) == []
