"""The domain's decisions, as tables."""

from email.headerregistry import Address
from typing import Any

import pytest

from backburner.domain.backlog import Backlog, measured_rate, wanted_instances
from backburner.domain.batch import (
    Batch,
    BatchStatus,
    Step,
    StopReason,
    checked_metadata,
    next_step,
    window_seconds,
)
from backburner.domain.context import Fit, estimate_fit, room_for_prompt
from backburner.domain.delivery import is_address
from backburner.domain.errors import InvalidRequest
from backburner.domain.request import Outcome, Request, Usage
from backburner.domain.retry import RetryPolicy, sort_outcomes
from backburner.domain.shard import (
    AttemptRef,
    Cut,
    Shard,
    ShardDraft,
    ShardStatus,
    queue_position,
    retry_id,
    shard_id,
)
from backburner.domain.slots import Pool, tenant_cap
from backburner.services.dispatch import Seen, Verdict, may_claim
from tests.world import a_model

# ---------------------------------------------------------------- retry


def outcome(line: Any = 1, status: Any = 0, code: Any = None) -> Any:
    return Outcome(line=line, custom_id=f"r{line}", status_code=status, code=code)


@pytest.mark.parametrize(
    ("status", "code", "is_retryable"),
    [
        (200, None, False),
        (201, None, False),
        (299, None, False),
        (400, None, False),
        (401, None, False),
        (403, None, False),
        (404, None, False),
        (408, None, True),
        (409, None, True),
        (413, None, False),
        (422, None, False),
        (424, None, False),
        (425, None, True),
        (429, None, True),
        (499, None, False),
        (500, None, True),
        (502, None, True),
        (503, None, True),
        (504, None, True),
        (529, None, True),
        (0, "missing_result", True),
        (0, "invalid_result", True),
        (0, "backend_failed", True),
        (0, "attempt_lost", True),
        (0, "backend_refused", False),
        (0, "batch_expired", False),
        (0, "batch_cancelled", False),
        (0, None, False),
        (200, "missing_result", False),
    ],
)
def test_what_may_fare_better_is_retryable(status, code, is_retryable):
    assert outcome(status=status, code=code).is_retryable is is_retryable


@pytest.mark.parametrize(
    ("status", "is_success"), [(199, False), (200, True), (299, True), (300, False)]
)
def test_only_2xx_is_a_success(status, is_success):
    assert outcome(status=status).is_success is is_success


@pytest.mark.parametrize(
    ("attempt", "final", "retry"),
    [(1, [1, 3], [2]), (2, [1, 3], [2]), (3, [1, 2, 3], []), (9, [1, 2, 3], [])],
)
def test_the_last_attempt_is_final(attempt, final, retry):
    outcomes = [outcome(1, 200), outcome(2, 500), outcome(3, 400)]
    parted = sort_outcomes(outcomes, attempt=attempt, policy=RetryPolicy(max_attempts=3))
    assert [one.line for one in parted.final] == final
    assert [one.line for one in parted.retry] == retry


@pytest.mark.parametrize(
    ("attempt", "jitter", "seconds"),
    [
        (1, 1.0, 5),
        (1, 0.0, 2.5),
        (2, 1.0, 10),
        (3, 1.0, 20),
        (3, 0.5, 15),
        (7, 1.0, 300),
        (60, 0.0, 150),
    ],
)
def test_pauses_double_up_to_the_limit_and_are_spread(attempt, jitter, seconds):
    assert RetryPolicy().pause_seconds(attempt, jitter) == seconds


def test_usages_add_up():
    assert Usage(input_tokens=1, output_tokens=2) + Usage(input_tokens=3) == Usage(
        input_tokens=4, output_tokens=2
    )


# ---------------------------------------------------------------- windows and metadata


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        ("15m", 900),
        ("60m", 3600),
        ("1h", 3600),
        ("24h", 86400),
        ("1d", 86400),
        ("7d", 604800),
        ("168h", 604800),
        ("10080m", 604800),
    ],
)
def test_a_window_is_a_span(window, seconds):
    assert window_seconds(window) == seconds


@pytest.mark.parametrize(
    "window",
    [
        "",
        "h",
        "24",
        "14m",
        "8d",
        "169h",
        "0h",
        "-1h",
        "+24h",
        "1.5h",
        "24 h",
        " 24h",
        "24H",
        "1w",
        "²4h",
        "٢h",
        "1" * 99 + "m",
        "24h\n",
        None,
        24,
        24.0,
        True,
        ["24h"],
        b"24h",
    ],
)
def test_other_windows_are_refused_with_the_limits(window):
    with pytest.raises(InvalidRequest, match="'15m' to '7d'") as caught:
        window_seconds(window)
    assert caught.value.param == "completion_window"


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"a": ""},
        {"k" * 64: "v" * 512},
        {str(n): "x" for n in range(16)},
        {"ключ": "значение"},
    ],
)
def test_metadata_within_the_limits_is_kept(given):
    assert checked_metadata(given) == (given or {})


@pytest.mark.parametrize(
    ("given", "param", "limit"),
    [
        ([], "metadata", "object"),
        ("text", "metadata", "object"),
        (False, "metadata", "object"),
        ({str(n): "x" for n in range(17)}, "metadata", "16"),
        ({"k" * 65: "v"}, "metadata", "64"),
        ({"k": "v" * 513}, "metadata.k", "512"),
        ({"k": 1}, "metadata.k", "string"),
        ({"k": None}, "metadata.k", "string"),
    ],
)
def test_metadata_beyond_a_limit_is_refused_with_it(given, param, limit):
    with pytest.raises(InvalidRequest, match=limit) as caught:
        checked_metadata(given)
    assert caught.value.param == param


# ---------------------------------------------------------------- what a batch needs next

V, P, F = BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING


def batch(status: Any = P, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "tenant": "acme",
        "id": "batch_1",
        "status": status,
        "route": "/v1/chat/completions",
        "completion_window": "24h",
        "created_at": 0.0,
        "expires_at": 100.0,
        "total": 100,
        "planned_shards": 10,
        "open_shards": 10,
    }
    return Batch(**settings | changes)


@pytest.mark.parametrize(
    ("found", "now", "step"),
    [
        (batch(V), 0, Step.PLAN),
        (batch(V), 100, Step.STOP_EXPIRED),
        (batch(V, open_shards=0), 0, Step.PLAN),
        (batch(), 99.9, Step.WAIT),
        (batch(), 100, Step.STOP_EXPIRED),
        (batch(open_shards=9, completed=10), 0, Step.RELEASE),
        (batch(open_shards=9, completed=6, failed=4), 0, Step.RELEASE),
        (batch(open_shards=9, completed=5, failed=5), 0, Step.STOP_CANARY),
        (batch(open_shards=9, failed=10), 0, Step.STOP_CANARY),
        (batch(open_shards=9, completed=9, failed=51, skipped=50), 0, Step.RELEASE),
        (batch(open_shards=9, failed=50, skipped=50), 0, Step.RELEASE),
        (batch(open_shards=9, failed=10), 100, Step.STOP_EXPIRED),
        (batch(open_shards=9, failed=10, is_released=True), 0, Step.WAIT),
        (batch(is_released=True), 0, Step.WAIT),
        (batch(open_shards=0, is_released=True), 0, Step.FINALIZE),
        (batch(open_shards=0, is_released=True), 100, Step.FINALIZE),
        (batch(open_shards=0, planned_shards=0, is_released=True), 0, Step.FINALIZE),
        (batch(stopping=StopReason.EXPIRED), 200, Step.DRAIN),
        (batch(stopping=StopReason.CANARY, open_shards=9), 0, Step.DRAIN),
        (batch(stopping=StopReason.EXPIRED, open_shards=0), 200, Step.FINALIZE),
        (batch(BatchStatus.CANCELLING, stopping=StopReason.CANCELLED), 0, Step.DRAIN),
        (batch(BatchStatus.CANCELLING, stopping=StopReason.CANCELLED), 200, Step.DRAIN),
        (
            batch(BatchStatus.CANCELLING, stopping=StopReason.CANCELLED, open_shards=0),
            0,
            Step.FINALIZE,
        ),
        (batch(F, open_shards=0), 0, Step.FINALIZE),
        (batch(F, open_shards=0), 200, Step.FINALIZE),
        *((batch(end), 200, Step.WAIT) for end in ("completed", "failed", "expired", "cancelled")),
    ],
)
def test_each_state_of_a_batch_has_its_next_step(found, now, step):
    assert next_step(found, now=now, canary_threshold=0.5) is step


@pytest.mark.parametrize(
    ("threshold", "failed", "step"),
    [
        (0.1, 1, Step.STOP_CANARY),
        (0.2, 1, Step.RELEASE),
        (1.0, 9, Step.RELEASE),
        (1.0, 10, Step.STOP_CANARY),
    ],
)
def test_the_canarys_threshold_is_a_share_of_what_ran(threshold, failed, step):
    found = batch(open_shards=9, completed=10 - failed, failed=failed)
    assert next_step(found, now=0, canary_threshold=threshold) is step


def test_a_batch_has_ended_when_it_reached_its_terminal_state():
    assert batch().ended_at is None
    assert batch(BatchStatus.EXPIRED, expired_at=5.0).ended_at == 5.0


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "address",
    ["a@b", "ada@example.com", "a.b+c@mail.example.co.uk", "x_1@xn--bcher-kva.example"],
)
def test_plain_addresses_are_addresses(address):
    assert is_address(address)
    assert str(Address(addr_spec=address)) == address  # what the mailers build of it


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@b",
        "a@",
        "a@b@c",
        "a..b@c",
        ".a@b",
        "a.@b",
        "a@.b",
        "a@b.",
        "a@-b",
        "a b@c",
        "a@b\n",
        "a@b\r\nBcc: x@y",
        "jürgen@example.com",
        "(c)@example.com",
        '"x@example.com',
        "a@b,c@d",
        "Ada <a@b>",
        "=?utf-8?q?a?=@b",
        "a" * 250 + "@b.cd",
    ],
)
def test_what_a_mailer_would_refuse_is_no_address(address):
    assert not is_address(address)


# ---------------------------------------------------------------- instances


def pool(**changes: Any) -> Any:
    return Pool(id="p", **changes)


@pytest.mark.parametrize(
    ("backlog", "rate", "deadline", "wanted"),
    [
        (0, 1.0, 1000, 0),
        (1, 0.0, 1000, 1),
        (100, 0.0, 1000, 1),
        (100, 1.0, None, 1),
        (100, 1.0, 1000, 1),
        (1000, 1.0, 1000, 1),
        (1001, 1.0, 1000, 2),
        (2500, 1.0, 1000, 3),
        (10**9, 1.0, 1000, 4),
        (120, 1.0, 10, 2),
        (120, 1.0, -500, 2),
        (60, 1.0, -500, 1),
    ],
)
def test_instances_are_those_that_finish_by_the_earliest_deadline(backlog, rate, deadline, wanted):
    found = wanted_instances(
        pool=pool(waiting_lines=backlog), rate=rate, earliest_deadline=deadline, now=0.0, limit=4
    )
    assert found == wanted


def test_an_instance_that_may_be_working_is_not_unwanted_before_all_work_is_done():
    plenty: Any = {"rate": 1000.0, "earliest_deadline": 1000.0, "now": 0.0, "limit": 4}
    assert wanted_instances(pool=pool(running_lines=1), instances=3, **plenty) == 3
    assert wanted_instances(pool=pool(), instances=3, **plenty) == 0


@pytest.mark.parametrize(
    ("lines", "seconds", "slots", "rate"),
    [(0, 0, 4, 0), (100, 50, 1, 2), (100, 50, 4, 8), (100, 50, 0, 2)],
)
def test_the_rate_of_an_instance_is_that_of_its_slots(lines, seconds, slots, rate):
    measured = measured_rate(
        pool(ended_lines=lines, busy_seconds=seconds), slots_per_instance=slots
    )
    assert measured == rate


@pytest.mark.parametrize(("instances", "each"), [(0, 12), (1, 12), (2, 6), (5, 2.4)])
def test_the_backlog_per_instance_never_gaps(instances, each):
    found = Backlog(waiting=10, in_flight=2, instances=instances, oldest_seconds=0, wanted=1)
    assert (found.outstanding, found.per_instance) == (12, each)


# ---------------------------------------------------------------- context


@pytest.mark.parametrize(
    ("prompt", "answer", "messages", "fit"),
    [
        (84, 0, 1, Fit.DOUBTFUL),
        (83, 0, 1, Fit.FITS),
        (74, 10, 1, Fit.FITS),
        (75, 10, 1, Fit.DOUBTFUL),
        (68, 0, 2, Fit.DOUBTFUL),
        (67, 0, 2, Fit.FITS),
        (83 * 16, 0, 1, Fit.DOUBTFUL),
        (83 * 16 + 1, 0, 1, Fit.TOO_LONG),
        (0, 84, 1, Fit.FITS),
        (0, 85, 1, Fit.TOO_LONG),
        (1, 100, 1, Fit.TOO_LONG),
        (1, 10**9, 1, Fit.TOO_LONG),
    ],
)
def test_bytes_bound_the_tokens_from_both_sides(prompt, answer, messages, fit):
    request = Request(
        line=1,
        custom_id="a",
        model="mistral",
        route="/",
        body=b"",
        prompt_bytes=prompt,
        message_count=messages,
        max_tokens=answer,
    )
    model = a_model(context_window=100, template_tokens=16, longest_token_bytes=16)
    assert estimate_fit(request, model) is fit
    assert room_for_prompt(request, model) == 100 - (answer or 1) - 16 * messages


# ---------------------------------------------------------------- shards and slots


def shard(**changes: Any) -> Any:
    settings: dict[str, Any] = {
        "tenant": "acme",
        "batch_id": "batch_1",
        "id": "00001",
        "model": "mistral",
        "pool": "p",
        "first_line": 1,
        "last_line": 1,
        "line_count": 1,
        "created_at": 100.0,
        "deadline": 1000.0,
    }
    return Shard(**settings | changes)


def test_shards_wait_in_the_order_of_deadline_priority_age_and_id():
    in_order = [
        shard(deadline=999.999, priority=0, created_at=500.0),
        shard(priority=9, created_at=900.0),
        shard(priority=1, created_at=100.0),
        shard(created_at=99.999),
        shard(created_at=100.0, batch_id="batch_0", id="00009"),
        shard(id="00001"),
        shard(id="00001-1"),
        shard(id="00002"),
        shard(created_at=100.001),
        shard(deadline=1000.001, priority=9),
        shard(deadline=10_000_000_000.0, priority=9),
    ]
    positions = [queue_position(one) for one in in_order]
    assert positions == sorted(positions)
    assert len(set(positions)) == len(positions)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        (
            "acme/batch_1/00001-2/3",
            AttemptRef(tenant="acme", batch_id="batch_1", shard_id="00001-2", attempt=3),
        ),
        ("", None),
        ("acme/batch_1/00001", None),
        ("acme/batch_1/00001/", None),
        ("acme/batch_1/00001/x", None),
        ("acme/batch_1/00001/-1", None),
        ("acme/batch_1/00001/²", None),
        ("acme/batch_1/00001/٣", None),
        ("acme/batch_1/00001/1/2", None),
    ],
)
def test_an_attempts_name_is_read_back(text, ref):
    assert AttemptRef.parse(text) == ref
    assert ref is None or str(ref) == text


def test_an_attempts_name_fits_sagemaker():
    longest = shard(tenant="t" * 23, batch_id="batch_" + "x" * 20, id="99999-9", attempt=9)
    assert len(str(longest.ref)) <= 64


def test_each_retry_has_an_id_of_its_own():
    first = shard(id=shard_id(3), attempt=1)
    second = shard(id=retry_id(first), attempt=2)
    assert (second.id, retry_id(second)) == ("00003-1", "00003-2")


@pytest.mark.parametrize(
    ("status", "is_open"),
    [
        (ShardStatus.WAITING, True),
        (ShardStatus.IN_FLIGHT, True),
        (ShardStatus.DONE, False),
        (ShardStatus.DROPPED, False),
    ],
)
def test_open_shards_are_those_that_still_come_to_something(status, is_open):
    assert shard(status=status).is_open is is_open


def test_an_empty_draft_takes_anything_and_a_full_one_nothing():
    cut = Cut(lines=2, bytes=100, tokens=50)
    request = Request(
        line=7, custom_id="a", model="m", route="/", body=b"", prompt_bytes=20, max_tokens=5
    )
    draft = ShardDraft(model="m")
    assert draft.takes(request, 10**9, cut)
    draft.add(request, 60)
    assert (draft.first_line, draft.last_line, draft.tokens) == (7, 7, 25)
    assert draft.takes(request, 40, cut)
    assert not draft.takes(request, 41, cut)
    draft.add(request, 40)
    assert not draft.takes(request, 0, cut)


@pytest.mark.parametrize(
    ("capacity", "share", "cap"),
    [(10, 1.0, 10), (10, 0.5, 5), (10, 0.05, 1), (1, 0.5, 1), (3, 0.5, 1), (0, 1.0, 1)],
)
def test_a_tenant_may_hold_its_share_of_the_slots_and_at_least_one(capacity, share, cap):
    assert tenant_cap(capacity=capacity, share=share) == cap


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.CLAIM),
        ({"pool": pool(in_flight=2)}, Verdict.POOL_FULL),
        ({"share": 1}, Verdict.TENANT_FULL),
        ({"shard": None}, Verdict.SKIP),
        ({"shard": shard(status=ShardStatus.IN_FLIGHT)}, Verdict.SKIP),
        ({"shard": shard(not_before=50.1)}, Verdict.SKIP),
        ({"shard": shard(not_before=50.0)}, Verdict.CLAIM),
        ({"batch": None}, Verdict.SKIP),
        ({"batch": batch(V)}, Verdict.SKIP),
        ({"batch": batch(BatchStatus.CANCELLING)}, Verdict.SKIP),
        ({"batch": batch(stopping=StopReason.EXPIRED)}, Verdict.SKIP),
        ({"batch": batch(paused=True)}, Verdict.SKIP),
        ({"batch": batch(expires_at=50.0)}, Verdict.SKIP),
    ],
)
def test_a_shard_is_claimed_only_while_all_allows_it(changes, verdict):
    settings = {"shard": shard(), "batch": batch(), "pool": pool(in_flight=1), "share": 0}
    assert may_claim(Seen(**settings | changes), slots=2, cap=1, now=50.0) is verdict
