"""Which backend takes a batch's requests for one model."""

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from backburner.domain.catalog import Fewer, Jobs, Model, Preference, When, base_model
from backburner.domain.routing import (
    Choice,
    Group,
    Option,
    Share,
    choose,
    even_cut,
    jobs_in_budget,
    option,
)
from backburner.domain.shard import Cut
from backburner.domain.slots import Pool
from tests.world import a_catalog, a_model

NOW = 1_000_000.0
HOUR = 3600.0
JOBS = Jobs(model_id="vendor.model-v1:0", least_lines=100, expected_seconds=6 * HOUR)
CUT = Cut(lines=1000, bytes=1_000_000, tokens=10**12)


def endpoint(**changes: Any) -> Model:
    settings: dict[str, Any] = {"slots": 8, "cut": Cut(lines=50, bytes=100_000, tokens=10**6)}
    return a_model(**settings | changes)


def bedrock(**changes: Any) -> Model:
    settings: dict[str, Any] = {
        "backend": "bedrock_batch",
        "endpoint": "",
        "jobs": JOBS,
        "cut": CUT,
        "slots": 1000,
    }
    return a_model(**settings | changes)


def group(lines: int) -> Group:
    return Group(lines=lines, bytes=lines * 100, prompt_bytes=lines * 80, answer_tokens=lines * 10)


def offered(
    place: Model, lines: int, pool: Pool | None = None, window: float = 24 * HOUR
) -> Option:
    return option(place, group(lines), pool or Pool(id=place.pool), window=window, now=NOW)


def busy(lines_a_second: float) -> Pool:
    """Of an endpoint that was measured, on one slot, and is warm."""
    return Pool(id="p", ended_lines=1000, busy_seconds=1000 / lines_a_second, succeeded_at=NOW)


def chosen(*options: Option, hours: float = 24, prefer: Preference = Preference.CHEAPEST) -> Choice:
    return choose(options, deadline=NOW + hours * HOUR, prefer=prefer)


def test_a_job_starts_in_the_next_wave_with_a_free_slot():
    pool = Pool(id="p", in_flight=25, waiting_lines=20 * 1000, limit=20, others=4)
    seen = offered(bedrock(), 2500, pool)
    assert (seen.slots, seen.free, seen.shards) == (16, 0, 3)
    assert seen.starts_at == NOW + (25 + 20) // 16 * 6 * HOUR
    assert seen.ends_at == NOW + -(-(25 + 20 + 3) // 16) * 6 * HOUR


def test_what_jobs_took_counts_for_more_than_what_they_are_expected_to_take():
    pool = Pool(id="p", ended_jobs=4, job_seconds=4 * 1800.0)
    assert offered(bedrock(), 100, pool).ends_at == NOW + 1800


def test_an_endpoint_ends_a_group_behind_all_that_waits():
    pool = structs.replace(busy(2.0), waiting_lines=160, running_lines=80)
    seen = offered(endpoint(), 400, pool)
    assert seen.starts_at == NOW + 160 / 16
    assert seen.ends_at == NOW + (160 + 80 + 400) / 16


def test_an_endpoint_of_one_slot_runs_one_shard_after_the_other():
    assert offered(endpoint(slots=1), 400, busy(2.0)).ends_at == NOW + 400 / 2
    assert offered(bedrock(slots=1), 2500).ends_at == NOW + 3 * 6 * HOUR


@pytest.mark.parametrize(
    ("pool", "starts"),
    [
        (Pool(id="p"), None),
        (structs.replace(busy(2.0), succeeded_at=0.0), None),  # nobody knows how long a start takes
        (structs.replace(busy(2.0), ended_lines=0), NOW),
        (structs.replace(busy(2.0), busy_seconds=0.0), NOW),
    ],
)
def test_nobody_knows_when_an_endpoint_ends_that_was_never_measured(pool, starts):
    seen = offered(endpoint(), 400, pool)
    assert (seen.starts_at, seen.ends_at) == (starts, None)


def test_the_cost_is_that_of_the_prompts_and_the_longest_answers():
    priced = bedrock(input_price=2.0, output_price=4.0)
    assert offered(priced, 1000).cost_nanos == (20_000 * 2 + 10_000 * 4) * 1000
    assert offered(bedrock(), 1000).cost_nanos is None


@pytest.mark.parametrize(
    ("place", "lines", "hours", "says"),
    [
        (bedrock(), 99, 24, "takes at least 100 requests, not 99"),
        (bedrock(), 100, 24, None),
        (bedrock(jobs=replace(JOBS, fewer=Fewer.PAD)), 1, 24, None),
        (bedrock(when=When(from_lines=5000)), 4999, 24, "takes at least 5000 requests, not 4999"),
        (endpoint(when=When(to_lines=500)), 501, 24, "takes at most 500 requests, not 501"),
        (bedrock(when=When(from_seconds=24 * HOUR)), 100, 23, "takes windows of at least 24 h"),
        (bedrock(when=When(from_seconds=24 * HOUR)), 100, 24, None),
        (endpoint(), 1, 1, None),
    ],
)
def test_a_backend_refuses_what_it_is_not_for(place, lines, hours, says):
    assert offered(place, lines, window=hours * HOUR).refusal == says


@pytest.mark.parametrize(
    ("lines", "hours", "wait", "note"),
    [
        (99, 24, 3600.0, "so few wait up to 60 min for others of the tenant"),
        (99, 7.5, 1800.0, "so few wait up to 30 min for others of the tenant"),
        (99, 6, 0.0, None),
        (100, 24, 0.0, None),
    ],
)
def test_a_group_too_small_for_a_job_waits_for_others_where_these_are_combined(
    lines, hours, wait, note
):
    combined = bedrock(jobs=replace(JOBS, fewer=Fewer.COMBINE))
    seen = offered(combined, lines, window=hours * HOUR)
    usual = offered(bedrock(), 100)
    assert seen.note == note
    assert (seen.refusal, seen.starts_at) == (None, (usual.starts_at or 0.0) + wait)
    assert seen.ends_at == (usual.ends_at or 0.0) + wait


def test_a_backend_takes_no_route_that_it_does_not_serve():
    embeddings = replace(group(1000), route="/v1/embeddings")
    pool = Pool(id="p")
    seen = option(bedrock(), embeddings, pool, window=24 * HOUR, now=NOW)
    assert seen.refusal == "does not serve /v1/embeddings"
    chats = replace(embeddings, route=bedrock().routes[0])
    assert option(bedrock(), chats, pool, window=24 * HOUR, now=NOW).refusal is None


def test_the_cheapest_that_ends_in_time_is_taken():
    cheap = offered(bedrock(input_price=1.0, output_price=1.0), 1000)
    quick = offered(endpoint(input_price=3.0, output_price=3.0), 1000, busy(2.0))
    assert chosen(quick, cheap).taken is cheap
    late = chosen(quick, cheap, hours=5)
    assert (late.taken, late.why) == (quick, "the only backend that ends in time")


@pytest.mark.parametrize(
    ("prefer", "taken"),
    [(Preference.CHEAPEST, 1), (Preference.SOONEST, 0), (Preference.FIRST, 0)],
)
def test_the_catalog_says_what_is_preferred(prefer, taken):
    options = (
        offered(endpoint(input_price=3.0, output_price=3.0), 1000, busy(2.0)),
        offered(bedrock(input_price=1.0, output_price=1.0), 1000),
    )
    assert chosen(*options, prefer=prefer).taken is options[taken]


def test_costs_that_can_not_be_compared_leave_the_catalogs_order():
    options = offered(endpoint(), 1000), offered(bedrock(input_price=1.0, output_price=1.0), 1000)
    assert chosen(*options).taken is options[0]
    assert chosen(*options[::-1]).taken is options[1]


def test_where_nothing_ends_in_time_the_least_late_is_taken():
    slow = offered(endpoint(), 100_000, busy(0.001))
    jobs = offered(bedrock(), 100_000)
    assert chosen(slow, jobs, hours=1).taken is jobs


def test_an_account_that_may_have_no_jobs_never_ends_in_time():
    barred = offered(bedrock(input_price=1.0, output_price=1.0), 1000, Pool(id="p", limit=0))
    slow = offered(endpoint(input_price=3.0, output_price=3.0), 1000, busy(0.001))
    assert (barred.slots, barred.note) == (0, "the account's quota allows no job")
    assert chosen(barred, slow).taken is slow  # late, but it comes to an end
    assert chosen(barred).taken is barred  # somebody may ask for a larger quota
    assert chosen(offered(bedrock(), 7, Pool(id="p", limit=0)), slow).taken is slow


def test_a_backend_without_a_limit_of_jobs_is_not_barred():
    assert offered(endpoint(), 7, Pool(id="p", limit=0)).note is None
    assert offered(bedrock(), 700, Pool(id="p", limit=9, others=9)).note is None


def test_the_free_slots_are_those_that_the_tenant_may_take():
    pool = Pool(id="p", in_flight=14, limit=20)

    def seen(held: int, most: float) -> tuple[int, int]:
        share = Share(held=held, most=most)
        found = option(bedrock(), group(100), pool, window=24 * HOUR, now=NOW, share=share)
        return found.free, found.slots

    assert seen(0, 1.0) == (6, 20)
    assert seen(0, 0.5) == (6, 10)
    assert seen(8, 0.5) == (2, 10)
    assert seen(12, 0.5) == (0, 10)


def test_a_backend_that_all_requests_fit_is_taken_though_it_costs_more():
    small = endpoint(input_price=1.0, output_price=1.0)
    large = bedrock(input_price=3.0, output_price=3.0)
    mixed = replace(group(1000), unfit={small.pool: 1})
    offers = [
        option(place, mixed, Pool(id="p"), window=24 * HOUR, now=NOW) for place in (small, large)
    ]
    seen = chosen(*offers)
    assert (seen.taken, seen.why) == (offers[1], "the only backend that fits all of it")
    mixed.unfit[large.pool] = 7
    offers = [
        option(place, mixed, Pool(id="p"), window=24 * HOUR, now=NOW) for place in (small, large)
    ]
    seen = chosen(*offers)
    assert (seen.taken, seen.why) == (offers[0], "the backend that fits most of it")


def test_a_group_that_no_backend_takes_has_none():
    few = offered(bedrock(), 7)
    seen = chosen(few)
    assert (seen.taken, seen.options) == (None, (few,))
    assert seen.why == "takes at least 100 requests, not 7"
    assert chosen(few, few).why == "no backend takes it"


def test_where_one_backend_alone_takes_a_group_the_choice_says_whether_there_are_others():
    able, few = offered(endpoint(), 7), offered(bedrock(), 7)
    assert chosen(able).why == "the only backend"
    assert chosen(few, able).why == "the only backend that takes it"


@pytest.mark.parametrize("lines", [1, 100, 999, 1000, 1001, 2500, 50_001, 230_000])
def test_jobs_are_cut_evenly_so_that_no_tail_is_too_small(lines):
    most = even_cut(bedrock(), Group(lines=lines, bytes=0)).lines
    whole, tail = divmod(lines, most)
    jobs = whole + bool(tail)
    assert jobs == -(-lines // 1000)
    assert not tail or tail >= most - jobs


def test_bytes_make_more_jobs_and_the_lines_are_spread_over_them():
    cut = even_cut(bedrock(), Group(lines=900, bytes=2_900_000))
    assert (cut.lines, cut.bytes) == (300, 1_000_000)
    assert even_cut(bedrock(), Group(lines=3, bytes=2_900_000)).lines == 1


def test_long_answers_make_more_jobs_whose_results_can_be_read():
    asked = Group(lines=900, answer_tokens=900 * 32_000)
    assert even_cut(bedrock(), asked).lines == 300
    assert option(bedrock(), asked, Pool(id="p"), window=24 * HOUR, now=NOW).shards == 3


@pytest.mark.parametrize(
    ("asked", "canary", "lines"),
    [
        (Group(lines=1500), 500, 1000),
        (Group(lines=1000, bytes=2_000_000), 500, 500),
        (Group(lines=900, answer_tokens=900 * 32_000), 500, 200),
    ],
)
def test_what_the_canary_takes_makes_no_more_jobs(asked, canary, lines):
    assert even_cut(bedrock(), asked, canary_lines=canary).lines == lines


def test_answers_without_a_limit_are_taken_to_be_as_long_as_the_catalog_says():
    place = bedrock(cut=replace(CUT, lines=20_000, bytes=10**9))
    for tokens, jobs in ((1024, 2), (256, 1), (8192, 14)):
        asked = Group()
        for _ in range(20_000):
            asked.add(size=100, prompt_bytes=80, answer_tokens=tokens)
        cut = even_cut(place, asked)
        assert -(-20_000 // cut.lines) == jobs
        assert cut.lines * tokens * 4 < 64 * 1024 * 1024


def test_an_endpoints_shards_stay_as_they_are():
    assert even_cut(endpoint(), group(10_000)) == endpoint().cut


@pytest.mark.parametrize(
    ("pool", "slots"),
    [
        (Pool(id="p"), 20),  # as long as nobody has asked
        (Pool(id="p", limit=50), 50),
        (Pool(id="p", limit=50, others=49), 1),
        (Pool(id="p", limit=50, others=60), 0),
        (Pool(id="p", limit=50, learnt=3, learnt_until=NOW + 1), 3),
        (Pool(id="p", limit=50, learnt=3, learnt_until=NOW), 50),
        (Pool(id="p", limit=5000), 1000),
    ],
)
def test_slots_of_jobs_are_what_the_account_leaves(pool, slots):
    assert bedrock().slots_now(pool, NOW) == offered(bedrock(), 100, pool).slots == slots


def test_the_catalog_makes_slots_fewer_and_never_more():
    assert bedrock(slots=2).slots_now(Pool(id="p", limit=50), NOW) == 2
    assert endpoint().slots_now(Pool(id="p", limit=1, learnt=0, learnt_until=NOW + 9), NOW) == 8


def test_a_group_adds_up_what_its_requests_are():
    mine = Group()
    for size in (100, 200):
        mine.add(size=size, prompt_bytes=size // 2, answer_tokens=size // 10)
    assert (mine.lines, mine.bytes, mine.prompt_bytes, mine.answer_tokens) == (2, 300, 150, 30)


@pytest.mark.parametrize(
    ("limits", "jobs"),
    [
        ({}, 1),
        ({"max_tokens": 30_000}, 1),  # 20,000 of prompts and 10,000 of answers
        ({"max_tokens": 29_999}, 2),
        ({"max_tokens": 10_000}, 3),
        ({"max_tokens": 1}, 10),
        ({"max_cost_nanos": 80_000_000}, 1),
        ({"max_cost_nanos": 20_000_000}, 4),
        ({"max_cost_nanos": 20_000_000, "max_tokens": 5_000}, 6),
    ],
)
def test_a_budget_makes_more_jobs_and_none_of_a_few_requests(limits, jobs):
    priced = bedrock(input_price=2.0, output_price=4.0)
    given = {"max_cost_nanos": None, "max_tokens": None} | limits
    assert jobs_in_budget(priced, group(1000), **given) == jobs


def test_a_model_is_found_by_its_pool_and_else_on_its_first_backend():
    model = endpoint(others=(bedrock(),))
    catalog = a_catalog(model)
    for place in model.places:
        assert model.at(place.pool) is place
        assert catalog.running(model.name, place.pool) is place
    assert model.at("gone") is model
    assert catalog.running("gone", model.pool) is None


def test_models_of_one_pool_are_named_once():
    one, other = bedrock(name="a"), bedrock(name="b")
    assert list(a_catalog(one, other).each()) == [one]


@pytest.mark.parametrize(
    "named",
    [
        "amazon.nova-lite-v1:0",
        "eu.amazon.nova-lite-v1:0",
        "us-gov.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
    ],
)
def test_however_a_model_is_named_the_account_counts_its_base_model(named):
    assert base_model(named) == "amazon.nova-lite-v1:0"


def test_what_has_no_price_costs_nothing():
    usage = group(1000).usage
    assert endpoint(output_price=1.0).cost_nanos(usage) == 10_000 * 1000
    assert endpoint(input_price=1.0).cost_nanos(usage) == 20_000 * 1000


@pytest.mark.parametrize("step", [1, -1])
def test_the_soonest_is_taken_wherever_it_stands(step):
    quick, jobs = offered(endpoint(), 1000, busy(2.0)), offered(bedrock(), 1000)
    options = (quick, jobs)[::step]
    seen = chosen(*options, prefer=Preference.SOONEST)
    assert (seen.taken, seen.why, seen.options) == (quick, "the soonest", options)
    late = chosen(*options, hours=0)
    assert (late.taken, late.options) == (quick, options)
    assert late.why == "late on every backend, the least on this"
    assert chosen(*options, prefer=Preference.FIRST).taken is options[0]


@pytest.mark.parametrize("step", [1, -1])
def test_where_one_end_is_not_known_the_soonest_is_the_catalogs_first(step):
    options = (offered(endpoint(), 1000), offered(bedrock(), 1000))[::step]
    seen = chosen(*options, prefer=Preference.SOONEST)
    assert (seen.taken, seen.why) == (options[0], "the catalog's first that ends in time")
