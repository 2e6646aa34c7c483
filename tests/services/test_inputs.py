"""Requests of a batch are found by line, and few of them are held."""

from typing import Any

import msgspec

from backburner.domain.batch import Batch
from backburner.ports import QueueName
from backburner.services.inputs import Inputs
from tests.world import World, chat


def planned(world: World, count: int) -> Batch:
    """A batch whose shards are of four lines each, all in the queue."""
    batch = world.submit([chat(f"r{number}") for number in range(1, count + 1)])
    world.pump(QueueName.PLAN, QueueName.DISPATCH)
    world.answer()
    world.pump(QueueName.PLAN)
    return world.batch(batch)


def name_of(line: bytes | None) -> Any:
    return None if line is None else msgspec.json.decode(line)["custom_id"]


def test_each_line_is_found_and_no_other(world):
    inputs = Inputs(world.env, planned(world, 10))
    assert [name_of(inputs.find(number)) for number in range(1, 11)] == [
        f"r{number}" for number in range(1, 11)
    ]
    assert [inputs.find(number) for number in (0, 11)] == [None, None]


def test_requests_of_a_shard_are_read_once_for_all_of_its_lines(world):
    inputs = Inputs(world.env, planned(world, 40))
    with world.tap.hooked(None):
        for number in (5, 1, 6, 2, 5, 3):
            inputs.find(number)
        assert world.tap.calls == ["blobs.get"] * 2
        for number in range(1, 41):
            inputs.find(number)
        assert world.tap.calls == ["blobs.get"] * 10


def test_of_many_shards_those_that_were_read_last_are_held(world):
    inputs = Inputs(world.env, planned(world, 40))
    for number in range(1, 41):
        inputs.find(number)
    with world.tap.hooked(None):
        assert name_of(inputs.find(9)) == "r9"
        assert world.tap.calls == []
        assert name_of(inputs.find(1)) == "r1"
        assert world.tap.calls == ["blobs.get"]


def test_a_line_of_another_model_between_those_of_a_shard_is_found_in_its_own(world):
    models = ["mistral", "ministral"] * 2
    batch = world.submit([chat(f"r{n}", model=name) for n, name in enumerate(models, 1)])
    world.pump(QueueName.PLAN)
    inputs = Inputs(world.env, batch)
    assert [name_of(inputs.find(n)) for n in (2, 1, 4, 3)] == ["r2", "r1", "r4", "r3"]
    world.settle()
