"""Bundles: small shards of one tenant travel as one, and each ends for itself."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.catalog import Fewer, Jobs, When
from backburner.domain.errors import BackendError, BackendRefused, BackendThrottled
from backburner.domain.shard import Cut, Shard, ShardStatus
from backburner.domain.slots import tenant_cap
from backburner.ports import Delete, Put, QueueName, Update
from backburner.services import (
    batches,
    claims,
    collect,
    deletion,
    looks,
    membership,
    pausing,
    records,
    results,
    sending,
    shard_lines,
)
from backburner_local.adapters.store import SqliteStore
from tests import oracle
from tests.backend import Submission, answer_with, by_name
from tests.tap import Crash, meanwhile_at
from tests.world import (
    LIMITS,
    MemoryWorld,
    World,
    a_catalog,
    a_model,
    a_world,
    a_world_in_memory,
    chat,
)

WIDE = Cut(lines=100, bytes=100_000, tokens=10**9)
JOBS = Jobs(
    model_id="vendor.model-v1:0", least_lines=6, fewer=Fewer.COMBINE, combine_seconds=1800.0
)


#: Of the slots of jobs, those that a tenant may have.
CAP = tenant_cap(capacity=JOBS.usual_slots, share=LIMITS.tenant_share)


def behind_endpoint() -> AbstractContextManager[MemoryWorld]:
    return a_world_in_memory(catalog=a_catalog(a_model(cut=WIDE, slots=1)))


def as_jobs() -> AbstractContextManager[MemoryWorld]:
    model = a_model(endpoint="", jobs=JOBS, cut=WIDE, slots=1000)
    return a_world_in_memory(catalog=a_catalog(model))


def waiting_behind(world: World, count: int) -> list[Batch]:
    """Single requests that wait as another one has the only slot, which is freed then."""
    first = world.respond("first")
    some = [world.respond(f"r{number}") for number in range(count)]
    world.answer()
    world.pump()
    assert world.batch(first).status is BatchStatus.COMPLETED
    return some


def the_bundle(world: World) -> Submission:
    (attempt,) = world.outstanding
    assert is_bundle(attempt.shard.batch_id)
    return attempt


def statuses(world: World, some: list[Batch]) -> list[BatchStatus]:
    return [world.batch(one).status for one in some]


def shard_of(world: World, batch: Batch) -> Shard:
    return world.shards(batch)[-1]


# ---------------------------------------------------------------- single requests


def test_single_requests_that_wait_travel_together_and_take_one_slot():
    with behind_endpoint() as world:
        some = waiting_behind(world, 4)
        attempt = the_bundle(world)
        assert [request["line"] for request in attempt.requests] == [1, 2, 3, 4]
        assert attempt.custom_ids == ["r0", "r1", "r2", "r3"]
        assert (attempt.shard.input_key, attempt.body.count(b"\n")) == (None, 4)
        pool = world.pool()
        assert (pool.in_flight, pool.running_lines, pool.waiting_lines) == (1, 4, 0)
        oracle.check_step(world)
        world.answer(attempt)
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 4
        world.settle()
        oracle.check_end(world)


def test_each_gets_its_own_answer_however_these_are_ordered():
    with behind_endpoint() as world:
        some = waiting_behind(world, 3)
        world.answer(reply=by_name({"r1": 400}))
        world.settle()
        assert statuses(world, some) == [
            BatchStatus.COMPLETED,
            BatchStatus.FAILED,
            BatchStatus.COMPLETED,
        ]
        outcome = results.single(world.untapped, world.batch(some[1]))
        assert outcome is not None
        assert (outcome.line, outcome.custom_id, outcome.status_code) == (1, "r1", 400)
        oracle.check_end(world)


def test_what_of_a_bundle_is_tried_again_travels_alone():
    with behind_endpoint() as world:
        some = waiting_behind(world, 3)
        world.answer(reply=by_name({"r0": 500, "r2": None}))
        assert statuses(world, some)[1] is BatchStatus.COMPLETED
        world.settle()
        assert [one.custom_ids for one in world.backend.submissions[2:]] == [["r0"], ["r2"]]
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 3
        oracle.check_end(world)


def test_a_bundle_that_failed_as_a_whole_says_nothing_of_its_members():
    with behind_endpoint() as world:
        some = waiting_behind(world, 3)
        before = world.pool().busy_seconds
        world.advance(30)
        world.fail()
        assert (world.pool().in_flight, world.pool().busy_seconds) == (0, before)
        world.settle()
        assert sorted(one.custom_ids for one in world.backend.submissions[2:]) == [
            ["r0"],
            ["r1"],
            ["r2"],
        ]
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 3
        oracle.check_end(world)


def test_of_a_bundle_that_the_backend_refuses_for_good_each_is_tried_alone():
    with as_jobs() as world:
        some = [world.submit(3), world.submit(3)]
        world.backend.fail_next(BackendRefused("no"))
        world.pump(QueueName.PLAN)
        world.pump()
        alone = [one for one in world.outstanding if not is_bundle(one.shard.batch_id)]
        assert [len(one.requests) for one in alone] == [3, 3]
        assert {one.shard.failed_at for one in alone} == {world.clock.now()}
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_what_is_refused_alone_after_its_bundle_fails_and_takes_nobody_with_it():
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.backend.fail_next(BackendRefused("no"))
        world.answer()
        world.pump(QueueName.DISPATCH)
        world.backend.fail_next(BackendRefused("no"))
        world.settle()
        assert sorted(statuses(world, some)) == [BatchStatus.COMPLETED, BatchStatus.FAILED]
        oracle.check_end(world)


def leaving(
    world: World, some: list[Batch], *, moment: str = "after", transaction: int = 1
) -> Callable[[int, str, str], None]:
    """These are cancelled as soon as they are claimed, or at another moment."""
    seen: list[int] = []

    def leave(call: int, at: str, name: str) -> None:
        if (at, name) == (moment, "store.transact"):
            seen.append(call)
            for one in some if len(seen) == transaction else ():
                batches.cancel(world.untapped, "acme", one.id, kind=one.kind)

    return leave


def test_who_is_left_alone_in_a_bundle_that_is_refused_fails_for_good():
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.answer()
        world.backend.fail_next(BackendRefused("no"))
        with world.tap.hooked(leaving(world, some[:1])):
            world.pump()
        world.settle()
        assert len(world.backend.submissions) == 1
        assert statuses(world, some) == [BatchStatus.CANCELLED, BatchStatus.FAILED]
        oracle.check_end(world)


@pytest.mark.parametrize("error", [BackendRefused("no"), BackendThrottled("later")])
def test_who_leaves_while_its_bundle_is_taken_apart_keeps_nobody_from_waiting_again(error):
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.answer()
        world.backend.fail_next(error)
        with world.tap.hooked(leaving(world, some[:1], moment="before", transaction=2)):
            world.pump()
        world.settle()
        assert statuses(world, some) == [BatchStatus.CANCELLED, BatchStatus.COMPLETED]
        oracle.check_end(world)


def test_a_bundle_that_all_leave_before_it_is_sent_is_over():
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.answer()
        with world.tap.hooked(leaving(world, some)):
            world.pump()
        assert len(world.backend.submissions) == 1
        assert world.pool().in_flight == 0
        world.settle()
        assert statuses(world, some) == [BatchStatus.CANCELLED] * 2
        oracle.check_end(world)


def lose_requests(world: World, batch: Batch) -> None:
    (shard,) = world.shards(batch)
    assert shard.input_key is not None
    world.blobs.delete(shard.input_key)


def test_who_has_lost_its_requests_before_the_bundle_is_sent_is_left_out():
    with as_jobs() as world:
        first, second = world.submit([chat(name) for name in "abc"]), world.submit(4)
        world.pump(QueueName.PLAN)
        lose_requests(world, first)
        model = world.untapped.catalog.models["mistral"]
        load = (shard_of(world, first), shard_of(world, second))
        claimed = claims.claim(world.untapped, model, load).shard
        assert claimed is not None
        sent = shard_lines.request_names(world.untapped, replace(claimed, line_count=4))
        assert sorted(sent) == [4, 5, 6, 7]


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_member_that_has_lost_its_requests_holds_up_no_other(is_answered):
    with as_jobs() as world:
        first, second = world.submit(3), world.submit(4)
        world.pump()
        attempt = the_bundle(world)
        lose_requests(world, first)
        (world.answer if is_answered else world.fail)(attempt)
        world.pump()
        assert world.pool().in_flight == 0
        world.settle(minutes=60)
        assert world.batch(second).status is BatchStatus.COMPLETED
        assert world.batch(first).status is BatchStatus.IN_PROGRESS


def test_a_bundle_that_the_backend_throttles_waits_and_no_attempt_counts():
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.backend.fail_next(BackendThrottled("later"))
        world.answer()
        world.pump()
        shards = [shard_of(world, one) for one in some]
        assert [(one.status, one.attempt, one.bundle) for one in shards] == [
            (ShardStatus.WAITING, 0, None)
        ] * 2
        held = [world.pool().throttled_until, *(one.not_before for one in shards)]
        assert all(until > world.clock.now() for until in held)
        oracle.check_step(world)
        world.settle()
        assert world.backend.submissions[-1].custom_ids == ["a", "b"]
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_bundle_of_which_nobody_knows_whether_it_was_taken_is_looked_for(is_taken):
    with behind_endpoint() as world:
        world.respond("first")
        some = [world.respond("a"), world.respond("b")]
        world.backend.fail_next(BackendError("no answer"), is_taken=is_taken)
        world.answer()
        world.pump()
        if is_taken:
            world.answer(told=False)
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_a_result_of_which_nobody_told_is_found():
    with behind_endpoint() as world:
        some = waiting_behind(world, 3)
        world.answer(told=False)
        world.settle()
        assert len(world.backend.submissions) == 2
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 3
        oracle.check_end(world)


def test_a_bundle_without_a_word_is_given_up_when_its_lease_ends_and_a_late_result_stands():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        late = the_bundle(world)
        world.lose(late)
        for _ in range(5):
            world.advance(60)
            world.reap()
        assert world.pool().in_flight == 0
        assert [shard_of(world, one).attempt for one in some] == [1, 1]
        world.answer(late)
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        world.settle()
        assert len(world.backend.submissions) == 2
        oracle.check_end(world)


def test_a_result_that_comes_twice_changes_nothing():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        attempt = the_bundle(world)
        world.answer(attempt)
        before = [world.batch(one) for one in some]
        world.answer(attempt, reply=answer_with(400))
        assert [world.batch(one) for one in some] == before
        assert world.blobs.stat(attempt.output_key) is None
        oracle.check_end(world)


def test_a_bundle_that_has_ended_is_given_back_by_nobody():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        attempt = the_bundle(world)
        world.answer(attempt)
        before = world.pool()
        sending.give_back(world.untapped, attempt.shard, pause=60.0)
        assert world.pool() == before  # its slot is free, and the pool is not held
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_a_member_that_leaves_takes_nobody_with_it(act):
    with behind_endpoint() as world:
        some = waiting_behind(world, 3)
        batches.cancel(world.env, "acme", some[1].id, kind=some[1].kind)
        assert world.backend.stopped == []
        assert world.pool().in_flight == 1
        if act == "delete":
            world.pump()
            deletion.delete(world.env, "acme", some[1].id, kind=some[1].kind)
            world.accepted.discard(("acme", some[1].id))
            some.pop(1)
        world.answer()
        world.settle()
        ended = BatchStatus.COMPLETED
        cancelled = [BatchStatus.CANCELLED] if act == "cancel" else []
        assert statuses(world, some) == [ended, *cancelled, ended]
        oracle.check_end(world)


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


def test_the_slot_that_a_bundle_leaves_is_taken_at_once():
    with behind_endpoint() as world:
        waiting_behind(world, 2)
        bundle = the_bundle(world)
        other = world.respond("other", tenant="globex")
        world.pump()
        assert world.outstanding == [bundle]
        world.answer(bundle)
        world.pump()
        assert [one.shard.batch_id for one in world.outstanding] == [other.id]
        world.settle()
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


def test_a_bundle_of_which_all_have_left_is_stopped():
    with as_jobs() as world:
        some = [world.submit(3), world.submit(3)]
        world.pump()
        attempt = the_bundle(world)
        for one in some:
            assert world.backend.stopped == []
            batches.cancel(world.env, "acme", one.id, kind=one.kind)
            world.pump()
            world.advance(world.env.limits.grace_seconds)
            world.reap()
        assert [one.ref for one in world.backend.stopped] == [attempt.shard.ref]
        world.answer(attempt)
        world.settle()
        assert statuses(world, some) == [BatchStatus.CANCELLED] * 2
        oracle.check_end(world)


# ---------------------------------------------------------------- small batches as one job


def test_small_batches_of_a_tenant_become_one_job():
    with as_jobs() as world:
        first = world.submit(4)
        world.pump()
        assert not world.outstanding
        assert world.pool().waiting_lines == 4
        second = world.submit(2)
        world.pump()
        attempt = the_bundle(world)
        assert [request["line"] for request in attempt.requests] == [1, 2, 3, 4, 5, 6]
        assert attempt.shard.input_inline is None  # a job reads an object
        world.settle()
        assert statuses(world, [first, second]) == [BatchStatus.COMPLETED] * 2
        assert [world.batch(one).completed for one in (first, second)] == [4, 2]
        oracle.check_end(world)


def test_a_job_for_many_reads_an_object_though_its_model_is_behind_an_endpoint_too():
    jobs = a_model(endpoint="", jobs=JOBS, cut=WIDE, slots=1000)
    model = a_model(when=When(from_lines=10**6), others=(jobs,))
    with a_world_in_memory(catalog=a_catalog(model)) as world:
        some = [world.submit(3), world.submit(3)]
        world.pump()
        assert the_bundle(world).shard.input_inline is None
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_a_small_batch_runs_alone_when_it_has_waited_long_enough():
    with as_jobs() as world:
        batch = world.submit(4)
        world.pump()
        world.advance(1800)
        world.reap()
        world.pump()
        (attempt,) = world.outstanding
        assert (attempt.shard.batch_id, len(attempt.requests)) == (batch.id, 4)
        world.settle()
        oracle.check_end(world)


def test_only_what_failed_of_a_job_for_many_waits_for_another():
    with as_jobs() as world:
        first = world.submit([chat(name) for name in "abc"])
        second = world.submit([chat(name) for name in "xyz"])
        world.pump()
        world.answer(reply=by_name({"b": 500, "z": None}))
        world.settle(minutes=10)
        assert statuses(world, [first, second]) == [BatchStatus.IN_PROGRESS] * 2
        assert not world.outstanding
        third = world.submit(4)
        world.settle()
        assert len(world.backend.submissions) == 2
        last = world.backend.submissions[-1]
        assert len(last.requests) == 6
        assert last.shard.attempt == 2  # transform jobs cut finer what has failed before
        assert statuses(world, [first, second, third]) == [BatchStatus.COMPLETED] * 3
        oracle.check_end(world)


def test_a_batch_that_is_paused_does_not_travel():
    with as_jobs() as world:
        first, second = world.submit(4), world.submit(4)
        world.pump(QueueName.PLAN)
        pausing.pause(world.env, "acme", first.id)
        world.pump()
        assert not world.outstanding
        pausing.resume(world.env, "acme", first.id)
        world.pump()
        assert len(the_bundle(world).requests) == 8
        world.settle()
        assert statuses(world, [first, second]) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_budgets_count_what_travels_in_a_bundle():
    with as_jobs() as world:
        first, second = world.submit(3, max_tokens=10**6), world.submit(3)
        world.pump()
        assert world.batch(first).running_lines == 3
        world.answer()
        world.settle()
        assert world.batch(first).running_lines == 0
        assert statuses(world, [first, second]) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_a_tail_too_small_for_a_job_joins_its_own_batch_instead_of_waiting():
    with as_jobs() as world:
        world.submit(13)
        world.settle()
        assert all(not is_bundle(one.shard.batch_id) for one in world.backend.submissions)
        oracle.check_end(world)


def test_measured_rates_count_the_time_of_a_bundle_once():
    with behind_endpoint() as world:
        waiting_behind(world, 5)
        before = world.pool()
        world.advance(30)
        world.answer()
        after = world.pool()
        assert after.ended_lines - before.ended_lines == 5
        assert after.busy_seconds - before.busy_seconds == pytest.approx(30)


def test_the_members_of_a_bundle_end_in_one_transaction():
    with behind_endpoint() as world:
        some = waiting_behind(world, 10)
        world.tap.calls.clear()
        with world.tap.hooked(None):
            world.answer()
            calls = list(world.tap.calls)
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 10
        # Their ends, the notes of their events, and the bundle's own.
        assert calls.count("store.transact") == 3
        assert "blobs.list" not in calls  # behind an endpoint it has no object to remove
        oracle.check_end(world)


def test_a_member_that_moves_on_meanwhile_does_not_keep_the_others_from_ending():
    with behind_endpoint() as world:
        some = waiting_behind(world, 4)
        bad = some[2]

        def cancel() -> None:
            batches.cancel(world.untapped, "acme", bad.id, kind=bad.kind)

        with world.tap.hooked(meanwhile_at("store.transact", world.tap, cancel)):
            world.answer()
        world.settle()
        ended = [BatchStatus.COMPLETED] * 4
        ended[2] = BatchStatus.CANCELLED
        assert statuses(world, some) == ended
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


def test_a_claim_in_parts_names_all_whose_batch_is_paused(monkeypatch):
    monkeypatch.setattr("backburner.services.transitions.JOINING", 2)
    with as_jobs() as world:
        some = [world.submit(2, max_tokens=10**6) for _ in range(6)]
        world.pump(QueueName.PLAN)
        keys = [records.batch_key("acme", some[number].id) for number in (1, 4, 5)]
        for key in keys:  # who paused them died before their shards were set aside
            world.store.transact(Update(key, set={"paused": True}))
        load = tuple(shard_of(world, one) for one in some)
        claimed = claims.claim(world.untapped, world.untapped.catalog.models["mistral"], load)
        assert claimed.verdict is claims.Verdict.CLAIM
        assert claimed.paused == (load[1], *load[4:])
        assert claimed.shard is not None
        sending.send(world.untapped, claimed.shard)
        assert [request["line"] for request in the_bundle(world).requests] == [1, 2, 5, 6, 7, 8]
        assert [world.batch(one).running_lines for one in some] == [2, 0, 2, 2, 0, 0]
        for key in keys:
            world.store.transact(Update(key, set={"paused": False}))
        world.settle(minutes=60)
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 6
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


def test_who_leaves_as_the_last_ones_join_is_left_out_and_nobody_else(monkeypatch):
    monkeypatch.setattr("backburner.services.transitions.JOINING", 2)
    with as_jobs() as world:
        some = [world.submit(2) for _ in range(4)]
        world.pump(QueueName.PLAN)
        with world.tap.hooked(leaving(world, some[3:], moment="before", transaction=2)):
            world.pump(QueueName.DISPATCH)
        assert [request["line"] for request in the_bundle(world).requests] == [1, 2, 3, 4, 5, 6]
        world.settle()
        assert statuses(world, some) == [*[BatchStatus.COMPLETED] * 3, BatchStatus.CANCELLED]
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


def test_of_a_bundle_that_is_gone_a_late_word_changes_nothing_and_its_members_wait_again():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        gone = replace(the_bundle(world).shard.ref, batch_id="bundle_gone")
        for one in some:
            key = records.shard_key("acme", one.id, shard_of(world, one).id)
            world.store.transact(Update(key, set={"bundle": gone.batch_id}))
        collect.collect_result(world.env, gone, result_key="gone")
        collect.collect_failure(world.env, gone, code="backend_failed", reason="late")
        assert [shard_of(world, one).status for one in some] == [ShardStatus.IN_FLIGHT] * 2
        world.advance(world.env.limits.lease_seconds + 600)
        world.reap()
        assert [shard_of(world, one).status for one in some] == [ShardStatus.WAITING] * 2
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2


def test_a_member_is_left_alone_as_long_as_its_bundle_is_on_its_way():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        before = [shard_of(world, one) for one in some]
        world.advance(10 * world.env.limits.lease_seconds)
        for shard in before:
            looks.look(world.env, shard.ref)
        assert [shard_of(world, one) for one in some] == before
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        oracle.check_end(world)


def test_a_word_that_names_what_is_not_the_bundles_result_brings_its_members_nothing():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        ref = the_bundle(world).shard.ref
        collect.collect_result(world.env, ref, result_key="files/acme/file_1")
        assert [shard_of(world, one).status for one in some] == [ShardStatus.WAITING] * 2
        assert world.pool().in_flight == 0
        world.settle()
        assert statuses(world, some) == [BatchStatus.COMPLETED] * 2
        assert [one.custom_ids for one in world.backend.submissions[2:]] == [["r0"], ["r1"]]
        oracle.check_end(world)


def test_a_bundle_in_flight_does_not_vanish_with_its_slot_however_long_all_stood_still():
    with a_world(catalog=a_catalog(a_model(cut=WIDE, slots=1))) as world:
        some = waiting_behind(world, 2)
        world.lose(the_bundle(world))
        world.advance(3 * 86400.0)
        store = SqliteStore(world.database)
        store.sweep(world.clock.now())
        world.settle()
        assert statuses(world, some) == [BatchStatus.EXPIRED] * 2
        assert world.pool().in_flight == 0
        world.advance(2 * 86400.0)
        assert store.sweep(world.clock.now()) == 1


def test_small_batches_that_wait_for_others_hide_nobody_behind_them(monkeypatch):
    monkeypatch.setattr("backburner.services.dispatch._FAIR_SHARDS", 3)
    with as_jobs() as world:
        for number in range(7):
            world.submit(1, tenant=f"small-{number}")
        large = world.submit(6, tenant="large")
        world.pump()
        assert [one.shard.batch_id for one in world.outstanding] == [large.id]


def test_a_process_that_dies_as_its_bundle_ends_leaves_no_requests_behind():
    with as_jobs() as world:
        world.submit(3)
        world.submit(3)
        world.pump()
        attempt = the_bundle(world)
        folder = f"batches/acme/{attempt.shard.batch_id}/"
        assert [one.key for one in world.blobs.list(folder)] == [attempt.shard.input_key]

        def die_once_it_ended(call: int, at: str, name: str) -> None:
            if not world.pool().in_flight:
                raise Crash

        with world.tap.hooked(die_once_it_ended), pytest.raises(Crash):
            world.answer(attempt)
        assert list(world.blobs.list(folder)) == []


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_bundle_outlives_its_model(is_answered):
    with as_jobs() as world:
        some = [world.submit(4), world.submit(4)]
        world.pump()
        attempt = the_bundle(world)
        world.set_env(replace(world.untapped, catalog=a_catalog(a_model("other"))))
        if is_answered:
            world.answer(attempt)
        else:
            world.fail(attempt)
        world.settle()
        ended = BatchStatus.COMPLETED
        assert statuses(world, some) == [ended] * 2
        assert all(line["error"]["message"] for one in some for line in world.errors(one))
        counts = [(one.completed, one.failed) for one in map(world.batch, some)]
        assert counts == [(4, 0) if is_answered else (0, 4)] * 2
        (pool,) = (one for one in world.store.query("pools") if one.get("ended_lines"))
        assert not any(map(pool.get, ("in_flight", "waiting_lines", "running_lines")))
        oracle.check_end(world)
