"""Every port call of a whole run is a point to die at, or to fail at: nothing is lost or doubled.

The scenario: a batch with a canary and a line that is retried, a single request, a dropped file.
One fault at one call, before it or after it took effect; then minutes pass, as the schedules see
them. `HYPOTHESIS_PROFILE=long` tries every point in all ways, and pairs of them.
"""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest

from backburner.domain.batch import BatchStatus
from backburner.domain.errors import Conflict
from tests import oracle
from tests.backend import by_name
from tests.tap import Crash, Hook, PortError, fault_at
from tests.world import LIMITS, World, a_world, chat

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
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


def play(world: World) -> None:
    """Clients and services that ask again until they are answered, and a backend that is well."""
    mail = {"notify_email": "ada@example.com"}
    at_least_once(lambda: world.submit(LINES, window="1h", metadata=mail))
    at_least_once(lambda: world.respond("single", window="1h"))
    key = world.drop("dropped.jsonl", [chat("dropped-1"), chat("dropped-2")])
    at_least_once(lambda: world.notify_upload(key))
    for _ in range(40):
        run(world)
        if world.is_quiet:
            return
        world.advance(60)
        with suppress(*FAULTS, ExceptionGroup):
            world.reap()
    raise AssertionError("not at rest after 40 minutes")


def run(world: World) -> None:
    pump(world)
    while world.outstanding:
        attempt = world.outstanding[0]
        reply = FIRST_REPLY if attempt.shard.attempt == 1 else None
        world.answer(attempt, reply, told=False)
        at_least_once(partial(world.notify_success, attempt))
        pump(world)


def pump(world: World) -> None:
    with suppress(*FAULTS):
        world.pump(strict=False)


def at_least_once(act: Callable[[], object]) -> None:
    for _ in range(3):
        with suppress(*FAULTS):
            act()
            return
    raise AssertionError("It fails every time.")


def every_call() -> list[str]:
    with a_world(limits=CENSUS_LIMITS) as world, world.tap.hooked(None):
        play(world)
        oracle.check_end(world)
        return list(world.tap.calls)


CALLS = every_call()


def judge(hook: Hook) -> None:
    """The run with these faults ends as well as the one without."""
    with a_world(limits=CENSUS_LIMITS) as world, world.tap.hooked(hook):
        play(world)
        oracle.check_end(world, tidy=False)
        accepted = [one for one in world.all_batches() if (one.tenant, one.id) in world.accepted]
        assert len(accepted) == 2
        assert {batch.status for batch in accepted} == {BatchStatus.COMPLETED}
        dropped = [one.status for one in world.all_batches() if one.tenant == "dropper"]
        assert dropped == [BatchStatus.COMPLETED]


def all_wrong(hooks: dict[str, Hook]) -> list[str]:
    wrong = []
    for name, hook in hooks.items():
        try:
            judge(hook)
        except Exception as error:  # noqa: BLE001 - all points are tried
            wrong.append(f"{name}: {error!r:.300}")
    return wrong


def test_the_census_reaches_every_kind_of_call():
    print(f"{len(CALLS)} port calls: {2 * len(CALLS)} points to die at, as many to fail at")
    assert len(CALLS) > 150
    kinds = {"store", "blobs", "queue", "backend", "mailer", "events"}
    assert {name.partition(".")[0] for name in CALLS} >= kinds


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_call_loses_nothing_and_doubles_nothing(when):
    points = {f"{when} {n} {name}": fault_at(n, when, Crash) for n, name in enumerate(CALLS)}
    # Before a call is after the one before it, but for what the handler does in between.
    some = points if IS_LONG or when == "after" else every(3, points)
    assert all_wrong(some) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_port_that_fails_once_loses_nothing_and_doubles_nothing(when):
    points = {f"{when} {n} {name}": fault_at(n, when, PortError) for n, name in enumerate(CALLS)}
    assert all_wrong(points if IS_LONG else every(4, points)) == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_conflict_at_any_transaction_loses_nothing_and_doubles_nothing(when):
    """Before: others were at the same items. After: it was our own write, whose answer got lost."""
    points = {
        f"{when} {n}": fault_at(n, when, Conflict)
        for n, name in enumerate(CALLS)
        if name == "store.transact"
    }
    assert all_wrong(points) == []


@pytest.mark.skipif(not IS_LONG, reason="HYPOTHESIS_PROFILE=long tries pairs of faults")
@pytest.mark.parametrize("seed", range(4))
def test_two_faults_lose_nothing_and_double_nothing(seed):
    dice = random.Random(seed)
    pairs: dict[str, Hook] = {}
    for _ in range(250):
        first, second = sorted(dice.sample(range(len(CALLS) + 40), 2))
        whens, kind = dice.choices(["before", "after"], k=2), dice.choice([Crash, PortError])
        hooks = [fault_at(first, whens[0], kind), fault_at(second, whens[1], kind)]
        pairs[f"{whens} {first} and {second}"] = both(hooks)
    assert all_wrong(pairs) == []


def every(step: int, points: dict[str, Hook]) -> dict[str, Hook]:
    return dict(list(points.items())[::step])


def both(hooks: list[Hook]) -> Hook:
    def hook(call: int, at: str, name: str) -> None:
        for one in hooks:
            one(call, at, name)

    return hook
