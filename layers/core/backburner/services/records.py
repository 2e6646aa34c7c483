"""How values become items of the store: keys, index entries and attributes, all on one page.

| item | partition | sort | queue index | due index |
|---|---|---|---|---|
| batch | `<tenant>/batches` | batch id | | `due/batch` until terminal |
| Message Batch | `<tenant>/messages/batches` | batch id | | `due/batch` until terminal |
| response | `<tenant>/responses` | response id | | `due/batch` until terminal |
| other single request | `<tenant>/requests` | request id | | `due/batch` until terminal |
| shard | `<tenant>/<batch id>` | `shard/<id>` | `<pool>`: waiting | `due/shard`: in flight |
| bundle | `<tenant>/<bundle id>` | `shard/00001` | | `due/shard`: in flight |
| delivery | `<tenant>/<batch id>` | `delivery/<channel>/<id>` | | `due/delivery`, `dead/<tenant>` |
| batch that a digest tells of | `<tenant>/<digest id>` | `member/<batch id>` | | |
| file | `<tenant>/files` | file id | | `due/file` if it expires |
| what a request made | `<tenant>/once` | hash of its key, or of what it says | | |
| upload | `<tenant>/uploads` | upload id | | `due/file` until cleaned up |
| reservation | `<tenant>/reservations` | request id | | `due/file` |
| dropped object | `<tenant>/drops` | hash of the object's key, etag | | |
| what a tenant uses | `<tenant>/usage` | `now` | | |
| a tenant's requests of a minute | `<tenant>/usage` | `minute/<number>` | | |
| pool | `pools` | pool id | | |
| share of a tenant in a pool | `<tenant>/pools` | pool id | | |
| what a tenant wants of its mails | `<tenant>/mail` | `settings` | | |
| address that gets no mail | `<tenant>/mail`, or `mail`: of nobody | hash of it | | |
| webhooks of a tenant | `<tenant>/webhooks` | `all` | | |
| API key | `keys` | SHA-256 of the key | | |
| secret of the deployment | `secrets` | what it is for | | |

A delivery is due while it is pending, and listed as dead once it was given up.

Batches, single requests, shards and deliveries have a `ttl` from the start: long after all of the
batch has ended, the store removes them by itself, as it does with what is noted of requests. Reap
removes files when they expire, what is left of uploads, and bodies of requests that were never
started. Notes of dropped objects stay: one may be told of again as long as it is there, and must
not run twice. A bundle's `ttl` ends a day after its lease: no result of it comes later.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from backburner.domain.batch import Batch, BatchKind
from backburner.domain.bundle import Bundle, Member
from backburner.domain.delivery import Delivery, DeliveryStatus
from backburner.domain.file import StoredFile
from backburner.domain.request import Instant
from backburner.domain.shard import Shard, ShardStatus, queue_position, shard_id
from backburner.domain.slots import Pool
from backburner.domain.upload import Reservation, Upload
from backburner.domain.webhook import Endpoint, Hooks
from backburner.ports import Item, Key, Limits

T = TypeVar("T")

DUE_BATCH, DUE_SHARD, DUE_DELIVERY, DUE_FILE = "due/batch", "due/shard", "due/delivery", "due/file"

#: A batch ends well within a day of its deadline; then its files begin to age.
_DAY = 86400.0

_INDEX_ATTRIBUTES = ("queue_key", "queue_sort", "due_key", "due_sort")


#: What ids of single requests and Message Batches begin with; all others are those of batches.
PREFIXES = {
    BatchKind.MESSAGES: "msgbatch",
    BatchKind.RESPONSE: "resp",
    BatchKind.REQUEST: "request",
}
_KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}
_PARTITIONS = {
    BatchKind.FILE: "batches",
    BatchKind.MESSAGES: "messages/batches",
    BatchKind.RESPONSE: "responses",
    BatchKind.REQUEST: "requests",
}


def batch_key(tenant: str, batch_id: str) -> Key:
    return Key(partition_of(tenant, kind_of(batch_id)), batch_id)


def kind_of(batch_id: str) -> BatchKind:
    """What the id says of its batch."""
    return _KINDS.get(batch_id.partition("_")[0], BatchKind.FILE)


def partition_of(tenant: str, kind: BatchKind) -> str:
    """Partition of the tenant's batches of one kind."""
    return f"{tenant}/{_PARTITIONS[kind]}"


def shard_key(tenant: str, batch_id: str, shard_id: str) -> Key:
    return Key(f"{tenant}/{batch_id}", f"shard/{shard_id}")


def bundle_key(tenant: str, bundle_id: str) -> Key:
    """Of the shard that a bundle is to its backend."""
    return shard_key(tenant, bundle_id, shard_id(1))


def delivery_key(tenant: str, batch_id: str, name: str) -> Key:
    return Key(f"{tenant}/{batch_id}", f"delivery/{name}")


def key_of(delivery: Delivery) -> Key:
    return delivery_key(delivery.tenant, delivery.batch_id, delivery.name)


#: What sort keys of a digest's members begin with.
MEMBER = "member/"


def member_partition(tenant: str, digest_id: str) -> str:
    return f"{tenant}/{digest_id}"


def member_key(tenant: str, digest_id: str, batch_id: str) -> Key:
    return Key(member_partition(tenant, digest_id), f"{MEMBER}{batch_id}")


def is_digest(batch_id: str) -> bool:
    """Whether a delivery tells of several batches instead of one."""
    return batch_id.startswith("digest_")


def hooks_key(tenant: str) -> Key:
    return Key(f"{tenant}/webhooks", "all")


def file_key(tenant: str, file_id: str) -> Key:
    return Key(f"{tenant}/files", file_id)


def upload_key(tenant: str, upload_id: str) -> Key:
    return Key(f"{tenant}/uploads", upload_id)


def reservation_key(tenant: str, request_id: str) -> Key:
    return Key(f"{tenant}/reservations", request_id)


def drop_key(tenant: str, blob_key: str, etag: str) -> Key:
    """Of one content under one key; hashed, as an object's key may fill a sort key by itself."""
    return Key(f"{tenant}/drops", f"{hashlib.sha256(blob_key.encode()).hexdigest()}/{etag}")


def once_key(tenant: str, digest: str) -> Key:
    return Key(f"{tenant}/once", digest)


def usage_key(tenant: str) -> Key:
    return Key(f"{tenant}/usage", "now")


def rate_key(tenant: str, minute: int) -> Key:
    return Key(f"{tenant}/usage", f"minute/{minute}")


#: Partition of all pools.
POOLS = "pools"


def pool_key(pool: str) -> Key:
    return Key(POOLS, pool)


def share_key(tenant: str, pool: str) -> Key:
    return Key(f"{tenant}/pools", pool)


def api_key_key(digest: str) -> Key:
    return Key("keys", digest)


def mail_partition(tenant: str | None) -> str:
    """What is known of a tenant's mails, or of those of all."""
    return f"{tenant}/mail" if tenant is not None else "mail"


def mail_settings_key(tenant: str) -> Key:
    return Key(mail_partition(tenant), "settings")


def suppression_key(tenant: str | None, suppression_id: str) -> Key:
    return Key(mail_partition(tenant), suppression_id)


def secret_key(name: str) -> Key:
    return Key("secrets", name)


def ttl(
    limits: Limits, expires_at: Instant, output_expires_seconds: float | None = None
) -> int | None:
    """Second after which records of a batch may vanish; None: never.

    Args:
        limits: the operator's.
        expires_at: the batch's deadline.
        output_expires_seconds: the batch's own; None: the operator's.
    """
    if not limits.record_seconds:
        return None
    files_kept = output_expires_seconds or limits.output_expires_seconds
    return math.ceil(expires_at + max(limits.record_seconds, files_kept + _DAY))


def due_sort(at: Instant, *parts: str) -> str:
    """Sort key of the due index; sorts by time, then by what it belongs to."""
    return "/".join((f"{max(0, int(at * 1000)):015d}", *parts))


def batch_due(batch: Batch, at: Instant) -> dict[str, Any]:
    """Index attributes of a batch that reap must look at."""
    return {"due_key": DUE_BATCH, "due_sort": due_sort(at, batch.tenant, batch.id)}


def shard_index(shard: Shard) -> dict[str, Any]:
    """Index attributes of a shard in its state: in the queue, under watch, or neither."""
    index: dict[str, Any] = dict.fromkeys(_INDEX_ATTRIBUTES)
    if shard.status is ShardStatus.WAITING:
        index |= {"queue_key": shard.pool, "queue_sort": queue_position(shard)}
    elif shard.status is ShardStatus.IN_FLIGHT:
        look = min(shard.look_at or 0.0, shard.lease_ends_at or 0.0)
        index |= {
            "due_key": DUE_SHARD,
            "due_sort": due_sort(look, shard.tenant, shard.batch_id, shard.id),
        }
    return index


def batch_item(batch: Batch, *, due_at: Instant) -> dict[str, Any]:
    return _item(batch) | batch_due(batch, due_at)


def shard_item(shard: Shard) -> dict[str, Any]:
    return _item(shard) | {k: v for k, v in shard_index(shard).items() if v is not None}


def bundle_item(bundle: Bundle) -> dict[str, Any]:
    return shard_item(bundle.shard) | attributes({"members": bundle.members})


def delivery_item(delivery: Delivery) -> dict[str, Any]:
    item = _item(delivery)
    if delivery.status is DeliveryStatus.PENDING:
        item |= delivery_due(delivery, delivery.due_at)
    elif delivery.status is DeliveryStatus.DEAD:
        item |= delivery_dead(delivery, delivery.created_at)
    return item


def delivery_due(delivery: Delivery, at: Instant) -> dict[str, Any]:
    sort = due_sort(at, delivery.tenant, delivery.batch_id, delivery.name)
    return {"due_at": at, "due_key": DUE_DELIVERY, "due_sort": sort}


def delivery_dead(delivery: Delivery, at: Instant) -> dict[str, Any]:
    """Index attributes of one that was given up: the tenant may list what is dead."""
    sort = due_sort(at, delivery.batch_id, delivery.name)
    return {"due_key": dead_partition(delivery.tenant), "due_sort": sort}


def dead_partition(tenant: str) -> str:
    """Partition of the due index with what was given up of a tenant, by when that was."""
    return f"dead/{tenant}"


def file_item(file: StoredFile) -> dict[str, Any]:
    item = _item(file)
    if file.expires_at is not None:
        item |= {"due_key": DUE_FILE, "due_sort": due_sort(file.expires_at, file.tenant, file.id)}
    return item


def accepted_item(value: Batch | StoredFile | Upload | Endpoint) -> dict[str, Any]:
    """A new value as it can be shown again; the client sends its own body again."""
    return {name: field for name, field in _item(value).items() if name != "input_inline"}


def upload_item(upload: Upload) -> dict[str, Any]:
    sort = due_sort(upload.expires_at, upload.tenant, upload.id)
    return _item(upload) | {"due_key": DUE_FILE, "due_sort": sort}


def reservation_item(reservation: Reservation) -> dict[str, Any]:
    sort = due_sort(reservation.expires_at, reservation.tenant, reservation.id)
    return _item(reservation) | {"due_key": DUE_FILE, "due_sort": sort}


def to_batch(item: Item) -> Batch:
    return _value(item, Batch)


def to_shard(item: Item) -> Shard:
    return _value(item, Shard)


def to_bundle(item: Item) -> Bundle:
    members = msgspec.convert(item["members"], tuple[Member, ...])
    return Bundle(shard=to_shard(item), members=members)


def to_delivery(item: Item) -> Delivery:
    return _value(item, Delivery)


def hooks_item(hooks: Hooks) -> dict[str, Any]:
    return _item(hooks)


def to_endpoint(item: Item) -> Endpoint:
    return _value(item, Endpoint)


def to_hooks(item: Item | None) -> Hooks:
    """A tenant's webhooks; one that never had any has no item."""
    return _value(item, Hooks) if item is not None else Hooks()


def to_file(item: Item) -> StoredFile:
    return _value(item, StoredFile)


def to_upload(item: Item) -> Upload:
    return _value(item, Upload)


def to_reservation(item: Item) -> Reservation:
    return _value(item, Reservation)


def to_pool(item: Item | None, pool: str) -> Pool:
    """The pool; one that never held anything has no item yet."""
    return _value(item, Pool) if item is not None else Pool(id=pool)


def attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values, fit for an Update; None stays: it removes the attribute."""
    plain: dict[str, Any] = msgspec.to_builtins(dict(values), builtin_types=(bytes,))
    return plain


def _item(value: object) -> dict[str, Any]:
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    return {name: field for name, field in plain.items() if field is not None}


def _value(item: Item, kind: type[T]) -> T:
    return msgspec.convert(item, kind, builtin_types=(bytes,))
