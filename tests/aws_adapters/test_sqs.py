"""What SQS asks of its adapter beyond the promises of every Queue."""

import json

import pytest
from botocore.exceptions import ClientError

from backburner.ports import QueueName
from tests.contract import on_sqs
from tests.contract.on_moto import moto_clients

PLAN = QueueName.PLAN


@pytest.fixture
def world(tmp_path):
    with on_sqs.sqs_queue(tmp_path) as world:
        yield world


@pytest.mark.parametrize(
    ("delay_seconds", "whole"), [(0, 0), (0.1, 1), (1, 1), (1.5, 2), (899.2, 900), (900, 900)]
)
def test_a_message_is_late_rather_than_early(world, delay_seconds, whole):
    world.queue.send(PLAN, {}, delay_seconds=delay_seconds)
    if whole:
        world.advance(whole - 0.5)
        assert world.receive(PLAN) == []
    world.advance(0.6)
    assert len(world.receive(PLAN)) == 1


#: What XML has no way to say, and what may be mistaken for its own.
TEXTS = [
    "".join(map(chr, range(32))),
    "\x7f\x80\x9f",
    "\ufffe\uffff\U0001ffff",
    "lone \ud800 surrogate",
    "naïve 😀",
    "<&>\"'\\]]>",
    "\u2028\u2029",
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_any_text_arrives(world, text):
    world.queue.send(PLAN, {text: text})
    (message,) = world.receive(PLAN)
    assert json.loads(world.body(message)) == {text: text}
    # moto takes any character; SQS only those of XML.
    assert world.body(message).isascii()
    assert world.body(message).isprintable() or "\x7f" in text


def test_what_json_can_not_say_is_not_sent(world):
    with pytest.raises(ValueError, match="JSON"):
        world.queue.send(PLAN, {"n": float("nan")})
    assert world.receive(PLAN) == []


def test_a_body_has_at_most_a_mebibyte(world):
    world.queue.send(PLAN, {"text": "x" * (1024 * 1024 - 20)})
    with pytest.raises(ClientError, match="1048576"):
        world.queue.send(PLAN, {"text": "x" * 1024 * 1024})
    assert len(world.receive(PLAN)) == 1


@pytest.mark.parametrize("queue", QueueName)
def test_every_queue_of_the_template_keeps_dead_letters_longer_than_messages(world, queue):
    world.queue.send(queue, {"poison": 1})
    for _ in range(on_sqs.MAX_RECEIVES + 1):
        world.receive(queue)
        world.advance(31)
    assert world.receive(queue) == []
    world.advance(13 * 86400)
    assert [json.loads(body) for body in world.dead_letters(queue)] == [{"poison": 1}]


def test_moto_can_not_move_dead_letters_back():
    """The suite's world does it by hand; once this fails, it need not."""
    with moto_clients() as clients, pytest.raises(NotImplementedError):
        clients.sqs.start_message_move_task(SourceArn="arn:aws:sqs:us-east-1:123456789012:dead")
