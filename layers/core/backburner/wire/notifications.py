"""What AWS tells us: results of asynchronous inference by SNS, and new objects by S3.

Shapes: reference page `sagemaker.md` §2; Amazon S3 user guide, "Event message structure".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from backburner.domain.shard import AttemptRef

#: The container's status in SageMaker's sentence about a failure.
_STATUS = re.compile(r"Received (?:client|server) error \((\d{3})\) from")


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncResult:
    """The end of one asynchronous invocation of ours."""

    ref: AttemptRef
    #: `s3://` location of the result; None if it failed.
    output_location: str | None
    #: Of the result; None where nobody told.
    content_type: str | None = None
    #: That the container failed with; None where it gave none.
    status_code: int | None = None


def async_results(event: Mapping[str, Any]) -> Iterator[AsyncResult]:
    """Results in an SNS event; whatever else comes by the topic is left out."""
    for record in event["Records"]:
        try:
            message = msgspec.json.decode(record["Sns"]["Message"])
        except msgspec.DecodeError:  # somebody else's
            continue
        if not isinstance(message, dict) or message.get("eventName") != "InferenceResult":
            continue
        ref = AttemptRef.parse(str(message.get("inferenceId", "")))
        if ref is None:
            continue
        is_complete = message.get("invocationStatus") == "Completed"
        answer = message.get("responseParameters")
        told = answer if isinstance(answer, dict) else {}
        content_type = told.get("contentType")
        failed = None if is_complete else _STATUS.search(str(message.get("failureReason")))
        yield AsyncResult(
            ref=ref,
            output_location=told.get("outputLocation") if is_complete else None,
            content_type=content_type if isinstance(content_type, str) else None,
            status_code=int(failed[1]) if failed else None,
        )


def uploaded_keys(event: Mapping[str, Any]) -> Iterator[str]:
    """Keys of created objects in an S3 event; they come URL-encoded, with `+` for a space."""
    for record in event.get("Records", ()):
        if str(record.get("eventName", "")).startswith("ObjectCreated:"):
            yield unquote_plus(record["s3"]["object"]["key"])
