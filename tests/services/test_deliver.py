"""Telling people: at least once, with one id, and never too often."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from backburner.domain.batch import Batch
from backburner.domain.delivery import (
    POLICIES,
    Channel,
    DeliveryStatus,
)
from backburner.domain.errors import InvalidRequest
from backburner.ports import QueueName
from backburner.services import deliver
from tests import oracle
from tests.backend import by_name
from tests.tap import crash_after, meanwhile
from tests.world import World

ADDRESS = {"notify_email": "ada@example.com"}
POLICY = POLICIES[Channel.EMAIL]


def least(attempts: int) -> float:
    """Seconds that pass at least after so many attempts."""
    return POLICY.pauses[attempts - 1]


class BrokenMailer:
    """A mailer that fails, for a while or for ever."""

    def __init__(self, world: World, times: Any, error: Exception) -> None:
        self.mailer, self.world = world.untapped.mailer, world
        self.times, self.error = times, error
        self.asked_at: list[float] = []

    def send(self, mail: Any) -> Any:
        self.asked_at.append(self.world.clock.now())
        if len(self.asked_at) <= self.times:
            raise self.error
        self.mailer.send(mail)


AWAY = OSError("The mail server is away.")


def broken(world: World, times: Any, error: Exception = AWAY) -> Any:
    mailer = BrokenMailer(world, times, error)
    world.set_env(replace(world.untapped, mailer=mailer))
    return mailer


def delivery_of(world: World, batch: Batch, channel: Any = Channel.EMAIL) -> Any:
    (found,) = (one for one in world.deliveries(batch) if one.channel is channel)
    return found


def test_the_event_has_attributes_to_filter_by(world):
    batch = world.submit(3)
    ended_at = int(world.clock.now())
    world.settle(by_name({"acme-2": 400}))
    (told,) = world.told
    assert told.attributes == {
        "type": "batch.completed",
        "tenant": "acme",
        "status": "completed",
        "model": "mistral",
    }
    assert told.event == {
        "id": f"evt_{batch.id}",
        "object": "event",
        "type": "batch.completed",
        "created_at": ended_at,
        "data": {
            "id": batch.id,
            "status": "completed",
            "tenant": "acme",
            "model": "mistral",
            "request_counts": {"total": 3, "completed": 2, "failed": 1},
        },
    }


def test_a_delivery_that_fails_is_tried_again_until_it_succeeds(world):
    mailer = broken(world, times=3)
    batch = world.submit(1, metadata=ADDRESS)
    world.run()
    assert delivery_of(world, batch).last_error == "OSError: The mail server is away."
    world.settle()
    assert len(mailer.asked_at) == 4
    assert delivery_of(world, batch).status is DeliveryStatus.DELIVERED
    assert world.mailed(f"evt_{batch.id}") == ["ada@example.com"]
    oracle.check_end(world)


@pytest.mark.parametrize(
    ("error", "word"), [(AWAY, "delivery.failed"), (InvalidRequest("No ada."), "delivery.dead")]
)
def test_a_delivery_that_fails_is_logged_without_its_address(world, caplog, error, word):
    caplog.set_level("WARNING", "backburner")
    broken(world, 1, error)
    batch = world.submit(1, metadata=ADDRESS)
    world.run()
    assert f"{word} batch={batch.id} delivery=email/" in caplog.text
    assert "ada" not in caplog.text


def test_a_delivery_is_dead_after_the_last_attempt_about_half_a_day_later(world):
    mailer = broken(world, times=10**9)
    batch = world.submit(1, metadata=ADDRESS)
    world.settle(minutes=24 * 60)
    delivery = delivery_of(world, batch)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DEAD, POLICY.max_attempts)
    assert delivery.last_error == "OSError: The mail server is away."
    asked = mailer.asked_at
    assert len(asked) == POLICY.max_attempts
    pauses = [after - before for before, after in pairwise(asked)]
    for number, pause in enumerate(pauses, start=1):
        assert least(number) <= pause <= 1.2 * least(number) + 3 * 60
    assert 8 * 3600 < asked[-1] - asked[0] < 12 * 3600
    # The other channel was told at once, and once.
    assert delivery_of(world, batch, Channel.EVENTS).attempts == 1


def test_a_crash_between_sending_and_noting_sends_again_with_the_same_id(world):
    batch = world.submit(1, metadata=ADDRESS)
    world.run()
    batch = world.submit(b'{"bad', metadata=ADDRESS)
    world.pump(QueueName.PLAN)
    with crash_after(world.tap, "events.publish"):
        deliver.deliver(world.env, batch.tenant, batch.id, "events/topic")
    world.settle()
    told = [one.event["id"] for one in world.told if one.event["data"]["id"] == batch.id]
    assert told == [f"evt_{batch.id}"] * 2
    oracle.check_end(world)


def ended(world: World) -> Any:
    """A batch that has ended; nobody was told yet."""
    batch = world.submit(b'{"bad', metadata=ADDRESS)
    world.pump(QueueName.PLAN)
    return batch


def do_deliver(world: World, batch: Batch) -> None:
    deliver.deliver(world.env, batch.tenant, batch.id, delivery_of(world, batch).name)


def test_messages_that_come_early_or_twice_make_no_attempt(world):
    mailer = broken(world, times=2)
    batch = ended(world)
    for wanted, wait in ((1, 36), (2, 72), (3, 10**5)):
        for _ in range(3):
            do_deliver(world, batch)
            assert len(mailer.asked_at) == wanted
            assert delivery_of(world, batch).attempts == wanted
            world.advance(1)
        world.advance(wait)
    world.settle()
    assert len(mailer.asked_at) == 3
    oracle.check_end(world)


def test_of_two_messages_at_once_one_makes_the_attempt(world):
    batch = ended(world)
    mailer = broken(world, times=1)
    with world.tap.hooked(None):
        do_deliver(world, batch)
        calls = len(world.tap.calls)
    world.advance(3600)
    for number in range(calls):
        batch, asked = ended(world), len(mailer.asked_at)
        hook = meanwhile(number, world.tap, partial(do_deliver, world, batch))
        with world.tap.hooked(hook):
            do_deliver(world, batch)
        assert len(mailer.asked_at) == asked + 1
        assert delivery_of(world, batch).attempts == 1


def test_reap_shortens_no_pause_and_asks_only_once_for_an_attempt(world):
    mailer = broken(world, times=8)
    batch = ended(world)
    world.settle(minutes=24 * 60)
    pauses = [after - before for before, after in pairwise(mailer.asked_at)]
    assert len(pauses) == 8
    assert all(pause >= least(n) for n, pause in enumerate(pauses, start=1))
    batch = ended(world)
    world.advance(60)
    for _ in range(3):
        world.reap()
    assert world.queue.counts(QueueName.DELIVER).waiting == 4  # of each channel, two
    world.settle()
    assert delivery_of(world, batch).attempts == 1


def test_a_target_that_can_never_be_told_is_dead_at_once(world):
    batch = ended(world)
    broken(world, times=1, error=InvalidRequest("The address is not verified."))
    do_deliver(world, batch)
    delivery = delivery_of(world, batch)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DEAD, 1)
    assert delivery.last_error == "The address is not verified."
    world.settle()


def test_a_delivery_that_the_process_always_dies_of_is_given_up(world):
    batch = ended(world)
    for number in range(POLICY.max_attempts):
        with crash_after(world.tap, "mailer.send"):
            do_deliver(world, batch)
        assert delivery_of(world, batch).attempts == number + 1
        world.advance(3600)
    do_deliver(world, batch)
    delivery = delivery_of(world, batch)
    assert delivery.status is DeliveryStatus.DEAD
    assert delivery.last_error == "The last attempt broke off."
    world.settle()


def test_what_was_delivered_is_not_delivered_again(world):
    batch = world.submit(1, metadata=ADDRESS)
    world.settle()
    deliver.deliver(world.env, batch.tenant, batch.id, "events/topic")
    deliver.deliver(world.env, batch.tenant, "batch_nobody", "events/topic")
    assert len(world.told) == 1


@pytest.mark.parametrize(
    "address",
    ["nobody", "@example.com", "a@", "a b@example.com", "a@b.example,c@d.example", "a\n@b.example"],
)
def test_an_address_that_is_none_is_refused_on_submission(world, address):
    with pytest.raises(InvalidRequest, match="notify_email"):
        world.submit(1, metadata={"notify_email": address})
    with pytest.raises(InvalidRequest, match="notify_email"):
        world.respond(metadata={"notify_email": address})
    assert world.all_batches() == []


def test_the_end_of_a_single_request_is_told_without_a_message(world):
    response = world.respond()
    world.answer()
    assert [told.event["type"] for told in world.told] == ["response.completed"]
    assert delivery_of(world, response, Channel.EVENTS).status is DeliveryStatus.DELIVERED
    assert world.is_quiet


def test_an_event_that_can_not_be_published_at_once_is_published_later(world):
    refusals = [OSError("The topic is away.")]

    def refuse_once(event: Any, attributes: Any) -> None:
        if refusals:
            raise refusals.pop()

    world.events.subscribe(refuse_once)
    response = world.respond()
    world.answer()
    seen = delivery_of(world, response, Channel.EVENTS)
    assert (seen.status, seen.attempts) == (DeliveryStatus.PENDING, 1)
    world.advance(1.2 * least(1))
    world.pump()
    assert delivery_of(world, response, Channel.EVENTS).status is DeliveryStatus.DELIVERED


def test_an_event_whose_publisher_died_is_published_by_reap(world):
    response = world.respond()
    world.submit(2)
    world.pump(QueueName.PLAN)
    with crash_after(world.tap, "queue.send"):  # of the kick, just before the event
        world.answer()
    assert delivery_of(world, response, Channel.EVENTS).status is DeliveryStatus.PENDING
    assert world.told == []
    world.settle()
    assert [told.event["type"] for told in world.told].count("response.completed") == 1
