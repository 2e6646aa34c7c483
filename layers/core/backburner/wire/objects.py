"""OpenAI's objects, made of domain values: files, batches, models, pages, errors."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from backburner.domain import budget
from backburner.domain.backlog import OwnBacklog
from backburner.domain.batch import STOPPED, Batch, StopReason
from backburner.domain.catalog import Model
from backburner.domain.file import FilePurpose, StoredFile
from backburner.domain.finding import Finding
from backburner.domain.progress import Progress
from backburner.domain.request import Instant
from backburner.domain.routing import Choice, Group
from backburner.domain.upload import Upload, UploadStatus

Object = dict[str, Any]

_INSTANTS = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def file_object(file: StoredFile) -> Object:
    """A file. `processed` from the start: clients wait for that word.

    `sample_type`, `source`, `num_lines` and `mimetype` are Mistral's; its client insists on the
    first two.
    """
    is_upload = file.purpose is FilePurpose.BATCH
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at),
        "expires_at": _seconds(file.expires_at),
        "filename": file.filename,
        "purpose": str(file.purpose),
        "status": "processed",
        "status_details": None,
        "sample_type": "batch_request" if is_upload else "batch_result",
        "source": "upload" if is_upload else "mistral",
        "num_lines": file.line_count,
        "mimetype": file.mimetype,
        "x_sha256": file.sha256,
    }


def running_file_object(batch: Batch, file_id: str, name: str) -> Object:
    """The output or error file of a batch that still writes it."""
    since = batch.in_progress_at or batch.created_at
    file = StoredFile(
        tenant=batch.tenant,
        id=file_id,
        filename=f"{batch.id}_{name}.jsonl",
        purpose=FilePurpose.BATCH_OUTPUT,
        size=0,
        created_at=since,
    )
    return file_object(file) | {"x_incomplete": True}


def deleted_object(deleted_id: str, kind: str) -> Object:
    """Says that an object is gone; the kind is the word that OpenAI has for it."""
    return {"id": deleted_id, "object": kind, "deleted": True}


def upload_object(
    upload: Upload, status: UploadStatus, file: StoredFile | None, *, part_bytes: int
) -> Object:
    """An upload; beyond OpenAI's members, the largest part that this server takes."""
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.size,
        "created_at": int(upload.created_at),
        "expires_at": int(upload.expires_at),
        "filename": upload.filename,
        "purpose": str(upload.purpose),
        "status": str(status),
        "file": None if file is None else file_object(file),
        "x_part_bytes": part_bytes,
    }


def part_object(part_id: str, upload_id: str, created_at: Instant) -> Object:
    """A part of an upload."""
    return {
        "id": part_id,
        "object": "upload.part",
        "created_at": int(created_at),
        "upload_id": upload_id,
    }


def batch_object(
    batch: Batch, findings: Iterable[Finding] = (), progress: Progress | None = None
) -> Object:
    """A batch, with every key that OpenAI knows: clients rely on the nulls."""
    errors = [
        {"code": one.code, "message": one.message, "param": one.param, "line": one.line}
        for one in findings
    ]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.route,
        "model": batch.model,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": str(batch.shown_status),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        **{name: _seconds(getattr(batch, name)) for name in _INSTANTS},
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "metadata": batch.metadata or None,
        "x_on_invalid": batch.on_invalid,
        "x_priority": batch.priority,
        "x_skipped": batch.skipped,
        "x_paused": batch.paused,
        "x_callback_url": batch.callback_url,
        "x_max_cost_usd": _dollars(batch.max_cost_nanos),
        "x_max_tokens": batch.max_tokens,
        "x_incomplete_reason": _incomplete_reason(batch),
        "x_progress": progress_object(batch, progress) if progress is not None else None,
        "x_retry_of": batch.retry_of,
        "x_retried_by": batch.retried_by,
        "x_merged_file_id": batch.merged_file_id,
        "x_state": "paused" if batch.paused else str(batch.shown_status),
    }


def progress_object(batch: Batch, progress: Progress) -> Object:
    """How far a batch is; null wherever that is not known."""
    rate, eta = progress.lines_per_second, progress.eta
    return {
        "percent": progress.percent,
        "lines_done": progress.lines_done,
        "lines_total": batch.total or None,
        "lines_per_s": None if rate is None else round(rate, 3),
        "tokens": batch.input_tokens + batch.output_tokens,
        "cost_so_far": _dollars(batch.cost_nanos if batch.is_priced else None),
        "eta": None if eta is None else rfc3339(eta),
        "queue_position": progress.queue_position,
    }


def rfc3339(instant: Instant) -> str:
    """To the second, UTC."""
    return datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _dollars(nanos: int | None) -> float | None:
    return None if nanos is None else nanos / budget.NANOS


def _incomplete_reason(batch: Batch) -> str | None:
    """Why a batch that completes has requests that never ran."""
    if batch.stopping is not StopReason.BUDGET or (batch.is_terminal and not batch.dropped):
        return None
    return STOPPED[StopReason.BUDGET][1]


def model_object(model: Model) -> Object:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "x_context_window": model.context_window,
        "x_routes": list(model.routes),
    }


def backlog_object(own: OwnBacklog) -> Object:
    """A tenant's part of one pool's backlog."""
    model = own.model
    return {
        "id": model.pool,
        "object": "backlog",
        "model": model.name,
        "backend": model.backend,
        "instances": own.instances,
        "max_instances": None if model.has_jobs else model.max_instances,
        "waiting_requests": own.waiting,
        "shards_in_flight": own.in_flight,
        "slots": model.slots,
    }


def choice_object(model: Model, group: Group, choice: Choice) -> Object:
    """Where a batch's requests for one model would go."""
    taken = choice.taken
    return {
        "model": model.name,
        "requests": group.lines,
        "backend": taken.place.backend if taken is not None else None,
        "why": choice.why,
        "options": [
            {
                "backend": option.place.backend,
                "pool": option.place.pool,
                "slots": option.slots,
                "free_slots": option.free,
                "shards": option.shards,
                "starts_at": _seconds(option.starts_at),
                "ends_at": _seconds(option.ends_at),
                "cost_usd": _dollars(option.cost_nanos),
                "refusal": option.refusal,
                "note": option.note,
            }
            for option in choice.options
        ],
    }


def page_object(data: Sequence[Object], *, has_more: bool) -> Object:
    """One page of a list. Without `has_more`, clients would ask for ever."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def error_object(
    message: str, kind: str, *, param: str | None = None, code: str | None = None
) -> Object:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _seconds(instant: Instant | None) -> int | None:
    return None if instant is None else int(instant)
