"""What the routes of batches take and answer."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.domain import batch as domain
from backburner.web.openapi.files import Content, ExpirySeconds
from backburner.web.openapi.operation import (
    Answer,
    Operation,
    Optional,
    Page,
    PageParams,
    Timestamp,
)

Metadata = Annotated[
    dict[
        Annotated[str, Meta(max_length=domain.METADATA_KEY)],
        Annotated[str, Meta(max_length=domain.METADATA_VALUE)],
    ],
    Meta(max_length=domain.METADATA_PAIRS),
]
Window = Annotated[
    str,
    Meta(
        pattern="^[0-9]{1,5}[mhd]$",
        description="Time after which unfinished requests expire: 15m to 7d.",
        examples=["24h"],
    ),
]
Route = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
Priority = Annotated[
    int, Meta(ge=0, le=9, description="Among those of one deadline, higher runs first.")
]


Callback = Annotated[
    str, Meta(max_length=2048, description="URL that is told of the end, as webhooks are.")
]


class BatchError(Answer):
    """What is wrong with the input file, or why the batch stopped."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(Answer):
    """All that was wrong."""

    object: Literal["list"]
    data: list[BatchError]


class Counts(Answer):
    """Requests; while the batch runs, so far."""

    total: int
    completed: int
    failed: int


class InputDetails(Answer):
    """Of the tokens read."""

    cached_tokens: int


class OutputDetails(Answer):
    """Of the tokens written."""

    reasoning_tokens: int


class Usage(Answer):
    """Tokens of all requests that have ended."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Batch(Answer):
    """Requests that were submitted together."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str | None
    completion_window: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: Timestamp
    in_progress_at: Timestamp | None
    expires_at: Timestamp | None
    finalizing_at: Timestamp | None
    completed_at: Timestamp | None
    failed_at: Timestamp | None
    expired_at: Timestamp | None
    cancelling_at: Timestamp | None
    cancelled_at: Timestamp | None
    request_counts: Counts
    usage: Usage
    metadata: dict[str, str] | None
    x_on_invalid: Literal["fail", "skip"]
    x_priority: int
    x_skipped: Annotated[int, Meta(description="Of the failed, lines that were invalid.")]
    x_paused: bool
    x_callback_url: str | None
    x_max_cost_usd: float | None
    x_max_tokens: int | None
    x_incomplete_reason: str | None
    x_progress: Any
    x_retry_of: str | None
    x_retried_by: str | None
    x_merged_file_id: str | None
    x_state: Annotated[str, Meta(description="`paused`, or its status.")]
    results: (
        Annotated[
            list[Any], Meta(description="Of requests that came in the call, if they are few.")
        ]
        | Optional
        | None
    ) = UNSET


class OutputExpiry(msgspec.Struct, kw_only=True):
    """When the files that the batch writes go."""

    anchor: Literal["created_at"]
    seconds: ExpirySeconds


class NewBatch(msgspec.Struct, kw_only=True):
    """Which file's requests to run, and how."""

    endpoint: Route
    input_file_id: Annotated[str, Meta(min_length=1)] | Optional | None = UNSET
    callback_url: Callback | Optional | None = UNSET
    requests: (
        Annotated[
            list[dict[str, Any]],
            Meta(min_length=1, description="Instead of a file: each as a line of it would be."),
        ]
        | Optional
        | None
    ) = UNSET
    model: Annotated[str, Meta(description="Of requests that name none.")] | Optional | None = UNSET
    completion_window: Window | Optional | None = UNSET
    metadata: Metadata | Optional | None = UNSET
    priority: Priority | Optional | None = UNSET
    output_expires_after: OutputExpiry | Optional | None = UNSET
    x_max_cost_usd: Any = UNSET
    x_max_tokens: Any = UNSET
    x_on_invalid: (
        Annotated[
            Literal["fail", "skip"],
            Meta(description="Whether bad lines fail the batch, or go to the error file."),
        ]
        | Optional
        | None
    ) = UNSET


class Retry(msgspec.Struct, kw_only=True):
    """What to run again; by default all that failed, in the window of the first batch."""

    request_ids: list[str] | Optional | None = UNSET
    completion_window: Window | Optional | None = UNSET


class RetryOf(msgspec.Struct, kw_only=True):
    """Which of the failed requests to run again, by their custom_ids."""

    request_ids: list[str]
    completion_window: Window | Optional | None = UNSET


class Results(Content):
    """Which results; all of them, if nothing is said."""

    skip: Annotated[int, Meta(ge=0, le=999_999_999)] | Optional = UNSET
    status: Literal["completed", "failed"] | Optional = UNSET


OPERATIONS: dict[str, Operation] = {
    "GET /v1/batches/<batch_id>/results": Operation(
        summary="Read requests and what became of them",
        answer=bytes,
        answer_type="application/jsonl",
        query=Results,
        errors=(404,),
    ),
    "GET /v1/batches/<batch_id>/events": Operation(
        summary="Watch one batch, by server-sent events",
        answer=bytes,
        answer_type="text/event-stream",
        errors=(404,),
        others={204: None},
        tells_news=True,
    ),
    "POST /v1/batches/<batch_id>/retry": Operation(
        summary="Run again what failed in a batch",
        answer=Batch,
        body=Retry,
        needs_body=False,
        errors=(404,),
    ),
    "POST /v1/batches/<batch_id>/retry-requests": Operation(
        summary="Run some requests of a batch again", answer=Batch, body=RetryOf, errors=(404,)
    ),
    "POST /v1/batches": Operation(
        summary="Run the requests of a file",
        answer=Batch,
        body=NewBatch,
        errors=(404,),
        is_idempotent=True,
    ),
    "GET /v1/batches": Operation(
        summary="List batches, newest first", answer=Page[Batch], query=PageParams
    ),
    "GET /v1/batches/<batch_id>": Operation(summary="Show one batch", answer=Batch, errors=(404,)),
    "POST /v1/batches/<batch_id>/pause": Operation(
        summary="Start nothing more of a batch; what runs finishes",
        answer=Batch,
        errors=(400, 404),
    ),
    "POST /v1/batches/<batch_id>/resume": Operation(
        summary="Let a paused batch go on", answer=Batch, errors=(400, 404)
    ),
    "POST /v1/batches/<batch_id>/cancel": Operation(
        summary="Stop a batch; what has finished is kept", answer=Batch, errors=(400, 404)
    ),
}
