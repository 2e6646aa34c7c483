"""Values of the domain, made with what a test cares about."""

from typing import Any

from backburner.domain.batch import Batch, BatchStatus
from backburner.domain.delivery import TOPIC, Channel, Delivery
from backburner.domain.shard import Shard
from backburner.domain.slots import Pool


def batch(status: Any = BatchStatus.IN_PROGRESS, **changes: Any) -> Any:
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


def pool(**changes: Any) -> Any:
    return Pool(id="p", **changes)


def a_shard(**changes: Any) -> Any:
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


def a_delivery(**changes: Any) -> Any:
    settings: dict[str, Any] = {
        "tenant": "acme",
        "batch_id": "batch_1",
        "channel": Channel.EVENTS,
        "target_id": TOPIC,
        "event_id": "evt_batch_1",
        "event_type": "batch.completed",
        "created_at": 0.0,
        "tried_since": 0.0,
        "due_at": 60.0,
    }
    return Delivery(**settings | changes)
