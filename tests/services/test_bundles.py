"""Bundles: small shards of one tenant travel as one, and each ends for itself."""

import pytest
from msgspec.structs import replace

from backburner.domain.batch import BatchStatus
from backburner.domain.bundle import is_bundle
from backburner.domain.errors import BackendError, BackendRefused, BackendThrottled
from backburner.domain.shard import ShardStatus
from backburner.ports import QueueName, Update
from backburner.services import (
    batches,
    claims,
    collect,
    deletion,
    looks,
    records,
    results,
    sending,
    shard_lines,
)
from backburner_local.adapters.store import SqliteStore
from tests import oracle
from tests.backend import answer_with, by_name
from tests.bundled import (
    WIDE,
    as_jobs,
    behind_endpoint,
    leaving,
    lose_requests,
    shard_of,
    statuses,
    the_bundle,
    waiting_behind,
)
from tests.tap import meanwhile_at
from tests.world import a_catalog, a_model, a_world, chat


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


def test_what_fails_for_good_in_a_bundle_fails_with_the_words_of_that():
    with behind_endpoint() as world:
        some = waiting_behind(world, 2)
        attempt = the_bundle(world)
        collect.collect_failure(world.env, attempt.shard.ref, code="too_hot", reason="It burns.")
        attempt.is_told = True
        world.settle()
        found = [results.single(world.untapped, world.batch(one)) for one in some]
        told = [(one.code, one.message) for one in found if one is not None]
        assert told == [("too_hot", "It burns.")] * 2


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
