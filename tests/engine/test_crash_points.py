"""Every port call of a whole run is a point to die at, or to fail at: nothing is lost or doubled.

The scenario: a batch with a line that is retried, a single request, a dropped file. One fault at
one call, before it or after it took effect; then minutes pass, as the schedules see them.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from backburner.domain.batch import BatchStatus
from tests import oracle
from tests.tap import Crash, PortFailed, fault_at
from tests.world import LIMITS, World, a_world, by_name, chat

LINES = 12
ROOMY = LIMITS.__class__(
    canary_lines=2,
    canary_from_lines=9,
    inline_bytes=400,
    request_ttl_seconds=60,
    invocation_timeout_seconds=60,
    look_seconds=60.0,
    lease_margin_seconds=30.0,
)
#: The one line that needs a second attempt.
REPLY_ONCE = by_name({"acme-5": 500})


def play(world: World) -> None:
    """A client that tries again until it is answered, AWS that does as well, and a backend."""
    tried_again(lambda: world.submit(LINES, window="1h", metadata={"notify_email": "a@b.example"}))
    tried_again(lambda: world.respond("single", window="1h"))
    key = world.drop("dropped.jsonl", [chat(f"dropped-{number}") for number in range(3)])
    tried_again(lambda: world.notify_upload(key))
    for minute in range(40):
        with suppress(PortFailed, Crash):
            world.pump(strict=False)
        while world.outstanding:
            reply = REPLY_ONCE if world.outstanding[0].shard.attempt == 1 else None
            tried_again(lambda: world.answer(world.outstanding[0], reply, told=False))
            tried_again(lambda: world.notify_success(told_last(world)))
            with suppress(PortFailed, Crash):
                world.pump(strict=False)
        if world.is_quiet:
            return
        world.advance(60)
        with suppress(PortFailed, Crash, ExceptionGroup):
            world.reap()
    raise AssertionError(f"not at rest after {minute} minutes")


def told_last(world: World):
    return [one for one in world.backend.submissions if one.is_told][-1]


def tried_again(act) -> None:
    """At least once: who gets no answer asks again."""
    try:
        act()
    except (Crash, PortFailed):
        act()


@contextmanager
def faulty(number: int, when: str, fault: type[BaseException]) -> Iterator[World]:
    with a_world(limits=ROOMY) as world, world.tap.hooked(fault_at(number, when, fault)):
        yield world


def count_points() -> list[str]:
    with a_world(limits=ROOMY) as world, world.tap.hooked(None):
        play(world)
        oracle.check_end(world)
        return list(world.tap.calls)


POINTS = count_points()


def test_the_census_reaches_every_kind_of_call():
    print(f"{len(POINTS)} port calls: {2 * len(POINTS)} crash points, {2 * len(POINTS)} failures")
    assert len(POINTS) > 150
    assert {name.partition(".")[0] for name in POINTS} >= {
        "store",
        "blobs",
        "queue",
        "backend",
        "mailer",
        "events",
    }


@pytest.mark.parametrize("fault", [Crash, PortFailed])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_at_any_call_loses_nothing_and_doubles_nothing(when, fault):
    wrong = []
    for number, name in enumerate(POINTS):
        with faulty(number, when, fault) as world:
            try:
                play(world)
                oracle.check_end(world, tidy=False)
                assert all(
                    one.status is BatchStatus.COMPLETED
                    for one in world.all_batches()
                    if (one.tenant, one.id) in world.accepted
                )
            except (AssertionError, Exception) as error:  # noqa: BLE001 - all points are tried
                wrong.append(f"{when} call {number}, {name}: {error!r:.300}")
    assert wrong == []
