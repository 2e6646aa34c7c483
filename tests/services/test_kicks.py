"""Kicks: that a pool's queue is looked at after whatever is put there, and no more than that."""

from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from itertools import islice
from threading import Event

import pytest

from backburner.ports import QueueName
from backburner.services import capacity
from tests.tap import PortError
from tests.world import World

POOL, SECONDS = "sagemaker_async:m", 10.0


def kicks(world: World) -> int:
    return world.queue.counts(QueueName.DISPATCH).waiting


def test_of_all_who_ask_while_a_pool_is_kicked_one_kicks_it_for_them(world):
    begun, go_on = Event(), Event()

    def hold(call: int, at: str, name: str) -> None:
        if call == 0 and at == "before":
            begun.set()
            assert go_on.wait(SECONDS)

    kick = partial(capacity.kick_for_new, world.env, POOL)
    with world.tap.hooked(hold), ThreadPoolExecutor() as threads:
        first = threads.submit(kick)
        assert begun.wait(SECONDS)
        others = [threads.submit(kick) for _ in range(4)]
        for one in islice(as_completed(others, timeout=SECONDS), 3):
            one.result()
        assert kicks(world) == 0
        go_on.set()
        for one in (first, *others):
            one.result()
    assert kicks(world) == 2


def test_another_pool_is_kicked_meanwhile(world):
    def kick_the_other(call: int, at: str, name: str) -> None:
        if call == 0 and at == "before":
            capacity.kick_for_new(world.untapped, "sagemaker_async:other")

    with world.tap.hooked(kick_the_other):
        capacity.kick_for_new(world.env, POOL)
    assert kicks(world) == 2


def test_a_kick_that_fails_keeps_no_other_from_being_sent(world):
    def fail(call: int, at: str, name: str) -> None:
        raise PortError(name)

    with world.tap.hooked(fail), pytest.raises(PortError):
        capacity.kick_for_new(world.env, POOL)
    capacity.kick_for_new(world.env, POOL)
    assert kicks(world) == 1
