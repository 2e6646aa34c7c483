"""What is stored is found where the page of the store says: also by a version that comes later."""

from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.bundle import Bundle, Member
from backburner.domain.delivery import Channel, Delivery, DeliveryStatus
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.shard import Shard, ShardStatus
from backburner.domain.slots import Pool
from backburner.domain.upload import Reservation, Upload
from backburner.domain.webhook import Hooks
from backburner.ports import Key
from backburner.services import records
from tests.world import LIMITS

DAY = 86400.0
NOW = 1_700_000_000.25

BATCH = Batch(
    tenant="acme",
    id="batch_1",
    status=BatchStatus.VALIDATING,
    dialect="openai",
    route="/v1/embeddings",
    completion_window="24h",
    created_at=NOW,
    expires_at=NOW + DAY,
)
SHARD = Shard(
    tenant="acme",
    batch_id="batch_1",
    id="00001",
    model="mistral",
    pool="manual:mistral",
    first_line=1,
    last_line=4,
    line_count=4,
    created_at=NOW,
    deadline=NOW + DAY,
)
DELIVERY = Delivery(
    tenant="acme",
    batch_id="batch_1",
    channel=Channel.WEBHOOK,
    target_id="we_1",
    event_id="evt_1",
    event_type="batch.completed",
    created_at=NOW,
    tried_since=NOW,
    due_at=NOW + 60,
)
FILE = StoredFile(
    tenant="acme",
    id="file-1",
    filename="a.jsonl",
    purpose=FilePurpose.BATCH,
    size=9,
    created_at=NOW,
    expires_at=NOW + DAY,
)
UPLOAD = Upload(
    tenant="acme",
    id="upload_1",
    size=9,
    filename="a.jsonl",
    purpose=FilePurpose.BATCH,
    mimetype="application/jsonl",
    created_at=NOW,
    expires_at=NOW + 3600,
    file_id="file-2",
)
RESERVATION = Reservation(tenant="acme", id="request_1", size=9, expires_at=NOW + 3600)

#: SHA-256 of `drop/a.jsonl`.
HASH = "31f14e8e11d9cf05442df99e5494d435fc876622683ec7ce91a6ef9795bb9c88"


@pytest.mark.parametrize(
    ("key", "of", "partition", "sort"),
    [
        (records.batch_key, ("acme", "batch_1"), "acme/batches", "batch_1"),
        (records.batch_key, ("acme", "msgbatch_1"), "acme/messages/batches", "msgbatch_1"),
        (records.batch_key, ("acme", "resp_1"), "acme/responses", "resp_1"),
        (records.batch_key, ("acme", "request_1"), "acme/requests", "request_1"),
        (records.shard_key, ("acme", "batch_1", "00003"), "acme/batch_1", "shard/00003"),
        (records.bundle_key, ("acme", "bundle_1"), "acme/bundle_1", "shard/00001"),
        (records.key_of, (DELIVERY,), "acme/batch_1", "delivery/webhook/we_1"),
        (records.member_key, ("acme", "digest_1", "batch_1"), "acme/digest_1", "member/batch_1"),
        (records.file_key, ("acme", "file-1"), "acme/files", "file-1"),
        (records.once_key, ("acme", "abc"), "acme/once", "abc"),
        (records.upload_key, ("acme", "upload_1"), "acme/uploads", "upload_1"),
        (records.reservation_key, ("acme", "request_1"), "acme/reservations", "request_1"),
        (records.drop_key, ("acme", "drop/a.jsonl", "etag"), "acme/drops", f"{HASH}/etag"),
        (records.usage_key, ("acme",), "acme/usage", "now"),
        (records.rate_key, ("acme", 7), "acme/usage", "minute/7"),
        (records.pool_key, ("manual:mistral",), "pools", "manual:mistral"),
        (records.share_key, ("acme", "manual:mistral"), "acme/pools", "manual:mistral"),
        (records.mail_settings_key, ("acme",), "acme/mail", "settings"),
        (records.suppression_key, ("acme", "addr_1"), "acme/mail", "addr_1"),
        (records.suppression_key, (None, "addr_1"), "mail", "addr_1"),
        (records.hooks_key, ("acme",), "acme/webhooks", "all"),
        (records.api_key_key, ("abc",), "keys", "abc"),
        (records.secret_key, ("links",), "secrets", "links"),
    ],
)
def test_each_item_is_where_the_page_says(key, of, partition, sort):
    assert key(*of) == Key(partition, sort)


@pytest.mark.parametrize(
    ("batch_id", "kind"),
    [
        ("batch_1", BatchKind.FILE),
        ("msgbatch_1", BatchKind.MESSAGES),
        ("resp_1", BatchKind.RESPONSE),
        ("request_1", BatchKind.REQUEST),
        ("resp", BatchKind.RESPONSE),
        ("response_1", BatchKind.FILE),
        ("batch_resp_1", BatchKind.FILE),
    ],
)
def test_an_id_tells_the_kind_by_what_stands_before_its_first_underscore(batch_id, kind):
    assert records.kind_of(batch_id) is kind


def index_of(item: Any) -> dict[str, str]:
    names = ("queue_key", "queue_sort", "due_key", "due_sort")
    return {name: item[name] for name in names if name in item}


def with_status(value: Any, status: Any) -> Any:
    return msgspec.structs.replace(value, status=status)


IN_FLIGHT = msgspec.structs.replace(
    SHARD, status=ShardStatus.IN_FLIGHT, look_at=NOW + 60, lease_ends_at=NOW + 600
)
LATE = msgspec.structs.replace(IN_FLIGHT, look_at=NOW + 900)
BUNDLE = Bundle(
    shard=IN_FLIGHT,
    members=(Member(batch_id="batch_2", shard_id="00001", attempt=1, line_count=4),),
)
DEAD = with_status(DELIVERY, DeliveryStatus.DEAD)


@pytest.mark.parametrize(
    ("item", "value", "index"),
    [
        (
            partial(records.batch_item, due_at=NOW + 60),
            BATCH,
            {"due_key": "due/batch", "due_sort": "001700000060250/acme/batch_1"},
        ),
        (
            records.shard_item,
            SHARD,
            {
                "queue_key": "manual:mistral",
                "queue_sort": "001700085600000/9/001700000000250/batch_1/00001",
            },
        ),
        (
            records.shard_item,
            IN_FLIGHT,
            {"due_key": "due/shard", "due_sort": "001700000060250/acme/batch_1/00001"},
        ),
        (
            records.shard_item,
            LATE,
            {"due_key": "due/shard", "due_sort": "001700000600250/acme/batch_1/00001"},
        ),
        (
            records.bundle_item,
            BUNDLE,
            {"due_key": "due/shard", "due_sort": "001700000060250/acme/batch_1/00001"},
        ),
        (records.shard_item, with_status(SHARD, ShardStatus.DONE), {}),
        (
            records.delivery_item,
            DELIVERY,
            {"due_key": "due/delivery", "due_sort": "001700000060250/acme/batch_1/webhook/we_1"},
        ),
        (
            records.delivery_item,
            DEAD,
            {"due_key": "dead/acme", "due_sort": "001700000000250/batch_1/webhook/we_1"},
        ),
        (records.delivery_item, with_status(DELIVERY, DeliveryStatus.DELIVERED), {}),
        (
            records.file_item,
            FILE,
            {"due_key": "due/file", "due_sort": "001700086400250/acme/file-1"},
        ),
        (records.file_item, replace(FILE, expires_at=None), {}),
        (
            records.upload_item,
            UPLOAD,
            {"due_key": "due/file", "due_sort": "001700003600250/acme/upload_1"},
        ),
        (
            records.reservation_item,
            RESERVATION,
            {"due_key": "due/file", "due_sort": "001700003600250/acme/request_1"},
        ),
    ],
)
def test_an_item_is_in_the_index_that_its_state_asks_for(item, value, index):
    assert index_of(item(value)) == index


def test_a_shard_that_ends_leaves_both_indexes():
    done = records.shard_index(with_status(SHARD, ShardStatus.DONE))
    assert done == dict.fromkeys(("queue_key", "queue_sort", "due_key", "due_sort"))


def test_a_delivery_that_is_put_off_says_when_it_is_due_as_its_index_does():
    item = records.delivery_item(DELIVERY) | records.delivery_due(DELIVERY, NOW + 90)
    assert records.to_delivery(item).due_at == NOW + 90
    assert item["due_sort"] == "001700000090250/acme/batch_1/webhook/we_1"


def test_the_due_index_sorts_by_time_and_what_is_due_before_the_epoch_is_due_first():
    instants = [-5.0, 0.0015, 9.0, 10.0, 123_456_789.0, NOW]
    sorts = [records.due_sort(at, "zzz") for at in instants]
    assert sorts == sorted(sorts)
    assert sorts[:2] == ["000000000000000/zzz", "000000000000001/zzz"]


@pytest.mark.parametrize(
    ("item", "read", "value"),
    [
        (partial(records.batch_item, due_at=NOW), records.to_batch, BATCH),
        (records.shard_item, records.to_shard, IN_FLIGHT),
        (records.bundle_item, records.to_bundle, BUNDLE),
        (records.delivery_item, records.to_delivery, DEAD),
        (records.file_item, records.to_file, FILE),
        (records.upload_item, records.to_upload, UPLOAD),
        (records.reservation_item, records.to_reservation, RESERVATION),
        (records.hooks_item, records.to_hooks, Hooks(version=3)),
    ],
)
def test_what_is_stored_comes_back_as_it_was(item, read, value):
    assert read(item(value)) == value


def test_who_never_had_an_endpoint_or_a_slot_has_none_yet():
    assert records.to_hooks(None) == Hooks()
    assert records.to_pool(None, "manual:mistral") == Pool(id="manual:mistral")


def test_bodies_are_stored_as_bytes_and_what_has_no_value_not_at_all():
    shard = msgspec.structs.replace(SHARD, input_inline=b"\x00\xff")
    item = records.shard_item(shard)
    assert item["input_inline"] == b"\x00\xff"
    assert None not in item.values()
    assert records.to_shard(item) == shard


def test_a_value_that_is_shown_again_lacks_the_body_that_its_client_sends_again():
    batch = msgspec.structs.replace(BATCH, input_inline=b"body")
    shown = records.accepted_item(batch)
    assert records.to_batch(shown) == BATCH
    assert "input_inline" not in shown


@pytest.mark.parametrize(
    ("kept", "files_kept", "own", "seconds"),
    [
        (30 * DAY, 7 * DAY, None, 30 * DAY),
        (30 * DAY, 29.5 * DAY, None, 30.5 * DAY),
        (30 * DAY, 7 * DAY, 60 * DAY, 61 * DAY),
        (30 * DAY, 60 * DAY, 7 * DAY, 30 * DAY),
    ],
)
def test_a_record_is_kept_its_time_or_a_day_longer_than_its_files(kept, files_kept, own, seconds):
    limits = replace(LIMITS, record_seconds=kept, output_expires_seconds=files_kept)
    assert records.ttl(limits, NOW, own) == 1_700_000_001 + seconds
    assert records.ttl(replace(limits, record_seconds=0), NOW, own) is None
