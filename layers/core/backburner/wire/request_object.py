"""A single request, as `/v1/requests` shows it."""

from backburner.domain.batch import STOPPED, Batch, BatchStatus
from backburner.domain.request import Outcome
from backburner.wire.objects import Object

_INSTANTS = ("expires_at", "completed_at", "failed_at", "expired_at", "cancelled_at")


def request_object(
    batch: Batch, *, base_url: str, is_running: bool = False, outcome: Outcome | None = None
) -> Object:
    """The request as it is now, without what came out.

    Args:
        batch: the batch of one that it is.
        base_url: where users reach the gateway; no slash at the end.
        is_running: whether a backend works on it; it is queued otherwise.
        outcome: what came out, where it has ended and that was looked up.
    """
    url = f"{base_url}/v1/requests/{batch.id}"
    instants = {name: getattr(batch, name) for name in _INSTANTS}
    return {
        "id": batch.id,
        "object": "request",
        "status": _status(batch, is_running=is_running),
        "status_code": outcome.status_code or None if outcome is not None else None,
        "error": _error(batch, outcome),
        "endpoint": batch.route,
        "model": batch.model,
        "created_at": int(batch.created_at),
        **{name: None if at is None else int(at) for name, at in instants.items()},
        "completion_window": batch.completion_window,
        "priority": batch.priority,
        "metadata": batch.metadata or None,
        "usage": {
            "input_tokens": batch.input_tokens,
            "output_tokens": batch.output_tokens,
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "urls": {"result": url, "status": f"{url}/status", "cancel": f"{url}/cancel"},
    }


def _status(batch: Batch, *, is_running: bool) -> str:
    if batch.is_terminal:
        return str(batch.status)
    if batch.stopping is not None:
        return str(STOPPED[batch.stopping][0])
    return "in_progress" if is_running else "queued"


def _error(batch: Batch, outcome: Outcome | None) -> Object | None:
    if not batch.is_terminal or batch.status is BatchStatus.COMPLETED:
        return None
    code, message = why(batch, outcome)
    return {"code": code, "message": message}


def why(batch: Batch, outcome: Outcome | None) -> tuple[str, str]:
    """Why a request that ended has no answer of its model, as a code and in words."""
    if batch.stopping is not None:
        _, code, message = STOPPED[batch.stopping]
        return code.replace("batch_", "request_"), message.replace("the batch", "the request")
    if outcome is not None and outcome.code is not None:
        return outcome.code, outcome.message or "The request failed."
    if outcome is not None:
        return "model_error", f"The model's server answered with status {outcome.status_code}."
    return "result_lost", "The result of this request is not kept any more."
