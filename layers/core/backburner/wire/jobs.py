"""What EventBridge tells of jobs that ended.

Shapes: reference pages `bedrock.md` §4 and `sagemaker.md` §9.6. Delivery is best effort, and may
come twice: an event is only a reason to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJob:
    """A job that reached a terminal state."""

    backend: str
    #: The backend's name of it: Bedrock's ARN, the name of a transform job.
    name: str


#: By source and kind of event: the backend, the members with the job's name and its status, and
#: the terminal ones of these.
_KINDS = {
    ("aws.bedrock", "Batch Inference Job State Change"): (
        "bedrock_batch",
        "batchJobArn",
        "status",
        {"Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"},
    ),
    ("aws.sagemaker", "SageMaker Transform Job State Change"): (
        "sagemaker_transform",
        "TransformJobName",
        "TransformJobStatus",
        {"Completed", "Failed", "Stopped"},
    ),
}


def ended_job(event: Mapping[str, Any]) -> EndedJob | None:
    """The job that an event tells the end of; None: it tells of something else."""
    kind = _KINDS.get((str(event.get("source")), str(event.get("detail-type"))))
    detail = event.get("detail")
    if kind is None or not isinstance(detail, Mapping):
        return None
    backend, name, status, terminal = kind
    if detail.get(status) not in terminal or not isinstance(detail.get(name), str):
        return None
    return EndedJob(backend=backend, name=detail[name])
