"""Shards, their order, and claims."""

import msgspec
import pytest
from msgspec.structs import replace

from backburner.domain.batch import (
    BatchStatus,
    StopReason,
)
from backburner.domain.request import Request
from backburner.domain.shard import (
    LAST_PIECE,
    AttemptRef,
    Cut,
    ShardDraft,
    ShardStatus,
    piece_id,
    queue_position,
    retry_id,
    root_id,
    shard_id,
)
from backburner.domain.slots import tenant_cap
from backburner.services.claims import Seen, Verdict, may_claim
from tests.domain.values import a_shard as shard
from tests.domain.values import batch, pool


def test_shards_wait_in_the_order_of_about_the_deadline_priority_age_and_id_and_pieces_last():
    day, now = 86400.0, 1_800_000_000.0
    whole_hour = {"created_at": now, "deadline": now + day}
    in_order = [
        shard(created_at=now + 600, deadline=now + 1500, priority=0),
        shard(created_at=now - 3 * 3600, deadline=now - 3 * 3600 + day),
        shard(created_at=now - 0.001, deadline=now + day - 0.001),  # the hour before
        shard(created_at=now + 3599, deadline=now + 3599 + day, priority=9),
        shard(created_at=now + 10.4, deadline=now + 10.4 + day, priority=1),
        shard(**whole_hour, batch_id="batch_0", id="00009"),
        shard(**whole_hour, id="00001"),
        shard(**whole_hour, id="00001-1"),
        shard(**whole_hour, id="00002"),
        shard(**whole_hour, id="00001-2p", piece=2),
        shard(**whole_hour, id="00001-3p1", piece=3),
        shard(created_at=now + 0.001, deadline=now + day + 0.001),
        shard(created_at=now + 3600, deadline=now + 3600 + day, priority=9),
        shard(created_at=now, deadline=now + 7 * day, priority=9),
    ]
    positions = [queue_position(one) for one in in_order]
    assert positions == sorted(positions)
    assert len(set(positions)) == len(positions)
    assert queue_position(shard()) == "000000000999000/9/000000000100000/batch_1/00001"


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
    whole = shard(tenant="t" * 23, batch_id="batch_" + "x" * 20, id="99999", attempt=9)
    longest = replace(whole, id=retry_id(replace(whole, piece=LAST_PIECE)))
    assert longest.id == "99999-fffp9"
    assert len(str(longest.ref)) <= 64


def test_each_retry_has_an_id_of_its_own():
    first = shard(id=shard_id(3), attempt=1)
    second = shard(id=retry_id(first), attempt=2)
    assert (second.id, retry_id(second)) == ("00003-1", "00003-2")


def test_each_piece_and_its_retries_have_ids_of_their_own():
    whole = shard(id=shard_id(3))
    pieces = [replace(whole, id=piece_id(whole, n), piece=n) for n in range(2, LAST_PIECE + 1)]
    retries = [retry_id(replace(one, attempt=n)) for one in [whole, *pieces] for n in (1, 2, 9)]
    ids = [whole.id, *(one.id for one in pieces), *retries]
    assert len(set(ids)) == len(ids)
    assert {root_id(replace(whole, id=one)) for one in ids} == {"00003"}
    assert ids[1:3] == ["00003-2p", "00003-3p"]
    assert retry_id(replace(pieces[0], attempt=2)) == "00003-2p2"


@pytest.mark.parametrize(
    ("status", "is_open"),
    [
        (ShardStatus.WAITING, True),
        (ShardStatus.PAUSED, True),
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
    assert ShardDraft(model="m", cut=cut).add(request, b"x" * 101)
    draft = ShardDraft(model="m", cut=cut)
    assert draft.add(request, b"x" * 60)
    assert (draft.first_line, draft.last_line, draft.tokens) == (7, 7, 25)
    assert not draft.add(request, b"x" * 41)
    longer = msgspec.structs.replace(request, max_tokens=6)
    assert not draft.add(longer, b"x" * 40)
    assert (draft.line_count, draft.size, draft.tokens) == (1, 60, 25)
    assert draft.add(request, b"x" * 40)
    assert (draft.line_count, draft.size) == (2, 100)
    assert not draft.add(request, b"")


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
        ({"batch": batch(BatchStatus.VALIDATING)}, Verdict.SKIP),
        ({"batch": batch(BatchStatus.CANCELLING)}, Verdict.SKIP),
        ({"batch": batch(stopping=StopReason.EXPIRED)}, Verdict.SKIP),
        ({"batch": batch(paused=True)}, Verdict.PAUSED),
        ({"batch": batch(paused=True, expires_at=50.0)}, Verdict.SKIP),
        ({"batch": batch(expires_at=50.0)}, Verdict.SKIP),
    ],
)
def test_a_shard_is_claimed_only_while_all_allows_it(changes, verdict):
    settings = {"shard": shard(), "batch": batch(), "pool": pool(in_flight=1), "share": 0}
    assert may_claim(Seen(**settings | changes), slots=2, cap=1, now=50.0) is verdict
