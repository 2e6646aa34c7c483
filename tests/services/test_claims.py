"""One shard and its slot: who gets it, and what the claim is told of those who don't."""

from collections.abc import Iterator
from dataclasses import replace as copy
from typing import Any

import pytest
from msgspec.structs import replace

from backburner.domain.catalog import Jobs
from backburner.domain.shard import Shard, ShardStatus
from backburner.domain.slots import tenant_cap
from backburner.ports import Delete, Key, QueueName, Update
from backburner.services import claims, records
from backburner.services.claims import Claim, Verdict
from tests import oracle
from tests.domain.values import a_shard
from tests.tap import meanwhile_at
from tests.world import LIMITS, MemoryWorld, a_catalog, a_model, a_world_in_memory

MODEL = a_model(slots=4)
JOBS = Jobs(model_id="vendor.model", timeout_seconds=7200.0)
AS_JOBS = a_model("jobs", endpoint="", jobs=JOBS)
SECOND = copy(AS_JOBS, name="mistral")
CAP = tenant_cap(capacity=4, share=LIMITS.tenant_share)


@pytest.fixture
def world() -> Iterator[MemoryWorld]:
    with a_world_in_memory(catalog=a_catalog(copy(MODEL, others=(SECOND,)), AS_JOBS)) as made:
        yield made


def waiting(world: MemoryWorld, **options: Any) -> Shard:
    batch = world.submit(2, **options)
    world.pump(QueueName.PLAN)
    (shard,) = world.shards(batch)
    return shard


def keys(shard: Shard) -> dict[str, Key]:
    return {
        "shard": records.shard_key(shard.tenant, shard.batch_id, shard.id),
        "batch": records.batch_key(shard.tenant, shard.batch_id),
        "pool": records.pool_key(shard.pool),
        "share": records.share_key(shard.tenant, shard.pool),
    }


@pytest.mark.parametrize(
    ("place", "meanwhile", "verdict"),
    [
        ("pool", {"in_flight": 3}, Verdict.CLAIM),
        ("pool", {"in_flight": 4}, Verdict.POOL_FULL),
        ("share", {"in_flight": CAP - 1}, Verdict.CLAIM),
        ("share", {"in_flight": CAP}, Verdict.TENANT_FULL),
        ("shard", {"status": "dropped"}, Verdict.SKIP),
        ("shard", {"not_before": 1e12}, Verdict.SKIP),
        ("shard", None, Verdict.SKIP),
        ("batch", {"paused": True}, Verdict.PAUSED),
        ("batch", {"stopping": "expired"}, Verdict.SKIP),
        ("batch", {"status": "cancelling"}, Verdict.SKIP),
        ("batch", {"max_tokens": 9, "input_tokens": 9}, Verdict.BATCH_FULL),
        ("batch", None, Verdict.SKIP),
    ],
)
def test_a_shard_is_claimed_as_pool_tenant_batch_and_itself_are_now(
    world, place, meanwhile, verdict
):
    shard = waiting(world)
    key = keys(shard)[place]
    world.store.transact(Delete(key) if meanwhile is None else Update(key, set=meanwhile))
    paused = (shard,) if verdict is Verdict.PAUSED else ()
    taken = claims.claimed(world.untapped, shard) if verdict is Verdict.CLAIM else None
    found = claims.claim(world.untapped, MODEL, (shard,))
    assert found == Claim(verdict=verdict, shard=taken, paused=paused)


@pytest.mark.parametrize("is_counted", [True, False])
def test_what_is_in_flight_is_counted_where_there_is_a_budget(world, is_counted):
    shard = waiting(world, **({"max_tokens": 1000} if is_counted else {}))
    claims.claim(world.untapped, MODEL, (shard,))
    (batch,) = world.all_batches()
    assert batch.running_lines == (2 if is_counted else 0)
    oracle.check_step(world)


@pytest.mark.parametrize(
    ("model", "seconds"),
    [
        (MODEL, LIMITS.lease_seconds),
        (AS_JOBS, JOBS.lease_seconds),
        (SECOND, JOBS.lease_seconds),
    ],
    ids=["endpoint", "jobs", "jobs of a model that has an endpoint too"],
)
def test_a_claim_begins_an_attempt_with_the_lease_of_where_it_runs(world, model, seconds):
    left = {"output_location": "s3://b/k", "failure_location": "s3://b/f", "job": "arn:job"}
    shard = a_shard(model=model.name, pool=model.pool, attempt=2)
    now = world.clock.now()
    assert claims.claimed(world.untapped, replace(shard, **left)) == replace(
        shard,
        status=ShardStatus.IN_FLIGHT,
        attempt=3,
        claimed_at=now,
        look_at=now + LIMITS.look_seconds,
        lease_ends_at=now + seconds,
    )


def test_a_shard_of_a_model_that_is_gone_has_the_lease_of_an_endpoint(world):
    gone = claims.claimed(world.untapped, a_shard(model="gone", pool="manual:gone"))
    assert gone.lease_ends_at == world.clock.now() + LIMITS.lease_seconds


def test_of_two_who_claim_a_shard_one_has_it_and_the_other_goes_on(world):
    shard = waiting(world)
    rivals: list[Claim] = []

    def rival() -> None:
        rivals.append(claims.claim(world.untapped, MODEL, (shard,)))

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, rival)):
        late = claims.claim(world.env, MODEL, (shard,))
    assert [one.verdict for one in rivals] == [Verdict.CLAIM]
    assert late == Claim(verdict=Verdict.SKIP)
    assert world.pool().in_flight == 1


def test_a_claim_is_decided_anew_where_only_the_count_in_flight_had_changed(world):
    shard = waiting(world, max_tokens=1000)

    def count() -> None:
        key = keys(shard)["batch"]
        world.untapped.store.transact(
            Update(key, add={"running_lines": 1, "completed": 1}, set={"input_tokens": 1})
        )

    with world.tap.hooked(meanwhile_at("store.transact", world.tap, count)):
        assert claims.claim(world.env, MODEL, (shard,)).verdict is Verdict.CLAIM
    (batch,) = world.all_batches()
    assert batch.running_lines == 3
