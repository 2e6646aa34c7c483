"""Batches whose shards run as jobs: where they go, in what order, on which slots."""

from collections import Counter
from dataclasses import replace

import pytest
from msgspec import structs

from backburner.domain.batch import Batch, BatchStatus, StopReason
from backburner.domain.catalog import Jobs, Model, Preference, When
from backburner.domain.errors import BackendFull, BackendUnready, InvalidRequest
from backburner.domain.shard import Cut, Shard
from backburner.ports import QueueName, Room, Submitted, Update
from backburner.services import (
    batches,
    capacity,
    dispatch,
    manifest,
    records,
    standing,
    transitions,
)
from backburner.services.backlog import report_backlog
from tests import oracle
from tests.backend import by_name
from tests.world import EMBEDDINGS, LIMITS, World, a_catalog, a_model, a_world_in_memory, chat

JOBS = Jobs(model_id="vendor.model-v1:0", least_lines=5, usual_slots=2)
CUT = Cut(lines=10, bytes=100_000, tokens=10**9)


def jobs_only(**changes: object) -> Model:
    settings = {"endpoint": "", "jobs": JOBS, "cut": CUT, "slots": 1000} | changes
    return a_model("mistral", **settings)


def both(**changes: object) -> Model:
    """A model that is behind an endpoint, and runs as jobs of Bedrock."""
    return a_model("mistral", others=(jobs_only(**changes),), prefer=Preference.FIRST)


def world_of(model: Model, **options: object):
    return a_world_in_memory(catalog=a_catalog(model), **options)


def pools(world: World, batch: Batch) -> Counter[str]:
    counts: Counter[str] = Counter()
    for shard in world.shards(batch):
        counts[shard.pool] += shard.line_count
    return counts


@pytest.mark.parametrize(("lines", "sizes"), [(31, [5, 9, 9, 8]), (15, [5, 10]), (10, [10])])
def test_a_batch_for_jobs_is_cut_evenly_behind_its_canary(lines, sizes):
    with world_of(jobs_only()) as world:
        batch = world.submit(lines)
        world.settle()  # the canary is no smaller than a job may be
        assert [len(one.requests) for one in world.backend.submissions] == sizes
        assert world.batch(batch).status is BatchStatus.COMPLETED
        oracle.check_end(world)


def test_the_canary_is_of_the_model_that_is_back_in_minutes():
    catalog = a_catalog(jobs_only(), a_model("quick"))
    with a_world_in_memory(catalog=catalog) as world:
        lines = [chat(f"slow-{n}") for n in range(12)]
        world.submit([*lines, *(chat(f"quick-{n}", model="quick") for n in range(12))])
        world.pump()
        (canary,) = world.outstanding
        assert canary.shard.model == "quick"
        world.settle()
        oracle.check_end(world)


def test_the_canary_of_one_model_takes_nothing_from_the_jobs_of_another():
    other = replace(jobs_only(), name="other", jobs=replace(JOBS, model_id="vendor.other-v1:0"))
    with a_world_in_memory(catalog=a_catalog(jobs_only(), other)) as world:
        lines = [chat(f"mistral-{n}") for n in range(15)]
        batch = world.submit([*lines, *(chat(f"other-{n}", model="other") for n in range(10))])
        world.pump(QueueName.PLAN)
        planned = manifest.load(world.untapped, world.batch(batch))
        sizes = sorted((one.model, one.line_count) for one in planned)
        assert sizes == [("mistral", 5), ("mistral", 10), ("other", 10)]


@pytest.mark.parametrize(("lines", "sizes"), [(13, [5, 8]), (15, [5, 5, 5]), (21, [5, 5, 5, 6])])
def test_no_job_of_long_requests_is_too_small(lines, sizes):
    with world_of(jobs_only(cut=replace(CUT, bytes=300))) as world:
        batch = world.submit(lines)
        world.pump(QueueName.PLAN)
        planned = manifest.load(world.untapped, world.batch(batch))
        last = [sum(sizes[: n + 1]) for n in range(len(sizes))]
        assert [(one.line_count, one.last_line) for one in planned] == [
            *zip(sizes, last, strict=True)
        ]
        assert [one.size for one in planned] == [
            len(world.blobs.get(one.input_key or "")) for one in planned
        ]
        tokens = {one.tokens / one.line_count for one in planned}
        assert max(tokens) - min(tokens) <= 1
        world.settle()
        assert [len(one.requests) for one in world.backend.submissions] == sizes
        assert world.batch(batch).completed == lines
        oracle.check_end(world)


def test_a_tail_does_not_go_where_its_route_is_not_served():
    model = both(cut=replace(CUT, bytes=300))
    with world_of(replace(model, routes=(EMBEDDINGS,))) as world:
        batch = world.submit(13)
        world.settle()
        assert pools(world, batch) == {model.others[0].pool: 13}
        oracle.check_end(world)


@pytest.mark.parametrize(("budget", "sizes"), [(10**6, [400]), (30_000, [100] * 4), (9, [100])])
def test_no_job_may_use_far_more_than_the_budget_of_its_batch(budget, sizes):
    with world_of(jobs_only(cut=replace(CUT, lines=1000))) as world:
        batch = world.submit(400, max_tokens=budget)
        world.settle()
        assert [len(one.requests) for one in world.backend.submissions] == sizes
        assert world.batch(batch).completed == sum(sizes)
        oracle.check_end(world)


def test_a_tail_too_small_for_a_job_goes_where_it_is_taken():
    model = both(cut=replace(CUT, bytes=300))
    model = replace(model, when=replace(model.when, from_lines=10**6))
    with world_of(model) as world:
        batch = world.submit(13)
        world.settle()
        assert pools(world, batch) == {model.others[0].pool: 10, model.pool: 3}
        oracle.check_end(world)


def test_too_few_requests_for_a_job_are_refused_and_the_reason_is_told():
    with world_of(jobs_only()) as world:
        batch = world.submit([chat("a"), chat("b")])
        world.settle()
        after = world.batch(batch)
        assert after.status is BatchStatus.FAILED
        first = batches.findings(world.env, after)[0]
        assert (first.line, first.code) == (1, "no_backend")
        assert first.message == (
            "The model 'mistral' can't run these requests: takes at least 5 requests, not 2."
        )


def test_requests_that_are_refused_come_out_under_their_names_where_bad_ones_are_skipped():
    with world_of(jobs_only()) as world:
        batch = world.submit([chat("a"), chat("b")], on_invalid="skip")
        world.settle()
        assert [(one["custom_id"], one["error"]["code"]) for one in world.errors(batch)] == [
            ("a", "no_backend"),
            ("b", "no_backend"),
        ]
        oracle.check_end(world)


def test_the_rule_of_the_catalog_sends_big_batches_elsewhere():
    model = replace(both(), when=replace(both().when, to_lines=8))
    with world_of(model) as world:
        small, big = world.submit(8), world.submit([chat(name) for name in "abcdefghi"])
        world.settle(by_name({"c": 400}))
        assert set(pools(world, small)) == {model.pool}
        assert set(pools(world, big)) == {model.others[0].pool}
        again = world.retry(big)
        world.settle()
        assert set(pools(world, again)) == {model.pool}  # by its own requests, not its batch's
        oracle.check_end(world)


@pytest.mark.parametrize(("window", "is_for_jobs"), [("1h", False), ("24h", True)])
def test_the_rule_of_the_catalog_sends_long_windows_elsewhere(window, is_for_jobs):
    model = both()
    model = replace(model, when=When(to_lines=7), others=(jobs_only(when=When(from_seconds=7200)),))
    with world_of(model) as world:
        few, batch = world.submit(7, window=window), world.submit(8, window=window)
        world.settle()
        assert set(pools(world, few)) == {model.pool}
        assert set(pools(world, batch)) == ({model.others[0].pool} if is_for_jobs else set())
        oracle.check_end(world)


def test_a_rest_too_small_for_a_job_is_tried_again_behind_the_endpoint():
    model = replace(both(), when=replace(both().when, from_lines=10**6))
    with world_of(model) as world:
        batch = world.submit([chat(name) for name in "abcdefgh"])
        world.pump()
        (job,) = world.outstanding
        assert job.shard.pool == model.others[0].pool
        world.answer(job, by_name({"c": 500, "e": None}))
        world.settle()
        assert pools(world, batch) == {model.others[0].pool: 8, model.pool: 2}
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_a_job_that_failed_as_a_whole_is_tried_again_whole():
    with world_of(jobs_only()) as world:
        batch = world.submit(8)
        for _ in range(2):
            world.pump()
            world.fail()
            world.advance(600)
        world.settle()
        assert [len(one.requests) for one in world.backend.submissions] == [8, 8, 8]
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_a_single_request_goes_where_no_job_is_needed():
    with world_of(replace(both(), prefer=Preference.CHEAPEST)) as world:
        assert world.respond().status is BatchStatus.IN_PROGRESS
        (attempt,) = world.outstanding
        assert attempt.shard.pool == both().pool


def test_a_single_request_for_jobs_only_is_refused():
    with world_of(jobs_only()) as world, pytest.raises(InvalidRequest, match="batches only"):
        world.respond()


def waiting(tenant: str, number: int, *, window: float = 86400.0, priority: int = 0) -> Shard:
    return Shard(
        tenant=tenant,
        batch_id=f"batch_{tenant}",
        id=f"{number:05d}",
        model="mistral",
        pool=jobs_only().pool,
        first_line=1,
        last_line=1,
        line_count=1,
        created_at=float(number),
        deadline=number + window,
        priority=priority,
    )


def test_tenants_take_turns_within_a_class_of_deadline_and_priority():
    queue = [*(waiting("big", n) for n in range(4)), waiting("small", 5), waiting("late", 6)]
    order = dispatch.in_fair_order([(one,) for one in queue], {"late": 1})
    assert [one.tenant for (one,) in order] == ["big", "small", "big", "late", "big", "big"]


def test_no_turn_goes_before_a_deadline_or_a_priority():
    soon = [waiting("big", n, window=3600.0) for n in range(3)]
    high = [waiting("big", n, priority=5) for n in range(3, 6)]
    order = dispatch.in_fair_order([(one,) for one in [*soon, *high, waiting("small", 9)]], {})
    assert [one.tenant for (one,) in order] == ["big"] * 6 + ["small"]


def test_a_tenants_many_jobs_do_not_keep_another_tenant_waiting():
    with world_of(jobs_only()) as world:
        world.submit(60, tenant="big")
        world.pump()
        world.answer()  # the canary
        world.pump()
        small = world.submit(8, tenant="small")
        world.pump()
        world.answer()
        world.pump()
        assert "small" in {one.shard.tenant for one in world.outstanding}
        assert world.shards(small)
        world.settle()
        oracle.check_end(world)


def test_jobs_are_begun_one_by_one_as_long_as_there_is_time():
    with world_of(jobs_only(), limits=replace(LIMITS, sends_at_once=8)) as world:
        for tenant in ("a", "b", "c"):
            world.submit(5, tenant=tenant)
        world.pump(QueueName.PLAN)

        class Slow(type(world.backend)):  # type: ignore[misc]
            def submit(self, shard: Shard, model: Model, payload: bytes | str) -> Submitted:
                world.advance(5)
                taken: Submitted = super().submit(shard, model, payload)
                return taken

        world.backend.__class__ = Slow
        assert dispatch.dispatch(world.env, jobs_only().pool) == 1
        world.pump()
        assert len(world.backend.submissions) == JOBS.usual_slots


def test_a_refusal_teaches_how_many_slots_there_are():
    with world_of(jobs_only()) as world:
        world.backend.fail_next(BackendFull("The account runs no more jobs."))
        batch = world.submit(8)
        world.pump()
        pool = capacity.load(world.env, jobs_only().pool)
        assert (pool.in_flight, pool.learnt) == (0, 0)
        for seconds, slots in ((-1, 0), (0, JOBS.usual_slots)):
            then = world.clock.now() + capacity.LEARNT_SECONDS + seconds
            assert jobs_only().slots_now(pool, then) == slots
        world.advance(capacity.LEARNT_SECONDS + 60)
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_each_refusal_teaches_anew_what_runs_without_it():
    with world_of(jobs_only()) as world:
        world.submit(8, tenant="a")
        world.pump()
        world.submit(8, tenant="b")
        for _ in range(2):
            world.backend.fail_next(BackendFull("The account runs no more jobs."))
            world.pump()
            pool = capacity.load(world.env, jobs_only().pool)
            assert (pool.in_flight, pool.learnt) == (1, 1)
            assert pool.learnt_until == world.clock.now() + capacity.LEARNT_SECONDS
            assert world.backend.errors == []
            world.advance(capacity.LEARNT_SECONDS)
            world.reap()
        world.settle()
        oracle.check_end(world)


@pytest.mark.parametrize(("waited", "pause"), [(0, 60), (800, 200), (7200, 300)])
def test_a_backend_that_is_not_set_up_is_asked_ever_more_seldom(waited, pause):
    with world_of(jobs_only()) as world:
        batch = world.submit(8)
        world.pump(QueueName.PLAN)
        world.advance(waited)
        world.backend.fail_next(BackendUnready())
        world.pump()
        world.advance(pause - 1)
        world.reap()
        world.pump()
        assert world.backend.submissions == []
        world.advance(61)
        world.reap()
        world.pump()
        (attempt,) = world.backend.submissions
        assert attempt.shard.attempt == 1
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_jobs_of_others_in_the_account_take_slots():
    with world_of(jobs_only()) as world:
        world.submit(60)
        world.backend.room_left = Room(limit=3, others=2)
        world.pump(QueueName.PLAN)
        report_backlog(world.env)
        pool = capacity.load(world.env, jobs_only().pool)
        assert (pool.limit, pool.others) == (3, 2)
        world.pump()
        world.answer()
        world.pump()
        assert len(world.outstanding) == 1
        world.settle()
        oracle.check_end(world)


@pytest.mark.parametrize(
    ("window", "stops_after", "minutes", "completed"),
    [
        ("24h", 60, 55, 8),  # it took its time to stop
        ("24h", 60, 65, 0),
        ("24h", 23.5 * 60, 35, 8),  # the deadline comes first
        ("24h", 23.5 * 60, 45, 0),
        ("1h", 60, 8, 8),  # it expires
        ("1h", 60, 13, 0),
    ],
)
def test_a_job_that_stops_late_still_brings_what_it_finished(
    window, stops_after, minutes, completed
):
    with world_of(jobs_only()) as world:
        world.backend.has_jobs = True
        batch = world.submit(8, window=window)
        world.pump()
        (job,) = world.outstanding
        world.advance(stops_after * 60)
        if window == "24h":
            batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)
        world.tick(minutes)
        assert world.backend.stopped
        world.answer(job)
        world.settle()
        after = world.batch(batch)
        assert after.completed == completed
        assert (after.ended_at or 0) <= batch.expires_at + 900
        oracle.check_end(world)


@pytest.mark.parametrize("brings", ["a part", "nothing"])
@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.EXPIRED])
def test_what_a_stopped_job_did_not_run_says_why_it_was_stopped(reason, attempts, brings):
    limits = replace(LIMITS, retry=replace(LIMITS.retry, max_attempts=attempts))
    with world_of(jobs_only(), limits=limits) as world:
        world.backend.has_jobs = True
        batch = world.submit([chat(name) for name in "abcdefgh"], window="1h")
        world.pump()
        if reason is StopReason.CANCELLED:
            batches.cancel(world.env, batch.tenant, batch.id, kind=batch.kind)
        else:
            world.advance(3600)
            world.reap()
        assert world.backend.stopped
        if brings == "nothing":
            world.fail()
        else:
            world.answer(reply=by_name({"c": 500, "e": None}))
        world.settle()
        said = {line["custom_id"]: line for line in world.errors(batch)}
        is_last, code = attempts == 1, f"batch_{reason}"
        if brings == "nothing":
            assert {line["error"]["code"] for line in said.values()} == {code}
        else:
            assert said.keys() == {"c", "e"}
            assert said["e"]["error"]["code"] == code
            assert (said["c"]["error"] is None) is is_last  # its server did answer
        oracle.check_end(world)


def test_a_job_that_leaves_a_line_out_of_a_batch_that_runs_is_told_as_ever():
    limits = replace(LIMITS, retry=replace(LIMITS.retry, max_attempts=1))
    with world_of(jobs_only(), limits=limits) as world:
        world.backend.has_jobs = True
        batch = world.submit([chat(name) for name in "abcdefgh"])
        world.settle(by_name({"e": None}))
        assert [line["error"]["code"] for line in world.errors(batch)] == ["missing_result"]


def test_an_account_that_may_have_no_jobs_is_asked_again_though_nothing_waits(caplog):
    with world_of(replace(both(), prefer=Preference.SOONEST)) as world:
        jobs = jobs_only().pool
        (item,) = world.store.get(records.pool_key(jobs))
        assert item is None
        world.store.transact(
            Update(records.pool_key(jobs), set={"id": jobs, "limit": 0, "asked_at": 0.0})
        )
        batch = world.submit(40)
        world.pump(QueueName.PLAN)
        assert set(pools(world, batch)) == {both().pool}
        asked: list[float] = []
        for limit in (0, 5):
            world.backend.room_left = Room(limit=limit)
            report_backlog(world.env)
            asked.append(capacity.load(world.env, jobs).asked_at)
            report_backlog(world.env)
            assert capacity.load(world.env, jobs).asked_at == asked[-1]
            world.advance(capacity.BARRED_SECONDS)
        assert capacity.load(world.env, jobs).limit == 5
        assert asked == [world.clock.now() - 2 * 1800, world.clock.now() - 1800]
        report_backlog(world.env)
        assert capacity.load(world.env, jobs).asked_at == asked[-1]
        assert caplog.text.count("pool.barred") == 1
        world.settle()
        oracle.check_end(world)


def test_jobs_are_smaller_where_answers_are_long():
    long = jobs_only(cut=replace(CUT, lines=1000), answer_tokens=1_000_000)
    with world_of(long) as world:
        world.submit(40)
        world.settle()
        assert [len(one.requests) for one in world.backend.submissions] == [5, 12, 12, 11]


def test_a_request_that_fits_one_backend_alone_takes_its_batch_there():
    small = replace(both(context_window=100_000), context_window=200)
    with world_of(small) as world:
        long = chat("long", max_tokens=1000)
        batch = world.submit([*(chat(name) for name in "abcdefg"), long])
        short = world.submit([chat(f"s-{name}") for name in "abcdefg"])
        world.pump(QueueName.PLAN)
        assert set(pools(world, batch)) == {small.others[0].pool}
        assert set(pools(world, short)) == {small.pool}
        world.settle()
        assert world.batch(batch).completed == 8
        oracle.check_end(world)


def test_a_request_that_does_not_fit_where_its_batch_goes_is_told_the_window_of_that():
    small = replace(both(context_window=100_000), context_window=200)
    with world_of(small) as world:
        lines = [chat("a"), chat("b"), chat("long", max_tokens=1000)]  # too few for a job
        batch = world.submit(lines, on_invalid="skip")
        world.settle()
        assert world.batch(batch).completed == 2
        (error,) = [line["error"] for line in world.errors(batch)]
        assert error["code"] == "context_length_exceeded"
        assert error["message"].endswith("context window of 200 tokens.")
        oracle.check_end(world)


def test_a_request_that_fits_nowhere_is_told_the_largest_window():
    small = replace(both(context_window=1000), context_window=200)
    with world_of(small) as world:
        batch = world.submit([chat("long", max_tokens=5000)])
        world.settle()
        (found,) = batches.findings(world.env, world.batch(batch))
        assert (found.code, found.line) == ("context_length_exceeded", 1)
        assert found.message.endswith("context window of 1000 tokens.")


@pytest.mark.parametrize("has_endpoint", [False, True])
def test_alarms_about_the_endpoint_are_not_left_without_a_word(has_endpoint):
    model = both() if has_endpoint else jobs_only()
    catalog = replace(a_catalog(model), own_endpoint="backburner-mistral")
    with a_world_in_memory(catalog=catalog) as world:
        world.reap()
        world.report_backlog()
        own = [
            name
            for values, about in world.published
            for name in values
            if about == {"EndpointName": "backburner-mistral"}
        ]
        assert own.count("StuckBatches") == own.count("OldestWaitingSeconds") == 1


def test_what_jobs_took_is_measured():
    with world_of(jobs_only()) as world:
        world.submit(8)
        world.pump()
        (attempt,) = world.outstanding
        watched = structs.replace(attempt.shard, job="arn:job")
        world.store.transact(*transitions.watch(attempt.shard, watched))
        world.clock.advance(100)
        world.answer(attempt)
        world.settle()
        (item,) = world.store.get(records.pool_key(jobs_only().pool))
        assert (item["ended_jobs"], item["job_seconds"]) == (1, 100)


def test_a_job_that_brought_nothing_says_nothing_of_what_jobs_take():
    with world_of(jobs_only()) as world:
        world.backend.has_jobs = True
        world.submit(8)
        world.pump()
        world.advance(240)
        world.fail()
        pool = capacity.load(world.env, jobs_only().pool)
        assert (pool.ended_jobs, pool.job_seconds) == (0, 0)


def test_how_far_a_batch_of_jobs_is_is_told_by_the_pool_of_its_jobs():
    with world_of(both(slots=1)) as world:
        model = both(slots=1)
        first = world.submit(8, tenant="big")
        second = world.submit(8, tenant="small")
        for batch in (first, second):
            assert world.batch(batch).pool is None
        world.pump()
        waiting = standing.look(world.env, world.batch(second))
        assert waiting is not None
        assert waiting.pool.id == model.pool
    with world_of(replace(model, when=replace(model.when, from_lines=10**6))) as world:
        batch = world.submit(8)
        world.pump()
        seen = standing.look(world.env, world.batch(batch))
        assert seen is not None
        assert seen.pool.id == world.batch(batch).pool == model.others[0].pool
        world.settle()
