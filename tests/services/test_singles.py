"""Single requests as they are taken in: what is kept of them, and what is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from backburner.domain.batch import BatchKind, BatchStatus
from backburner.domain.catalog import Jobs
from backburner.domain.errors import InvalidRequest, NotFound
from backburner.domain.shard import ShardStatus
from backburner.services import singles
from tests import oracle
from tests.world import MemoryWorld, a_catalog, a_model, a_raw_model, a_world_in_memory

JOBS = a_model("jobs", endpoint="", jobs=Jobs(model_id="vendor.model", least_lines=10))


@pytest.fixture
def world() -> Iterator[MemoryWorld]:
    with a_world_in_memory(catalog=a_catalog(a_model(slots=1), a_raw_model(), JOBS)) as made:
        yield made
        oracle.check_step(made)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nobody", NotFound, "nobody"),
        ("jobs", InvalidRequest, "The model 'jobs' runs batches only."),
        ("mistral", InvalidRequest, "The model 'mistral' takes no raw requests."),
    ],
)
def test_a_model_that_does_not_take_the_request_is_the_field_that_is_wrong(
    world, name, error, said
):
    with pytest.raises(error, match=said) as caught:
        singles.raw_model(world.untapped, name)
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("kind", "prefix"), [(BatchKind.RESPONSE, "resp_"), (BatchKind.REQUEST, "request_")]
)
def test_a_request_is_accepted_as_a_batch_of_one_that_runs(world, kind, prefix):
    now = world.clock.now()
    batch = world.respond(
        kind=kind, window="1h", priority=7, metadata={"a": "b"}, route="/v1/responses"
    )
    assert world.batch(batch) == batch
    assert batch.id.startswith(prefix)
    settings: dict[str, Any] = {
        "kind": kind,
        "status": BatchStatus.IN_PROGRESS,
        "route": "/v1/responses",
        "model": "mistral",
        "completion_window": "1h",
        "metadata": {"a": "b"},
        "priority": 7,
        "created_at": now,
        "in_progress_at": now,
        "expires_at": now + 3600,
        "total": 1,
        "planned_shards": 1,
        "open_shards": 1,
        "is_released": True,
    }
    assert {name: getattr(batch, name) for name in settings} == settings
    (shard,) = world.shards(batch)
    assert (shard.id, shard.model, shard.pool) == ("00001", "mistral", "manual:mistral")
    assert (shard.first_line, shard.last_line, shard.line_count) == (1, 1, 1)
    assert (shard.priority, shard.deadline, shard.ttl) == (7, batch.expires_at, batch.ttl)


def test_a_request_starts_at_once_where_a_slot_is_free_and_waits_else(world):
    first, second = world.respond("a"), world.respond("b")
    assert [one.custom_ids for one in world.outstanding] == [["a"]]
    stands = [world.shards(one)[0].status for one in (first, second)]
    assert stands == [ShardStatus.IN_FLIGHT, ShardStatus.WAITING]
    assert world.pool().in_flight == world.pool().waiting_lines == 1


@pytest.mark.parametrize(("size", "is_taken"), [(1024, True), (1025, False)])
@pytest.mark.parametrize("name", ["content_type", "accept", "custom_attributes"])
def test_what_the_server_is_told_is_as_long_as_a_header_may_be(world, name, size, is_taken):
    if is_taken:
        world.ask_raw(**{name: "x" * size})
        return
    with pytest.raises(InvalidRequest, match="1 to 1024 printable") as caught:
        world.ask_raw(**{name: "x" * size})
    assert caught.value.param == name
