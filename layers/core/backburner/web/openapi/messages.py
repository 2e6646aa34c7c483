"""What the routes of Anthropic's Message Batches take and answer."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.web.openapi.batches import Callback, Metadata, Priority, Window
from backburner.web.openapi.operation import Answer, Operation, Optional, Params

_ID = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,100}$")]


class MessageCounts(Answer):
    """Requests by what became of them."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageUsage(Answer):
    """Tokens of all requests that have ended."""

    input_tokens: int
    output_tokens: int


class MessageBatch(Answer):
    """A batch of messages, in Anthropic's shape; instants are RFC 3339."""

    id: str
    type: Literal["message_batch"]
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: MessageCounts
    ended_at: str | None
    created_at: str
    expires_at: str
    archived_at: str | None
    cancel_initiated_at: str | None
    results_url: str | None
    x_callback_url: str | None
    x_failure: str | None
    x_metadata: dict[str, str]
    x_priority: int
    x_requests_file_id: str | None
    x_usage: MessageUsage


class MessageBatches(Answer):
    """One page of batches, newest first."""

    data: list[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedMessageBatch(Answer):
    """What is left of a deleted batch."""

    id: str
    type: Literal["message_batch_deleted"]


class BatchedMessage(msgspec.Struct, kw_only=True):
    """One request; its params are the body of a message."""

    custom_id: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    params: dict[str, Any]


class NewMessageBatch(msgspec.Struct, kw_only=True):
    """The requests, or the file that they are in; and how to run them."""

    requests: list[BatchedMessage] | Optional = UNSET
    requests_file_id: str | Optional | None = UNSET
    completion_window: Window | Optional | None = UNSET
    metadata: Metadata | Optional | None = UNSET
    priority: Priority | Optional | None = UNSET
    callback_url: Callback | Optional | None = UNSET
    x_max_cost_usd: Any = UNSET
    x_max_tokens: Any = UNSET


class ListMessageBatches(Params):
    """Where the page begins or ends."""

    after_id: _ID | Optional = UNSET
    before_id: _ID | Optional = UNSET
    limit: Annotated[int, Meta(ge=1, le=1000)] | Optional = UNSET


class MessageToCount(msgspec.Struct, kw_only=True):
    """A message as it would be asked for."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]


OPERATIONS: dict[str, Operation] = {
    "POST /v1/messages/batches": Operation(
        summary="Run a batch of messages",
        answer=MessageBatch,
        body=NewMessageBatch,
        errors=(404,),
        is_idempotent=True,
    ),
    "GET /v1/messages/batches": Operation(
        summary="List batches of messages, newest first",
        answer=MessageBatches,
        query=ListMessageBatches,
    ),
    "GET /v1/messages/batches/<batch_id>": Operation(
        summary="Show a batch of messages", answer=MessageBatch, errors=(404,)
    ),
    "DELETE /v1/messages/batches/<batch_id>": Operation(
        summary="Delete a batch of messages that has ended",
        answer=DeletedMessageBatch,
        errors=(400, 404),
    ),
    "POST /v1/messages/batches/<batch_id>/cancel": Operation(
        summary="Stop a batch of messages", answer=MessageBatch, errors=(400, 404)
    ),
    "GET /v1/messages/batches/<batch_id>/results": Operation(
        summary="Read what became of each message",
        answer=bytes,
        answer_type="application/x-jsonl",
        errors=(400, 404),
        may_redirect=True,
    ),
    "GET /v1/messages/batches/<batch_id>/events": Operation(
        summary="Watch a batch of messages, by server-sent events",
        answer=bytes,
        answer_type="text/event-stream",
        errors=(404,),
        others={204: None},
        tells_news=True,
    ),
    "POST /v1/messages/count_tokens": Operation(
        summary="Count what a model would read of a message",
        answer=dict[str, Any],
        body=MessageToCount,
        errors=(404,),
    ),
}
