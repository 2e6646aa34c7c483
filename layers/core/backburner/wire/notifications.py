"""What AWS tells us: results of asynchronous inference by SNS, and new objects by S3.

Shapes: reference page `sagemaker.md` §2; Amazon S3 user guide, "Event message structure".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from backburner.domain.shard import AttemptRef


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncResult:
    """The end of one asynchronous invocation of ours."""

    ref: AttemptRef
    #: `s3://` location of the result; None if it failed.
    output_location: str | None


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
        location = answer.get("outputLocation") if isinstance(answer, dict) else None
        yield AsyncResult(ref=ref, output_location=location if is_complete else None)


def uploaded_keys(event: Mapping[str, Any]) -> Iterator[str]:
    """Keys of created objects in an S3 event; they come URL-encoded, with `+` for a space."""
    for record in event.get("Records", ()):
        if str(record.get("eventName", "")).startswith("ObjectCreated:"):
            yield unquote_plus(record["s3"]["object"]["key"])
