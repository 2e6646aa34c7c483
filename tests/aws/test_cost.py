"""What work costs in calls: counted on the adapters of AWS, the same in every run."""

import json

import pytest

from benchmarks import cost
from tests.aws import capacity, counts
from tests.aws.capacity import Index, Table
from tests.aws.world import an_aws_world

COUNTED = json.loads(cost.COUNTS.read_text(encoding="utf-8"))

ANEW = "the counts changed: python -m benchmarks.cost"


@pytest.fixture(scope="module")
def single():
    return counts.single()


@pytest.fixture(scope="module")
def small_batch():
    return counts.batch(counts.SMALL_LINES)


def test_the_page_says_what_was_counted():
    assert cost.PAGE.read_text(encoding="utf-8") == cost.render(COUNTED), ANEW


def test_a_single_request_takes_the_calls_that_were_counted(single):
    assert single == COUNTED["single"], ANEW


@pytest.mark.long
def test_a_burst_of_single_requests_takes_the_calls_that_were_counted():
    assert counts.burst() == COUNTED["burst"], ANEW


def test_a_small_batch_takes_the_calls_that_were_counted(small_batch):
    assert small_batch == COUNTED["small_batch"], ANEW


def test_an_idle_minute_takes_the_calls_that_were_counted():
    assert counts.idle_minute() == COUNTED["idle_minute"], ANEW


def test_what_stands_there_all_month_was_counted():
    with an_aws_world() as world:
        assert counts.standing(world.stack) == COUNTED["standing"], ANEW
        memory = {one.name: one.memory_mb for one in world.functions.values()}
        assert memory == COUNTED["memory_mb"], ANEW


@pytest.mark.long
def test_a_large_batch_takes_the_calls_that_were_counted():
    assert counts.batch(counts.BATCH_LINES) == COUNTED["batch"], ANEW


# ---------------------------------------------------------------- the gate


def total(counted: counts.Counts, what: str) -> float:
    return sum(float(one[what]) for one in counted["functions"].values())


def all_calls(counted: counts.Counts) -> int:
    return sum(sum(one["calls"].values()) for one in counted["functions"].values())


def test_a_single_request_stays_cheap(single):
    """From its submission to the event that tells of its end, and one look at it."""
    assert total(single, "invocations") <= 3
    assert all_calls(single) <= 19
    assert total(single, "write_units") <= 28  # 2 of them for the note that a retry would find
    assert cost.calls(single["functions"], "s3") <= 2


def test_the_shards_of_a_batch_stay_cheap(small_batch):
    """What each shard takes more, seen in the difference of a batch of 50 shards' lines."""
    large, small = COUNTED["batch"], small_batch
    shards = cost.invocations(large) - cost.invocations(small)
    assert (all_calls(large) - all_calls(small)) / shards <= 17
    assert (total(large, "write_units") - total(small, "write_units")) / shards <= 26
    assert (total(large, "invocations") - total(small, "invocations")) / shards <= 2


# ---------------------------------------------------------------- DynamoDB's rules

TABLE = Table("t", ("partition", "sort"), (Index("queue", ("queue_key",)),))


def image(size: int, **attributes: str) -> dict[str, dict[str, str]]:
    """An item of so many bytes."""
    item = {name: {"S": text} for name, text in attributes.items()} | {"x": {"S": ""}}
    item["x"] = {"S": "x" * (size - capacity.size(item))}
    assert capacity.size(item) == size
    return item


@pytest.mark.parametrize(
    ("before", "after", "single", "transactional"),
    [
        (None, image(1024), 1, 2),
        (None, image(1025), 2, 4),
        (image(5000), image(100), 5, 10),  # the larger one counts
        (image(100), image(100), 1, 2),
        (image(100), None, 1, 2),
        (None, None, 1, 2),  # a condition that failed
        (None, image(1500, queue_key="a"), 2 + 2, 4 + 2),
        (image(100, queue_key="a"), image(100, queue_key="b"), 1 + 2, 2 + 2),
        (image(100, queue_key="a"), image(100), 1 + 1, 2 + 1),
        (image(100, queue_key="a"), image(200, queue_key="a"), 1 + 1, 2 + 1),
        (image(100, queue_key="a"), image(100, queue_key="a"), 1, 2),
    ],
)
def test_writes_are_charged_by_size_and_by_index(before, after, single, transactional):
    for expected, is_transactional in ((single, False), (transactional, True)):
        units = capacity.write_units(TABLE, before, after, is_transactional=is_transactional)
        assert units == expected


def test_reads_are_charged_by_size_and_by_kind():
    assert capacity.read_units([image(4096)], each=0.5) == 0.5
    assert capacity.read_units([image(4097), None], each=1.0) == 3.0
    assert capacity.query_units([image(4096), image(4096)], is_consistent=True) == 2.0
    assert capacity.query_units([], is_consistent=False) == 0.5


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "ü"}, 2),
        ({"B": b"123"}, 3),
        ({"N": "1750000000"}, 3),
        ({"N": "-12.5"}, 4),
        ({"BOOL": True}, 1),
        ({"L": [{"S": "ab"}]}, 3 + 1 + 2),
        ({"M": {"k": {"S": "ab"}}}, 3 + 1 + 1 + 2),
    ],
)
def test_values_have_sizes(value, size):
    assert capacity.size({"": value}) == size
