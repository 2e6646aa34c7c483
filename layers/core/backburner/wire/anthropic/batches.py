"""Anthropic's objects of Message Batches, made of domain values."""

from collections.abc import Sequence
from datetime import UTC, datetime

from backburner.domain.batch import Batch, StopReason
from backburner.domain.request import Instant
from backburner.wire.bodies import Body


def batch_object(batch: Batch, *, url: str, archived_at: Instant | None = None) -> Body:
    """A Message Batch, with every key that Anthropic knows.

    Args:
        batch: as it is now.
        url: of the batch, absolute; its results are below it.
        archived_at: when its results were removed.
    """
    has_results = batch.is_terminal and archived_at is None
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": _status(batch),
        "request_counts": _counts(batch),
        "ended_at": _time(batch.ended_at),
        "created_at": _time(batch.created_at),
        "expires_at": _time(batch.expires_at),
        "archived_at": _time(archived_at),
        "cancel_initiated_at": _time(batch.cancelling_at),
        "results_url": f"{url}/results" if has_results else None,
        "x_callback_url": batch.callback_url,
        "x_failure": batch.failure,
        "x_metadata": batch.metadata,
        "x_priority": batch.priority,
        "x_requests_file_id": batch.input_file_id,
        "x_usage": {"input_tokens": batch.input_tokens, "output_tokens": batch.output_tokens},
    }


def deleted_object(batch_id: str) -> Body:
    return {"id": batch_id, "type": "message_batch_deleted"}


def page_object(data: Sequence[Body], *, has_more: bool) -> Body:
    """One page of a list. Without `has_more`, clients would ask for ever."""
    return {
        "data": list(data),
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def _status(batch: Batch) -> str:
    if batch.is_terminal:
        return "ended"
    return "canceling" if batch.stopping is StopReason.CANCELLED else "in_progress"


def _counts(batch: Batch) -> dict[str, int]:
    """What became of the requests so far; the sum is always the total."""
    left = batch.total - batch.completed - batch.failed
    canceled = batch.dropped if batch.stopping is StopReason.CANCELLED else 0
    expired = batch.dropped if batch.stopping is StopReason.EXPIRED else 0
    return {
        "processing": 0 if batch.is_terminal else left,
        "succeeded": batch.completed,
        # Of those that were lost without a trace, nothing is left to come.
        "errored": batch.failed - canceled - expired + (left if batch.is_terminal else 0),
        "canceled": canceled,
        "expired": expired,
    }


def _time(instant: Instant | None) -> str | None:
    """RFC 3339, in UTC."""
    if instant is None:
        return None
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
