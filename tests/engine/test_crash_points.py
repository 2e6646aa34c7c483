"""Every port call of a whole run is a point to die at, or to fail at: nothing is lost or doubled.

The scenario: a batch with a canary and a line that is retried, a single request, a dropped file;
a webhook is told of the first two.
One fault at one call, before it or after it took effect, or one event that comes twice; then
minutes pass, as the schedules see them. `HYPOTHESIS_PROFILE=long` tries every point in all ways,
and pairs of them.
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import TypeVar

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.errors import Conflict
from backburner.services import webhooks
from tests import oracle
from tests.backend import Reply, Submission, by_name
from tests.effort import IS_LONG
from tests.tap import Crash, Hook, PortError, fault_at
from tests.world import LIMITS, World, a_world, a_world_in_memory, chat

FAULTS = (Crash, PortError, Conflict)
LINES = 7
#: Small enough for canaries, for objects as well as inline bytes, and for short leases.
CENSUS_LIMITS = replace(
    LIMITS,
    canary_lines=2,
    canary_from_lines=7,
    inline_bytes=400,
    request_ttl_seconds=60,
    lease_margin_seconds=30.0,
)
#: The one line that needs a second attempt.
FIRST_REPLY = by_name({"acme-5": 500})
#: How long a port is out of order: longer than a lease, and shorter than all attempts are.
OUTAGE_SECONDS = 200.0
#: Of the scenario: another number is another census, to be made knowingly.
PORT_CALLS, EVENTS = 208, 26
PAIRS = 4000

Act = Callable[[], None]
T = TypeVar("T")
MakeWorld = Callable[..., AbstractContextManager[World]]


class Run:
    """Clients and services that ask again until they are answered, and a backend that is well."""

    def __init__(self, world: World, *, twice: int | None = None) -> None:
        self.world = world
        #: Number of the event that comes twice.
        self._twice = twice
        self.events = 0

    def play(self) -> None:
        world = self.world
        kinds = ["batch.completed", "response.completed"]
        hook = {"name": "hook", "url": "https://hooks.example.com", "event_types": kinds}
        webhooks.create(world.untapped, "acme", hook)
        mail = {"notify_email": "ada@example.com"}
        self._insist(lambda: world.submit(LINES, window="1h", metadata=mail))
        self._insist(lambda: world.respond("single", window="1h"))
        key = world.drop("dropped.jsonl", [chat("dropped-1"), chat("dropped-2")])
        self._comes(lambda: world.notify_upload(key))
        self._until_quiet()

    def _until_quiet(self) -> None:
        for _ in range(40):
            self._run()
            if self.world.is_quiet:
                return
            self.world.advance(60)
            with suppress(*FAULTS, ExceptionGroup):
                self.world.reap()
        raise AssertionError("not at rest after 40 minutes")

    def _run(self) -> None:
        self._pump()
        while self.world.outstanding:
            attempt = self.world.outstanding[0]
            self.world.answer(attempt, self._reply(attempt), told=False)
            self._comes(partial(self.world.notify_success, attempt))
            self._pump()

    def _reply(self, attempt: Submission) -> Reply | None:
        return FIRST_REPLY if attempt.shard.attempt == 1 else None

    def _pump(self) -> None:
        with suppress(*FAULTS):
            while received := self.world.receive():
                for name, message in received:
                    for _ in range(self._times()):
                        self.world.handle(name, message, strict=False)

    def _comes(self, tell: Callable[[], object]) -> None:
        """An event; its source tells again until it is heard."""
        for _ in range(self._times()):
            self._insist(tell)

    def _times(self) -> int:
        self.events += 1
        return 2 if self.events - 1 == self._twice else 1

    def _insist(self, act: Callable[[], T]) -> T:
        for _ in range(10):
            with suppress(*FAULTS):
                return act()
            self.world.advance(30)
        raise AssertionError("It fails every time.")


def census() -> tuple[list[str], int]:
    """All port calls of the run without a fault, and how many events come."""
    with a_world_in_memory(limits=CENSUS_LIMITS) as world, world.tap.hooked(None):
        run = Run(world)
        run.play()
        oracle.check_end(world)
        return list(world.tap.calls), run.events


CALLS, EVENT_COUNT = census()


@pytest.fixture(autouse=True)
def _unlogged():
    """What fails on purpose fills the log, and costs more than the rest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def judge(
    hook: Hook | None = None,
    *,
    twice: int | None = None,
    out_of_order: int | None = None,
    make: MakeWorld = a_world_in_memory,
) -> None:
    """The run with these faults ends as well as the one without."""
    with make(limits=CENSUS_LIMITS) as world:
        if out_of_order is not None:
            hook = outage(world, out_of_order)
        with world.tap.hooked(hook):
            Run(world, twice=twice).play()
        oracle.check_end(world, tidy=False)
        accepted = [one for one in world.all_batches() if (one.tenant, one.id) in world.accepted]
        assert len(accepted) == 2
        assert {batch.status for batch in accepted} == {BatchStatus.COMPLETED}
        dropped = [one.status for one in world.all_batches() if one.tenant == "dropper"]
        assert dropped == [BatchStatus.COMPLETED]


def outage(world: World, number: int) -> Hook:
    """From that call on, all calls of its name fail, until some time has passed."""
    ends_at: list[float] = []

    def hook(call: int, at: str, name: str) -> None:
        if call == number and at == "before":
            ends_at.append(world.clock.now() + OUTAGE_SECONDS)
        if ends_at and at == "before" and name == CALLS[number] and world.clock.now() < ends_at[0]:
            raise PortError(name)

    return hook


def points() -> Iterator[tuple[str, Hook]]:
    """Each call, and each way in which it can fail once."""
    for number, name in enumerate(CALLS):
        for when in ("before", "after"):
            kinds = (*FAULTS,) if name == "store.transact" else (Crash, PortError)
            for kind in kinds:
                yield f"{kind.__name__} {when} {number} {name}", fault_at(number, when, kind)


POINTS = dict(points())


def all_wrong(acts: Mapping[str, Act]) -> list[str]:
    wrong = []
    for name, act in acts.items():
        try:
            act()
        except Exception as error:  # noqa: BLE001 - all points are tried
            wrong.append(f"{name}: {error!r:.300}")
    return wrong


def test_the_census_reaches_every_kind_of_call_and_its_size_is_known():
    print(
        f"{len(CALLS)} port calls: {len(POINTS)} points to die or fail at once, {len(CALLS)} to "
        f"stay out of order at; {EVENT_COUNT} events that may come twice"
    )
    assert (len(CALLS), EVENT_COUNT) == (PORT_CALLS, EVENTS)
    kinds = {"store", "blobs", "queue", "backend", "mailer", "events", "webhooks"}
    assert {name.partition(".")[0] for name in CALLS} >= kinds


@pytest.mark.parametrize("kind", [Crash, PortError, Conflict])
def test_a_fault_at_any_call_loses_nothing_and_doubles_nothing(kind, tally):
    """Before: it did not happen. After: it happened, and the answer was lost.

    A Conflict before says that others were at the same items, one after that it was our own write.
    """
    mine = {
        name: partial(judge, hook)
        for name, hook in POINTS.items()
        if name.startswith(kind.__name__)
    }
    assert len(mine) >= 2 * CALLS.count("store.transact")
    # Before a call is after the one before it, but for what the handler does in between.
    chosen = some_of(mine, every=4 if kind is PortError else 2)
    assert all_wrong(chosen) == []
    tally("crash points", len(chosen))


def test_a_port_that_stays_out_of_order_loses_nothing_and_doubles_nothing():
    acts = {f"{n} {name}": partial(judge, out_of_order=n) for n, name in enumerate(CALLS)}
    assert all_wrong(some_of(acts, every=4)) == []


def test_an_event_that_comes_twice_loses_nothing_and_doubles_nothing():
    acts = {f"event {number}": partial(judge, twice=number) for number in range(EVENT_COUNT)}
    assert all_wrong(acts) == []


def test_the_same_holds_on_a_disk():
    on_disk = {name: partial(judge, hook, make=a_world) for name, hook in POINTS.items()}
    assert all_wrong(some_of(on_disk, every=31)) == []


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_two_faults_lose_nothing_and_double_nothing(part, tally):
    """A sample of all pairs: each has the faults of two points."""
    pairs = list(combinations(POINTS, 2))
    print(f"{PAIRS} of {len(pairs)} pairs")
    chosen = random.Random(part).sample(pairs, PAIRS // 4)
    acts = {
        f"{one} and {other}": partial(judge, both(POINTS[one], POINTS[other]))
        for one, other in chosen
    }
    assert all_wrong(acts) == []
    tally(f"pairs of crash points, of {len(pairs):,}", len(acts))


def some_of(acts: Mapping[str, Act], *, every: int) -> Mapping[str, Act]:
    """One of so many, unless there is time for all."""
    return acts if IS_LONG else dict(list(acts.items())[::every])


def both(one: Hook, other: Hook) -> Hook:
    def hook(call: int, at: str, name: str) -> None:
        one(call, at, name)
        other(call, at, name)

    return hook
