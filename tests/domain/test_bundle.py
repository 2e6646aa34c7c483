"""Which small shards travel together, and which wait for others."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from msgspec import structs

from backburner.domain.bundle import (
    MOST_BYTES,
    MOST_COMBINED,
    MOST_COMBINED_TOKENS,
    MOST_MEMBERS,
    Bundle,
    Member,
    is_bundle,
    latest_start,
    loads,
)
from backburner.domain.catalog import Fewer, Jobs, Model
from backburner.domain.shard import Cut, Shard
from tests.world import a_model

ENDPOINT = a_model(cut=Cut(lines=50, bytes=10**6, tokens=10**6))
JOBS = Jobs(model_id="vendor.model", least_lines=10, fewer=Fewer.COMBINE, combine_seconds=600.0)
BEDROCK = a_model(endpoint="", jobs=JOBS, cut=Cut(lines=30, bytes=10**6, tokens=10**6))
DAY = 86400.0


def waiting(name: str, **changes: object) -> Shard:
    settings = {
        "tenant": "acme",
        "batch_id": f"resp_{name}",
        "id": "00001",
        "model": "mistral",
        "pool": "manual:mistral",
        "first_line": 1,
        "last_line": 1,
        "line_count": 1,
        "size": 3,
        "tokens": 10,
        "input_inline": b"{}\n",
        "created_at": 0.0,
        "deadline": DAY,
    }
    return Shard(**settings | changes)  # type: ignore[arg-type]


def sent(queue: Sequence[Shard], place: Model, *, free: int = 1, now: float = 0.0) -> list[str]:
    """What travels as one, by the first letters of names."""
    found = loads(queue, lambda _: place, free=free, now=now)
    return ["".join(shard.batch_id.removeprefix("resp_") for shard in load) for load in found]


def queue(names: str, **changes: object) -> list[Shard]:
    return [waiting(name, **changes) for name in names]


# ---------------------------------------------------------------- behind an endpoint


@pytest.mark.parametrize(
    ("names", "free", "together"),
    [
        ("", 1, []),
        ("a", 1, ["a"]),
        ("ab", 2, ["a", "b"]),
        ("abc", 5, ["a", "b", "c"]),
        ("abc", 1, ["abc"]),
        ("abcd", 2, ["ab", "cd"]),
        ("abcde", 2, ["abc", "de"]),
    ],
)
def test_single_requests_share_slots_evenly_where_more_wait_than_are_free(names, free, together):
    assert sent(queue(names), ENDPOINT, free=free) == together


def test_as_many_shards_as_slots_are_free_travel_alone_whatever_their_sizes():
    some = [*queue("ab"), waiting("c", line_count=10)]
    assert sent(some, ENDPOINT, free=3) == ["a", "b", "c"]
    assert sent(some, ENDPOINT, free=2) == ["ab", "c"]


def test_each_name_behind_an_endpoint_has_its_own_size_of_shards():
    narrow = a_model(cut=Cut(lines=1, bytes=10**6, tokens=10**6))
    some = [*queue("ab"), *queue("xy", model="narrow")]
    found = loads(
        some, lambda shard: narrow if shard.model == "narrow" else ENDPOINT, free=1, now=0.0
    )
    assert [len(load) for load in found] == [2, 1, 1]


def test_no_bundle_is_larger_than_a_shard_of_its_model():
    small = a_model(cut=Cut(lines=3, bytes=10**6, tokens=10**6))
    assert sent(queue("abcdefgh"), small) == ["abc", "def", "gh"]


def test_no_bundle_is_longer_than_what_a_call_carries():
    assert sent(queue("abc", size=MOST_BYTES // 2), ENDPOINT) == ["ab", "c"]


@pytest.mark.parametrize("place", [ENDPOINT, BEDROCK], ids=["behind an endpoint", "as a job"])
@pytest.mark.parametrize("limit", ["size", "tokens"])
def test_no_bundle_has_more_bytes_or_tokens_than_a_shard_may_have(place, limit):
    most = min(MOST_BYTES, 10**6) if place is ENDPOINT and limit == "size" else 10**6
    some = queue("abc", line_count=5, **{limit: most // 2})
    assert sent(some, place, now=DAY) == ["ab", "c"]


def test_no_bundle_has_more_members_than_one_item_names():
    wide = a_model(cut=Cut(lines=10**6, bytes=10**6, tokens=10**6))
    some = [waiting(str(number)) for number in range(MOST_MEMBERS + 1)]
    assert [len(load) for load in loads(some, lambda _: wide, free=1, now=0.0)] == [MOST_MEMBERS, 1]


@pytest.mark.parametrize(
    "alone",
    [
        {"tenant": "globex"},
        {"model": "ministral"},
        {"attempt": 1},
        {"failed_at": 1.0},
        {"content_type": "image/png"},
        {"line_count": 50},
        {"size": 0},
        {"is_alone": True},
        {"input_inline": None, "input_key": "batches/acme/b/1.jsonl"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_behind_an_endpoint_what_is_of_others_large_failed_or_raw_travels_alone(alone):
    some = [waiting("a"), waiting("x", **alone), waiting("b")]
    assert sent(some, ENDPOINT) == ["ab", "x"]


# ---------------------------------------------------------------- as jobs


def test_small_shards_wait_until_they_are_enough_for_a_job():
    some = queue("abc", line_count=3)
    assert sent(some, BEDROCK) == []
    assert sent([*some, waiting("d", line_count=1)], BEDROCK) == ["abcd"]


def test_large_shards_run_as_jobs_of_their_own_beside_small_ones_that_wait():
    some = [waiting("a", line_count=9), waiting("L", line_count=10), waiting("b", line_count=1)]
    assert sent(some, BEDROCK) == ["ab", "L"]
    assert sent(some[:2], BEDROCK) == ["L"]


def test_jobs_of_small_shards_are_filled_as_far_as_they_may_be():
    some = queue("abcdefgh", line_count=9)
    assert sent(some, BEDROCK) == ["abc", "def", "gh"]


def test_the_answers_of_a_job_for_many_are_to_fit_into_its_result():
    jobs = replace(JOBS, least_lines=100)
    wide = a_model(endpoint="", jobs=jobs, cut=Cut(lines=10**5, bytes=10**9, tokens=10**9))
    some = [waiting(str(number), line_count=99) for number in range(MOST_MEMBERS)]
    first, *_ = loads(some, lambda _: wide, free=1, now=0.0)
    assert MOST_COMBINED - 99 < sum(shard.line_count for shard in first) <= MOST_COMBINED
    long = [structs.replace(shard, tokens=MOST_COMBINED_TOKENS // 5) for shard in some]
    assert len(loads(long, lambda _: wide, free=1, now=0.0)[0]) == 5


def test_what_was_refused_with_others_is_a_job_of_its_own():
    some = [waiting("a", line_count=9), waiting("x", line_count=9, is_alone=True)]
    assert sent(some, BEDROCK) == ["x"]


def test_two_small_shards_are_combined_however_small_the_largest_may_be():
    tight = a_model(endpoint="", jobs=JOBS, cut=Cut(lines=5, bytes=10**6, tokens=10**6))
    assert sent(queue("abc", line_count=9), tight) == ["ab"]


def test_each_name_of_a_pool_has_its_own_rule_for_small_shards():
    alone = a_model(endpoint="", jobs=replace(JOBS, fewer=Fewer.PAD))
    some = [*queue("ab"), *queue("xy", model="padded")]
    found = loads(
        some, lambda shard: alone if shard.model == "padded" else BEDROCK, free=9, now=0.0
    )
    assert [[shard.batch_id for shard in load] for load in found] == [["resp_x"], ["resp_y"]]


@pytest.mark.parametrize("other", [{"tenant": "globex"}, {"model": "large"}])
def test_only_shards_of_one_tenant_and_model_are_combined(other):
    some = [waiting("a", line_count=6), waiting("b", line_count=6, **other)]
    assert sent(some, BEDROCK) == []


def test_what_failed_before_is_combined_as_well():
    some = [waiting("a", line_count=5, attempt=1), waiting("b", line_count=5, failed_at=3.0)]
    assert sent(some, BEDROCK) == ["ab"]


@pytest.mark.parametrize(("now", "together"), [(599.0, []), (600.0, ["ab"])])
def test_small_shards_wait_no_longer_than_the_catalog_says(now, together):
    some = [waiting("a"), waiting("b", created_at=300.0)]
    assert sent(some, BEDROCK, now=now) == together


def test_where_small_shards_are_not_combined_each_is_a_job():
    padded = a_model(endpoint="", jobs=Jobs(model_id="m", least_lines=10, fewer=Fewer.PAD))
    assert sent(queue("ab"), padded) == ["a", "b"]


@pytest.mark.parametrize(
    ("shard", "latest"),
    [
        (waiting("a"), 600.0),
        (waiting("a", failed_at=100.0), 700.0),
        (waiting("a", deadline=7 * 3600 + 60.0), 60.0),
    ],
    ids=["after it came", "after it failed", "in time for its deadline"],
)
def test_the_latest_start_of_a_small_shard(shard, latest):
    assert latest_start(shard, JOBS) == latest


def test_members_are_numbered_one_after_the_other():
    members = tuple(
        Member(batch_id=name, shard_id="00001", attempt=1, line_count=count)
        for name, count in (("a", 2), ("b", 1), ("c", 3))
    )
    bundle = Bundle(shard=waiting("x"), members=members)
    firsts = [(str(bundle.ref(member)), first) for member, first in bundle.numbered()]
    assert firsts == [("acme/a/00001/1", 1), ("acme/b/00001/1", 3), ("acme/c/00001/1", 4)]


@pytest.mark.parametrize(
    ("name", "is_one"), [("bundle_1", True), ("batch_1", False), ("bundles", False)]
)
def test_a_bundle_is_told_from_a_batch_by_its_id(name, is_one):
    assert is_bundle(name) is is_one
