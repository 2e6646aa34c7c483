"""What every Queue promises, and the event source that reads it."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backburner.ports import QueueName

PLAN = QueueName.PLAN


def bodies(world: Any, messages: Sequence[Any]) -> list[Any]:
    return [json.loads(world.body(message)) for message in messages]


def test_a_message_arrives_as_it_was_sent(queue_world):
    body = {"batch_id": "batch_1", "n": 1, "list": [1.5, None, True], "text": "naïve 😀 \n"}
    queue_world.queue.send(PLAN, body)
    (message,) = queue_world.receive(PLAN)
    assert json.loads(queue_world.body(message)) == body
    assert queue_world.receives(message) == 1


def test_a_queue_gets_only_its_own(queue_world):
    queue_world.queue.send(PLAN, {"for": "plan"})
    queue_world.queue.send(QueueName.DISPATCH, {"for": "dispatch"})
    assert bodies(queue_world, queue_world.receive(PLAN)) == [{"for": "plan"}]
    assert bodies(queue_world, queue_world.receive(QueueName.DISPATCH)) == [{"for": "dispatch"}]
    assert queue_world.receive(QueueName.DELIVER) == []


def test_a_received_message_is_hidden_until_its_visibility_timeout_ends(queue_world):
    queue_world.queue.send(PLAN, {})
    queue_world.receive(PLAN, visibility_seconds=30)
    queue_world.advance(29)
    assert queue_world.receive(PLAN) == []
    queue_world.advance(2)
    (again,) = queue_world.receive(PLAN)
    assert queue_world.receives(again) == 2


def test_a_deleted_message_is_never_seen_again(queue_world):
    queue_world.queue.send(PLAN, {})
    (message,) = queue_world.receive(PLAN)
    queue_world.delete(message)
    queue_world.delete(message)
    queue_world.advance(3600)
    assert queue_world.receive(PLAN) == []


def test_a_delayed_message_is_seen_when_its_delay_is_over(queue_world):
    queue_world.queue.send(PLAN, {}, delay_seconds=900)
    queue_world.advance(899)
    assert queue_world.receive(PLAN) == []
    queue_world.advance(2)
    assert len(queue_world.receive(PLAN)) == 1


@pytest.mark.parametrize("delay_seconds", [-1, 901, float("nan"), float("inf")])
def test_a_delay_is_at_most_900_seconds(queue_world, delay_seconds):
    with pytest.raises(ValueError, match="delay"):
        queue_world.queue.send(PLAN, {}, delay_seconds=delay_seconds)


def test_a_released_message_is_seen_after_its_new_delay(queue_world):
    queue_world.queue.send(PLAN, {})
    (message,) = queue_world.receive(PLAN, visibility_seconds=600)
    queue_world.release(message, 10)
    assert queue_world.receive(PLAN) == []
    queue_world.advance(11)
    (again,) = queue_world.receive(PLAN)
    queue_world.release(again, 0)
    assert len(queue_world.receive(PLAN)) == 1


def test_a_message_that_always_fails_becomes_a_dead_letter(queue_world):
    queue_world.queue.send(PLAN, {"poison": 1})
    for receives in (1, 2, 3):
        (message,) = queue_world.receive(PLAN)
        assert queue_world.receives(message) == receives
        queue_world.advance(31)
    assert queue_world.receive(PLAN) == []
    queue_world.advance(31)
    assert queue_world.receive(PLAN) == []
    assert [json.loads(body) for body in queue_world.dead_letters(PLAN)] == [{"poison": 1}]


def test_a_dead_letter_does_not_stop_the_others(queue_world):
    queue_world.queue.send(PLAN, {"poison": 1})
    for _ in range(3):
        queue_world.receive(PLAN)
        queue_world.advance(31)
    queue_world.queue.send(PLAN, {"good": 1})
    received = [*queue_world.receive(PLAN), *queue_world.receive(PLAN)]
    assert bodies(queue_world, received) == [{"good": 1}]


def test_redriven_dead_letters_are_received_afresh(queue_world):
    queue_world.queue.send(PLAN, {"poison": 1})
    for _ in range(4):
        queue_world.receive(PLAN)
        queue_world.advance(31)
    assert queue_world.redrive(PLAN) == 1
    assert queue_world.redrive(PLAN) == 0
    assert queue_world.dead_letters(PLAN) == []
    (message,) = queue_world.receive(PLAN)
    assert queue_world.receives(message) == 1
    assert bodies(queue_world, [message]) == [{"poison": 1}]


def test_everything_sent_is_received_however_many_take(queue_world):
    def send(n):
        for turn in range(10):
            queue_world.queue.send(PLAN, {"id": f"{n}#{turn}"})

    def take(_):
        taken = []
        while messages := queue_world.receive(PLAN):
            taken += bodies(queue_world, messages)
            for message in messages:
                queue_world.delete(message)
        return taken

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
        taken = [body["id"] for part in pool.map(take, range(4)) for body in part]
    assert set(taken) == {f"{n}#{turn}" for n in range(8) for turn in range(10)}
