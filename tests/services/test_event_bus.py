"""The event bus: the same events as on the topic, and neither pays for the other's failure."""

from dataclasses import replace
from typing import Any

import pytest

from backburner.domain.batch import Batch
from backburner.domain.delivery import Channel, Delivery, DeliveryStatus
from backburner_local.adapters.events import LocalEvents
from tests import oracle
from tests.world import Told, World

DELIVERED, PENDING, DEAD = DeliveryStatus.DELIVERED, DeliveryStatus.PENDING, DeliveryStatus.DEAD


class Bus(LocalEvents):
    """A bus, and what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []
        self.subscribe(lambda event, attributes: self.told.append(Told(event, attributes)))


@pytest.fixture
def bus(world) -> Bus:
    made = Bus()
    world.set_env(replace(world.untapped, bus=made))
    return made


def refuse(times: int) -> Any:
    """A subscriber that fails so often."""
    left = [OSError("It is away.")] * times

    def take(event: Any, attributes: Any) -> None:
        if left:
            raise left.pop()

    return take


def deliveries(world: World, batch: Batch) -> dict[Channel, Delivery]:
    return {one.channel: one for one in world.deliveries(batch)}


def test_the_bus_is_told_what_the_topic_is_told(world, bus):
    batch = world.submit(3)
    response = world.respond()
    world.settle()
    assert [told.event["id"] for told in bus.told] == [f"evt_{one.id}" for one in (response, batch)]
    assert sorted(bus.told, key=str) == sorted(world.told, key=str)
    oracle.check_end(world)


def test_without_a_bus_there_is_no_delivery_to_one(world):
    batch = world.submit(1)
    world.settle()
    assert set(deliveries(world, batch)) == {Channel.EVENTS}


@pytest.mark.parametrize("broken", [Channel.BUS, Channel.EVENTS])
def test_when_one_is_away_the_other_is_told_and_the_first_later(world, bus, broken):
    (bus if broken is Channel.BUS else world.events).subscribe(refuse(2))
    batch = world.submit(1)
    world.run()
    found = deliveries(world, batch)
    other = {Channel.BUS: Channel.EVENTS, Channel.EVENTS: Channel.BUS}[broken]
    assert (found[broken].status, found[other].status) == (PENDING, DELIVERED)
    world.tick(5)
    found = deliveries(world, batch)
    assert (found[broken].status, found[other].status) == (DELIVERED, DELIVERED)
    assert (found[broken].attempts, found[other].attempts) == (3, 1)


def test_what_was_for_a_bus_that_is_turned_off_is_given_up(world, bus):
    bus.subscribe(refuse(1))
    batch = world.submit(1)
    world.run()
    world.set_env(replace(world.untapped, bus=None))
    world.tick(2)
    found = deliveries(world, batch)[Channel.BUS]
    assert (found.status, found.last_error) == (DEAD, "There is no event bus any more.")
