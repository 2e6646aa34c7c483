"""What a mail says of a batch that ended: ids, counts, duration and links."""

from backburner.domain.batch import Batch, BatchKind, BatchStatus
from backburner.domain.delivery import Delivery
from backburner.ports import Environment, Mail

_OUTCOME = {
    BatchStatus.COMPLETED: "is complete",
    BatchStatus.FAILED: "failed",
    BatchStatus.EXPIRED: "expired",
    BatchStatus.CANCELLED: "was cancelled",
}


#: Where one is found.
_ROUTES = {
    BatchKind.FILE: "batches",
    BatchKind.MESSAGES: "messages/batches",
    BatchKind.RESPONSE: "responses",
    BatchKind.REQUEST: "requests",
}


def compose(env: Environment, batch: Batch, delivery: Delivery) -> Mail:
    """The mail: ids, counts, duration and links, never prompts or results."""
    noun = batch.kind.noun.capitalize()
    url = f"{env.public_url}/v1/{_ROUTES[batch.kind]}/{batch.id}"
    outcome = _OUTCOME[batch.status]
    seconds = (batch.ended_at or batch.created_at) - batch.created_at
    lines = [
        f"{noun} {batch.id} {outcome}.",
        "",
        f"Requests:   {batch.total}",
        f"Completed:  {batch.completed}",
        f"Failed:     {batch.failed}",
        f"Duration:   {duration(seconds)}",
        "",
        f"Status:     {url}",
    ]
    if batch.kind is BatchKind.MESSAGES:
        lines.append(f"Results:    {url}/results")
    else:
        lines += _file_links(env, batch)
    lines += ["", "The links need your API key."]
    return Mail(
        to=delivery.target,
        subject=f"{noun} {batch.id} {outcome}: {batch.completed} of {batch.total} succeeded",
        text="\n".join(lines) + "\n",
        message_id=delivery.event_id,
    )


def _file_links(env: Environment, batch: Batch) -> list[str]:
    return [
        f"{label + ':':<12}{env.public_url}/v1/files/{file_id}/content"
        for label, file_id in (("Results", batch.output_file_id), ("Errors", batch.error_file_id))
        if file_id is not None
    ]


def duration(seconds: float) -> str:
    """A span as people write it: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
