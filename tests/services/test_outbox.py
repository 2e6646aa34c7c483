"""What is to be told of an end, and to whom."""

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from backburner.domain.batch import BatchStatus
from backburner.domain.delivery import (
    BUS,
    CALLBACK,
    TOPIC,
    Channel,
    Delivery,
    DeliveryStatus,
    address_id,
)
from backburner.domain.webhook import Endpoint, Hooks
from backburner.ports import Put, QueueName
from backburner.services import outbox, records
from tests.domain.values import a_delivery, batch

ENDED = batch(
    BatchStatus.COMPLETED, model="mistral", total=3, completed=2, failed=1, completed_at=9.0, ttl=77
)
TOPIC_IS_TOLD = (Channel.EVENTS, TOPIC, "", DeliveryStatus.PENDING, None)


def endpoint(name: str, *wanted: str, **changes: Any) -> Endpoint:
    return Endpoint(
        id=name,
        name=name,
        url=f"https://example.com/{name}",
        event_types=wanted or ("batch.completed",),
        created_at=0.0,
        updated_at=0.0,
        secrets=(),
        **changes,
    )


def told(deliveries: list[Delivery]) -> list[Any]:
    return [
        (one.channel, one.target_id, one.target, one.status, one.last_error) for one in deliveries
    ]


def test_every_end_is_told_to_the_topic_with_one_event_id(world):
    (delivery,) = outbox.of_end(world.untapped, ENDED, Hooks())
    now = world.clock.now()
    assert delivery == a_delivery(
        created_at=now,
        tried_since=now,
        due_at=now + outbox.MESSAGE_SECONDS,
        ttl=77,
    )


def test_who_is_told_beside_the_topic(world):
    ada, url = "ada@example.com", "https://example.com/end"
    ended = structs.replace(ENDED, metadata={"notify_email": ada}, callback_url=url)
    env = replace(world.untapped, bus=world.events)
    found = outbox.of_end(env, ended, Hooks(endpoints=(endpoint("we_1"),)))
    pending = DeliveryStatus.PENDING
    assert told(found) == [
        TOPIC_IS_TOLD,
        (Channel.BUS, BUS, "", pending, None),
        (Channel.EMAIL, address_id(ada), ada, pending, None),
        (Channel.WEBHOOK, CALLBACK, url, pending, None),
        (Channel.WEBHOOK, "we_1", "", pending, None),
    ]
    assert len({one.event_id for one in found}) == 1


def test_an_endpoint_is_told_what_it_asked_for_and_what_it_missed_is_noted_if_it_is_disabled(world):
    some = (
        endpoint("we_other", "batch.failed"),
        endpoint("we_off", disabled_at=5.0),
        endpoint("we_on", "batch.failed", "batch.completed"),
    )
    assert told(outbox.of_end(world.untapped, ENDED, Hooks(endpoints=some))) == [
        TOPIC_IS_TOLD,
        (Channel.WEBHOOK, "we_off", "", DeliveryStatus.DEAD, "The endpoint was disabled."),
        (Channel.WEBHOOK, "we_on", "", DeliveryStatus.PENDING, None),
    ]


def test_events_say_ids_and_counts_and_no_more():
    assert outbox.data_of(ENDED) == {
        "id": "batch_1",
        "status": "completed",
        "tenant": "acme",
        "model": "mistral",
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
    }


def test_what_is_over_needs_no_message_whatever_comes_behind_it(world):
    (first,) = outbox.of_end(world.untapped, ENDED, Hooks())
    over = structs.replace(first, status=DeliveryStatus.DELIVERED)
    dead = structs.replace(first, status=DeliveryStatus.DEAD)
    outbox.send(world.untapped, [over, dead, first], delay_seconds=5.0)
    assert world.receive(QueueName.DELIVER) == []
    world.clock.advance(5)
    ((_, message),) = world.receive(QueueName.DELIVER)
    assert json.loads(message.body) == {
        "tenant": "acme",
        "batch_id": "batch_1",
        "delivery": "events/topic",
    }


@pytest.mark.parametrize("has_hooks", [True, False])
def test_a_batch_is_read_with_the_webhooks_of_its_tenant_alone(world, has_hooks):
    store, other = world.store, structs.replace(ENDED, id="batch_2")
    hooks = Hooks(version=1, endpoints=(endpoint("we_1"),))
    for one in (ENDED, other):
        store.transact(Put(records.batch_key("acme", one.id), records.batch_item(one, due_at=1.0)))
    whose = "acme" if has_hooks else "globex"
    store.transact(Put(records.hooks_key(whose), records.hooks_item(hooks)))
    found = hooks if has_hooks else Hooks()
    assert outbox.load(world.untapped, "acme", "batch_1") == (ENDED, found)
    assert outbox.load(world.untapped, "acme", "batch_3") == (None, found)
    several = outbox.load_all(world.untapped, "acme", ["batch_1", "batch_2", "batch_3"])
    assert several == ({"batch_1": ENDED, "batch_2": other}, found)
