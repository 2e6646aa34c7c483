"""EventBridge: a job of Bedrock or of batch transform ended → outcome of its shard."""

from typing import Any

from backburner.bootstrap import environment
from backburner.services.looks import ended
from backburner.wire.jobs import ended_job


def handler(event: dict[str, Any], context: Any) -> None:
    job = ended_job(event)
    if job is not None:
        ended(environment(), job.backend, job.name)
