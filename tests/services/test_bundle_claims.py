"""Who may travel in a bundle: decided as it is claimed, whatever happens meanwhile."""

import pytest
from msgspec.structs import replace

from backburner.domain.batch import BatchStatus
from backburner.domain.shard import ShardStatus
from backburner.ports import Delete, Put, QueueName, Update
from backburner.services import batches, claims, membership, pausing, records, sending
from backburner.services.transitions import JOINING
from tests import oracle
from tests.bundled import (
    CAP,
    JOBS,
    WIDE,
    as_jobs,
    behind_endpoint,
    leaving,
    shard_of,
    statuses,
    the_bundle,
    waiting_behind,
)
from tests.tap import meanwhile_at
from tests.world import a_catalog, a_model, a_world_in_memory


def test_who_is_cancelled_before_the_claim_does_not_travel():
    with behind_endpoint() as world:
        first = world.respond("first")
        some = [world.respond(name) for name in "abc"]
        world.answer()
        batches.cancel(world.env, "acme", some[0].id, kind=some[0].kind)
        world.pump()
        assert the_bundle(world).custom_ids == ["b", "c"]
        world.settle()
        assert world.batch(first).status is BatchStatus.COMPLETED
        oracle.check_end(world)


def test_tenants_do_not_share_a_bundle():
    with behind_endpoint() as world:
        world.respond("first")
        for name in "ab":
            world.respond(name)
            world.respond(name + name, tenant="globex")
        world.answer()
        world.pump()
        assert the_bundle(world).custom_ids == ["a", "b"]
        world.settle()
        assert world.backend.submissions[-1].custom_ids == ["aa", "bb"]
        oracle.check_end(world)


def test_a_bundle_of_more_members_than_a_transaction_takes_is_claimed_in_parts():
    with behind_endpoint() as world:
        some = waiting_behind(world, 60)
        assert len(the_bundle(world).requests) == 60
        oracle.check_step(world)
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 60
        oracle.check_end(world)


def test_who_was_paused_before_the_claim_waits_as_if_there_had_been_no_bundle():
    with as_jobs() as world:
        first, second = world.submit(4), world.submit(4)
        world.pump(QueueName.PLAN)

        def pause() -> None:
            pausing.pause(world.untapped, "acme", first.id)

        with world.tap.hooked(meanwhile_at("store.transact", world.tap, pause)):
            world.pump()
        world.answer(the_bundle(world))
        assert [(one.status, one.attempt) for one in world.shards(first)] == [
            (ShardStatus.PAUSED, 0)
        ]
        assert world.batch(second).completed == 4
        oracle.check_step(world)
        pausing.resume(world.env, "acme", first.id)
        world.settle()
        oracle.check_end(world)


@pytest.mark.parametrize(
    ("place", "meanwhile", "verdict"),
    [
        ("pool", {"in_flight": JOBS.usual_slots}, claims.Verdict.POOL_FULL),
        ("pool", {"learnt": 0, "learnt_until": 1e12}, claims.Verdict.POOL_FULL),
        ("share", {"in_flight": CAP}, claims.Verdict.TENANT_FULL),
        ("share", {"in_flight": CAP - 1}, claims.Verdict.CLAIM),
        ("batches", {"paused": True}, claims.Verdict.SKIP),
        ("batches", {"stopping": "expired"}, claims.Verdict.SKIP),
    ],
)
def test_small_batches_are_claimed_where_a_slot_is_free_for_them(place, meanwhile, verdict):
    with as_jobs() as world:
        some = [world.submit(2), world.submit(2)]
        world.pump(QueueName.PLAN)
        load = tuple(shard_of(world, one) for one in some)
        keys = {
            "pool": [records.pool_key(load[0].pool)],
            "share": [records.share_key("acme", load[0].pool)],
            "batches": [records.batch_key("acme", one.id) for one in some],
        }
        world.store.transact(*(Update(key, set=meanwhile) for key in keys[place]))
        model = world.untapped.catalog.models["mistral"]
        claimed = claims.claim(world.untapped, model, load)
        assert claimed.verdict is verdict
        assert (claimed.shard is not None) is (verdict is claims.Verdict.CLAIM)
        assert claimed.paused == (load if "paused" in meanwhile else ())


def test_a_claim_in_parts_names_all_whose_batch_is_paused():
    count = 2 * JOINING + 2
    paused = (1, 2 * JOINING, count - 1)
    fit = [number for number in range(count) if number not in paused]
    with as_jobs() as world:
        some = [world.submit(1, max_tokens=10**6) for _ in range(count)]
        world.pump(QueueName.PLAN)
        keys = [records.batch_key("acme", some[number].id) for number in paused]
        for key in keys:  # who paused them died before their shards were set aside
            world.store.transact(Update(key, set={"paused": True}))
        load = tuple(shard_of(world, one) for one in some)
        claimed = claims.claim(world.untapped, world.untapped.catalog.models["mistral"], load)
        assert claimed.verdict is claims.Verdict.CLAIM
        assert claimed.paused == tuple(load[number] for number in paused)
        assert claimed.shard is not None
        sending.send(world.untapped, claimed.shard)
        lines = [request["line"] for request in the_bundle(world).requests]
        assert lines == [number + 1 for number in fit]
        running = [world.batch(one).running_lines for one in some]
        assert running == [int(number in fit) for number in range(count)]
        for key in keys:
            world.store.transact(Update(key, set={"paused": False}))
        world.settle(minutes=60)
        assert statuses(world, some) == [BatchStatus.COMPLETED] * count
        oracle.check_end(world)


@pytest.mark.parametrize(("ended", "fit"), [(0, 1), (2, 2)])
def test_no_more_of_a_batch_travels_together_than_its_budget_has_room_for(ended, fit):
    with as_jobs() as world:
        batch, other = world.submit(2, max_tokens=10**6), world.submit(2)
        world.pump(QueueName.PLAN)
        used = Update(
            records.batch_key("acme", batch.id),
            set={"completed": ended, "input_tokens": 150_000 * ended},
        )
        first = shard_of(world, batch)
        own = [replace(first, id=f"00001-{number}") for number in range(3)]
        puts = [
            Put(records.shard_key("acme", batch.id, one.id), records.shard_item(one)) for one in own
        ]
        world.store.transact(used, *puts)
        env, load = world.untapped, (*own, shard_of(world, other))
        claimed = claims.claim(env, env.catalog.models["mistral"], load).shard
        assert claimed is not None
        assert world.batch(batch).running_lines == 2 * fit
        assert world.shards(other)[0].bundle == claimed.batch_id


def test_a_bundle_is_as_urgent_as_the_most_urgent_of_its_members():
    with as_jobs() as world:
        some = [world.submit(2, priority=5), world.submit(3, window="1h")]
        world.pump(QueueName.PLAN)
        load = tuple(shard_of(world, one) for one in some)
        env = world.untapped
        claimed = claims.claim(env, env.catalog.models["mistral"], load).shard
        assert claimed is not None
        assert (claimed.priority, claimed.deadline) == (5, some[1].expires_at)
        assert (claimed.first_line, claimed.last_line, claimed.line_count) == (1, 5, 5)
        bundle = membership.load(env, claimed.ref)
        assert bundle is not None
        assert [one.attempt for one in bundle.members] == [1, 1]


@pytest.mark.parametrize(
    ("meanwhile", "travels"),
    [
        ({"status": "dropped"}, False),
        ({"attempt": 1}, False),
        ({"not_before": 1e12}, False),
        ({}, True),
        (None, False),
    ],
    ids=["dropped", "tried", "not yet", "now", "gone"],
)
def test_only_who_is_still_as_the_queue_had_it_travels(meanwhile, travels):
    with as_jobs() as world:
        some = [world.submit(2), world.submit(2)]
        world.pump(QueueName.PLAN)
        load = tuple(shard_of(world, one) for one in some)
        key = records.shard_key("acme", some[0].id, load[0].id)
        if meanwhile is None:
            world.store.transact(Delete(key))
        else:
            changes = {"not_before": world.clock.now()} if travels else meanwhile
            world.store.transact(Update(key, set=changes))
        env = world.untapped
        claimed = claims.claim(env, env.catalog.models["mistral"], load)
        assert (claimed.verdict, claimed.paused) == (claims.Verdict.CLAIM, ())
        assert shard_of(world, some[1]).bundle is not None
        assert any(one.bundle for one in world.shards(some[0])) is travels


def test_who_leaves_as_the_last_ones_join_is_left_out_and_nobody_else():
    with as_jobs() as world:
        some = [world.submit(1) for _ in range(JOINING + 2)]
        world.pump(QueueName.PLAN)
        with world.tap.hooked(leaving(world, some[-1:], moment="before", transaction=2)):
            world.pump(QueueName.DISPATCH)
        lines = [request["line"] for request in the_bundle(world).requests]
        assert lines == list(range(1, JOINING + 2))
        world.settle()
        completed = [BatchStatus.COMPLETED] * (JOINING + 1)
        assert statuses(world, some) == [*completed, BatchStatus.CANCELLED]
        oracle.check_end(world)


def test_a_claim_of_which_all_have_left_claimed_nothing():
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.answer()
        load = tuple(shard_of(world, one) for one in some)
        model = world.untapped.catalog.models["mistral"]
        with world.tap.hooked(leaving(world, some)):
            claimed = claims.claim(world.env, model, load)
        assert (claimed.verdict, claimed.shard) == (claims.Verdict.SKIP, None)
        assert world.pool().in_flight == 0


def test_who_was_claimed_alone_before_is_not_missing_in_the_bundle():
    model = a_model(cut=WIDE, slots=2)
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        firsts = [world.respond("f0"), world.respond("f1")]
        some = [world.respond(f"r{number}") for number in range(4)]

        def claim_one() -> None:
            alone = claims.claim(world.untapped, model, (shard_of(world, some[1]),)).shard
            assert alone is not None
            sending.send(world.untapped, alone)

        for attempt in list(world.outstanding):
            world.answer(attempt)
        with world.tap.hooked(meanwhile_at("store.transact", world.tap, claim_one)):
            world.pump()
        alone, bundle = world.outstanding
        assert (alone.custom_ids, bundle.custom_ids) == (["r1"], ["r0"])
        world.answer(bundle)
        assert shard_of(world, some[1]).status is ShardStatus.IN_FLIGHT
        oracle.check_step(world)
        world.settle()
        assert statuses(world, firsts + some) == [BatchStatus.COMPLETED] * 6
        sent = [name for one in world.backend.submissions for name in one.custom_ids]
        assert sorted(sent) == ["f0", "f1", "r0", "r1", "r2", "r3"]
        oracle.check_end(world)
