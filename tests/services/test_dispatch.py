"""Slots: who gets the next one, and that none is ever lost."""

import json
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
from msgspec import structs

from backburner.domain.batch import BatchStatus
from backburner.domain.catalog import Jobs, Model
from backburner.domain.errors import BackendError, BackendRefused, BackendThrottled
from backburner.domain.shard import Shard, ShardStatus
from backburner.domain.slots import Pool
from backburner.ports import QueueName, Submitted
from backburner.services import capacity, claims, dispatch
from tests import oracle
from tests.backend import ManualBackend, answer_with
from tests.world import LIMITS, World, a_catalog, a_model, a_world, a_world_in_memory, chat


def go(world: World) -> Any:
    world.pump(QueueName.PLAN, QueueName.DISPATCH)


def test_as_many_shards_are_in_flight_as_there_are_slots(world):
    for tenant in ("a", "b", "c"):
        world.submit(4, tenant=tenant)
    go(world)
    assert (world.pool().in_flight, world.pool().waiting_lines) == (2, 4)
    world.answer()
    go(world)
    assert len(world.backend.submissions) == 3
    world.settle()
    oracle.check_end(world)


def test_the_earliest_deadline_runs_first_then_priority_then_age(world):
    names = []
    for name, window, priority in (
        ("d-old", "24h", 0),
        ("d-late", "24h", 0),
        ("c", "24h", 5),
        ("b", "1h", 0),
        ("a", "1h", 9),
    ):
        world.submit([chat(name)], window=window, priority=priority)
        names.append(name)
        if name == "d-old":
            world.advance(0.001)
    world.clock.advance(0)
    world.pump(QueueName.PLAN)
    while not world.is_quiet and len(world.backend.submissions) < len(names):
        world.pump(QueueName.DISPATCH)
        world.answer()
    order = [attempt.custom_ids[0] for attempt in world.backend.submissions]
    assert order == ["a", "b", "c", "d-old", "d-late"]


def test_a_batch_of_minutes_overtakes_one_of_a_day_on_a_busy_pool(world):
    long = world.submit(40, window="24h", priority=9)
    go(world)
    world.answer()  # the canary
    go(world)
    world.advance(60)
    short = world.submit(8, tenant="zeta", window="15m")
    go(world)
    assert {one.shard.batch_id for one in world.outstanding} == {long.id}
    ran = []
    while not world.batch(short).is_terminal:
        world.answer()
        world.pump()
        ran.append(world.outstanding[-1].shard.batch_id)
    assert ran[:2] == [short.id, short.id]
    assert world.batch(short).status is BatchStatus.COMPLETED
    assert world.batch(long).completed < 20
    world.settle()
    oracle.check_end(world)


def test_priority_orders_batches_that_were_submitted_within_the_same_hour(world):
    world.submit(8, tenant="busy")
    go(world)
    low = world.submit(8, priority=1)
    world.advance(30)
    high = world.submit(8, tenant="zeta", priority=8)
    world.run()
    ran = [one.shard.batch_id for one in world.backend.submissions[2:]]
    assert ran == [high.id, high.id, low.id, low.id]


def test_a_tenant_holds_no_more_than_its_share_while_others_wait():
    limits = replace(LIMITS, tenant_share=0.5)
    with a_world_in_memory(limits=limits, catalog=a_catalog(a_model(slots=4))) as world:
        world.submit(40, tenant="greedy", window="15m")
        world.submit([chat("modest")], tenant="modest")
        go(world)
        while world.outstanding and world.outstanding[0].shard.id == "00001":
            world.answer()
            go(world)
        held = [one.shard.tenant for one in world.outstanding]
        assert held.count("greedy") == 2
        assert "modest" in [one.shard.tenant for one in world.backend.submissions]
        oracle.check_step(world)


def test_a_throttled_backend_gives_the_slot_back_and_the_attempt_does_not_count(world):
    batch = world.submit(2)
    world.backend.fail_next(*[BackendThrottled()] * 3)
    for _ in range(4):
        go(world)
        (shard,) = world.shards(batch)
        if shard.status is ShardStatus.WAITING:
            assert (shard.attempt, world.pool().in_flight) == (0, 0)
            assert 2.5 <= shard.not_before - world.clock.now() <= 5
        world.advance(10)
    go(world)
    assert [one.shard.attempt for one in world.backend.submissions] == [1]
    world.settle()
    oracle.check_end(world)


def test_a_throttled_backend_is_not_asked_for_more(world):
    world.submit(8)
    world.backend.fail_next(BackendThrottled())
    go(world)
    assert world.backend.submissions == []
    assert world.pool().in_flight == 0
    world.settle()
    oracle.check_end(world)


def test_a_backend_that_throttles_is_asked_once_a_pause_however_much_waits():
    with a_world_in_memory(catalog=a_catalog(a_model(slots=60))) as world:
        for _ in range(30):
            world.submit(1)
        refusals = [BackendThrottled()] * 1000
        world.backend.fail_next(*refusals)
        go(world)
        for _ in range(60):
            world.advance(1)
            go(world)
        asked = len(refusals) - len(world.backend.errors)
        shortest = world.env.limits.retry.pause_seconds(1, 0.0)
        assert 1 < asked <= 60 / shortest + 1
        world.backend.errors.clear()
        world.settle()
        oracle.check_end(world)


def test_a_pool_that_throttles_is_left_alone_for_one_pause_and_looked_at_once_behind_it(world):
    world.submit(1)
    world.settle()
    model = a_model(slots=2)
    for _ in range(3):
        capacity.hold(world.env, model.pool, seconds=5.0)
    for seconds, free in ((4.0, 0), (1.0, 2)):
        assert world.receive(QueueName.DISPATCH) == []
        world.clock.advance(seconds)
        assert capacity.free_slots(world.env, model, capacity.load(world.env, model.pool)) == free
    assert len(world.receive(QueueName.DISPATCH)) == 1
    assert world.receive(QueueName.DISPATCH) == []


def test_the_queue_is_looked_at_when_its_index_shows_what_was_put_there():
    with a_world_in_memory(limits=replace(LIMITS, index_lag_seconds=1.0)) as world:
        world.submit(1)
        world.pump(QueueName.PLAN)
        assert world.receive(QueueName.DISPATCH) == []
        world.advance(1)
        assert len(world.receive(QueueName.DISPATCH)) == 1


def test_a_shard_that_the_backend_refuses_fails_for_good(world):
    batch = world.submit(2)
    world.backend.fail_next(BackendRefused("Too large."))
    go(world)
    world.settle()
    assert [line["error"]["code"] for line in world.errors(batch)] == ["backend_refused"] * 2
    assert world.backend.submissions == []
    oracle.check_end(world)


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_submit_whose_answer_is_lost_ends_well_either_way(world, is_taken):
    batch = world.submit(2)
    world.backend.fail_next(BackendError(), is_taken=is_taken)
    go(world)
    assert world.pool().in_flight == 1
    world.settle()
    assert world.batch(batch).completed == 2
    assert len(world.backend.submissions) == 1
    oracle.check_end(world)


def test_a_shard_waits_out_its_pause(world):
    world.submit(1)
    go(world)
    world.answer(reply=answer_with(429))
    world.pump()
    assert world.outstanding == []
    assert dispatch.dispatch(world.env, "manual:mistral") == 0
    world.advance(10)
    world.pump()
    assert len(world.outstanding) == 1


class SlowBackend(ManualBackend):
    """One that takes a second for each shard."""

    def __init__(self, world: World) -> None:
        super().__init__(world.blobs, world.store)
        self.world = world

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        self.world.clock.advance(1)
        return super().submit(shard, model, payload)


def test_who_has_sent_shards_for_long_leaves_the_rest_to_another_message():
    limits = replace(LIMITS, dispatch_seconds=3)
    with a_world_in_memory(limits=limits, catalog=a_catalog(a_model(slots=8))) as world:
        for name in "abcdefg":
            world.submit([chat(name)])
        world.pump(QueueName.PLAN)
        env = replace(world.env, backends={"manual": SlowBackend(world)})
        before = world.queue.counts(QueueName.DISPATCH).waiting
        assert dispatch.dispatch(env, "manual:mistral") == 3
        assert world.queue.counts(QueueName.DISPATCH).waiting == before + 1
        assert dispatch.dispatch(env, "manual:mistral") == 3
        assert dispatch.dispatch(env, "manual:mistral") == 1
        assert world.queue.counts(QueueName.DISPATCH).waiting == before + 2


def test_the_rest_is_left_to_a_message_about_the_same_pool(world):
    for name in "ab":
        world.submit([chat(name)])
    world.pump(QueueName.PLAN)
    world.queue.delete(world.queue.receive(QueueName.DISPATCH, 10, 1))
    env = replace(world.untapped, backends={"manual": SlowBackend(world)})
    env = replace(env, limits=replace(LIMITS, dispatch_seconds=1, sends_at_once=1))
    assert dispatch.dispatch(env, "manual:mistral") == 1
    ((_, message),) = world.receive(QueueName.DISPATCH)
    assert json.loads(message.body) == {"pool": "manual:mistral"}


def test_a_dispatch_message_of_a_pool_that_no_model_has_does_nothing(world):
    assert dispatch.dispatch(world.env, "manual:nobody") == 0


def test_nothing_of_an_expired_batch_is_started(world):
    batch = world.submit(2, window="15m")
    world.pump(QueueName.PLAN)
    world.advance(15 * 60)
    world.pump(QueueName.DISPATCH)
    assert world.backend.submissions == []
    world.tick()
    assert world.batch(batch).status is BatchStatus.EXPIRED
    oracle.check_end(world)


def test_submission_wakes_the_endpoint_at_most_once_per_cool_down(world):
    world.backend.instance_count = 0
    for _ in range(3):
        world.submit(2)
        world.backend.instance_count = 0
        go(world)
    assert world.backend.wakes == [1]
    world.advance(LIMITS.wake_cooldown_seconds + 1)
    world.backend.instance_count = 0
    dispatch.dispatch(world.env, "manual:mistral")
    assert len(world.backend.wakes) == 2
    assert world.backend.wakes[-1] >= 1


def test_an_endpoint_that_is_awake_is_left_alone(world):
    world.submit(2)
    go(world)
    assert world.backend.wakes == []


class MeetingBackend(ManualBackend):
    """Takes a shard only once so many calls are being made at the same time."""

    def __init__(self, backend: ManualBackend, callers: int) -> None:
        super().__init__(backend.blobs, backend.store)
        self.meeting = Barrier(callers, timeout=10)

    def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
        self.meeting.wait()
        return super().submit(shard, model, payload)


def test_shards_are_sent_beside_each_other():
    limits = replace(LIMITS, sends_at_once=2)
    catalog = a_catalog(a_model(slots=3))
    with a_world(limits=limits, catalog=catalog, has_threads=True) as world:
        for tenant in ("a", "b", "c"):
            world.submit(4, tenant=tenant)
        world.pump(QueueName.PLAN)
        backend = MeetingBackend(world.backend, 3)  # two threads, and the dispatcher's own
        world.set_env(replace(world.untapped, backends={"manual": backend}))
        assert dispatch.dispatch(world.untapped, "manual:mistral") == 3
        assert len(backend.submissions) == 3
        assert world.pool().in_flight == 3


class BreakingStore:
    """A store whose nth write fails."""

    def __init__(self, store: Any, breaks_at: int) -> None:
        self.get, self.query, self._transact = store.get, store.query, store.transact
        self._left = breaks_at

    def transact(self, *writes: Any) -> None:
        self._left -= 1
        if self._left == 0:
            raise OSError("The store is away.")
        self._transact(*writes)


def test_what_is_claimed_is_sent_although_the_next_claim_breaks():
    limits = replace(LIMITS, sends_at_once=8)
    with a_world(limits=limits, has_threads=True) as world:
        for tenant in ("a", "b"):
            world.submit(4, tenant=tenant)
        world.pump(QueueName.PLAN)
        store = BreakingStore(world.store, breaks_at=2)
        world.set_env(replace(world.untapped, store=store))
        with pytest.raises(OSError, match="away"):
            dispatch.dispatch(world.untapped, "manual:mistral")
        assert len(world.backend.submissions) == world.pool().in_flight == 1


def test_the_way_to_a_shard_behind_many_that_must_wait_is_short():
    catalog, limits = a_catalog(a_model(slots=4)), replace(LIMITS, tenant_share=0.25)
    with a_world(catalog=catalog, limits=limits) as world:
        world.submit(400, tenant="a")
        world.pump()
        world.answer()
        world.pump(QueueName.PLAN)
        world.submit(4, tenant="b")
        world.pump(QueueName.PLAN)
        with world.tap.hooked(None):
            assert dispatch.dispatch(world.env, "manual:mistral") == 2
            assert world.tap.calls.count("store.query") <= 4


def test_a_batch_whose_budget_is_in_flight_is_asked_only_once_however_many_shards_wait():
    with a_world_in_memory(catalog=a_catalog(a_model(slots=9))) as world:
        world.submit(80, max_tokens=60)
        go(world)
        world.answer()  # the canary: 20 tokens for 4 requests
        world.pump(QueueName.PLAN)
        asked: list[str] = []
        with world.tap.hooked(None):
            assert dispatch.dispatch(world.env, "manual:mistral") == 2
            asked += [name for name in world.tap.calls if name == "store.get"]
        assert len(asked) <= 8
        world.settle()
        oracle.check_end(world)


def test_jobs_go_first_to_the_tenant_who_has_least_in_flight():
    jobs = Jobs(model_id="vendor.model", usual_slots=2)
    with a_world_in_memory(catalog=a_catalog(a_model(endpoint="", jobs=jobs))) as world:
        world.submit(2, tenant="busy")
        go(world)
        world.submit(2, tenant="busy")
        world.submit(2, tenant="idle")
        go(world)
        assert [one.shard.tenant for one in world.outstanding] == ["busy", "idle"]


def test_small_shards_share_what_is_free_behind_an_endpoint_and_nothing_else():
    with a_world_in_memory(catalog=a_catalog(a_model(slots=2))) as world:
        for number in range(2):
            world.respond(f"first{number}")
        some = [world.respond(f"r{number}") for number in range(6)]
        for attempt in list(world.outstanding):
            world.answer(attempt)
        world.pump(QueueName.DISPATCH)
        assert [one.custom_ids for one in world.outstanding] == [
            ["r0", "r1", "r2"],
            ["r3", "r4", "r5"],
        ]
        world.settle()
        assert all(world.batch(one).status is BatchStatus.COMPLETED for one in some)
        oracle.check_end(world)


def test_a_shard_that_waits_again_is_as_it_was_but_for_its_attempt(world):
    batch = world.submit(1)
    world.pump(QueueName.PLAN)
    (shard,) = world.shards(batch)
    taken = claims.claimed(world.untapped, shard)
    now = world.clock.now()
    assert (taken.status, taken.attempt, taken.claimed_at) == (ShardStatus.IN_FLIGHT, 1, now)
    assert taken.look_at == now + LIMITS.look_seconds
    assert taken.lease_ends_at == now + LIMITS.lease_seconds
    assert taken.waiting() == structs.replace(shard, attempt=1)


@pytest.mark.parametrize(("held", "free"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_a_pool_has_as_many_slots_free_as_nobody_holds(world, held, free):
    pool = Pool(id="p", in_flight=held)
    assert capacity.free_slots(world.untapped, a_model(slots=2), pool) == free
