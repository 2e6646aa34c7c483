"""Values of the domain, made with what a test cares about."""

from typing import Any

from backburner.domain.batch import Batch, BatchStatus
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
