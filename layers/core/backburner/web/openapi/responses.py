"""What the routes of responses take and answer.

What clients send of OpenAI's own, such as tools, comes back as it was sent: it is declared openly.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.web.openapi.batches import Callback, Metadata, OutputDetails, Priority, Window
from backburner.web.openapi.operation import (
    Answer,
    Operation,
    Optional,
    Page,
    Params,
    Timestamp,
)


class NewResponse(msgspec.Struct, kw_only=True):
    """One request for a model, in the shape of OpenAI's Responses API; run in the background."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[dict[str, Any]] | Optional | None = UNSET
    background: Literal[True]
    instructions: str | Optional | None = UNSET
    max_output_tokens: Annotated[int, Meta(ge=1)] | Optional | None = UNSET
    metadata: Metadata | Optional | None = UNSET
    callback_url: Callback | Optional | None = UNSET
    previous_response_id: str | Optional | None = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | Optional | None = UNSET
    top_p: Annotated[float, Meta(ge=0, le=1)] | Optional | None = UNSET
    tools: list[dict[str, Any]] | Optional | None = UNSET
    tool_choice: Any = UNSET
    text: dict[str, Any] | Optional | None = UNSET
    reasoning: dict[str, Any] | Optional | None = UNSET
    completion_window: Window | Optional | None = UNSET
    priority: Priority | Optional | None = UNSET


class InputDetails(Answer):
    """Of the tokens read."""

    cached_tokens: int
    cache_write_tokens: int


class ResponseUsage(Answer):
    """Tokens that the model read and wrote."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseError(Answer):
    """Why there is no answer."""

    code: str
    message: str


class Incomplete(Answer):
    """Why the answer ends early."""

    reason: str


class Response(Answer):
    """A background response as it is now."""

    id: str
    object: Literal["response"]
    created_at: Timestamp
    completed_at: Timestamp | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: Literal[True]
    error: ResponseError | None
    incomplete_details: Incomplete | None
    instructions: Any
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, Any]
    service_tier: str
    store: Literal[True]
    temperature: float
    text: Any
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"]
    usage: ResponseUsage | None
    user: Any
    x_completion_window: str
    x_expires_at: Timestamp


class DeletedResponse(Answer):
    """What is left of a deleted response."""

    id: str
    object: Literal["response.deleted"]
    deleted: Literal[True]


class Counted(Answer):
    """Tokens that the model would read."""

    object: Literal["response.input_tokens"]
    input_tokens: int
    x_counted_by: Annotated[
        Literal["tokenizer", "bytes"],
        Meta(description="`bytes`: the model has no tokenizer here, and can't read more."),
    ]


class ToCount(msgspec.Struct, kw_only=True):
    """What would be asked."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[dict[str, Any]] | Optional | None = UNSET
    instructions: str | Optional | None = UNSET
    previous_response_id: str | Optional | None = UNSET
    tools: list[dict[str, Any]] | Optional | None = UNSET


class ListItems(Params):
    """Which items, and in which order."""

    after: str | Optional = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] | Optional = UNSET
    order: Literal["asc", "desc"] | Optional = UNSET


class Read(Params):
    """What OpenAI's clients may send."""

    stream: Literal["false", ""] | Optional = UNSET


OPERATIONS: dict[str, Operation] = {
    "POST /v1/responses": Operation(
        summary="Run one request in the background",
        answer=Response,
        body=NewResponse,
        errors=(404,),
        is_idempotent=True,
    ),
    "POST /v1/responses/input_tokens": Operation(
        summary="Count what a model would read; nothing is run",
        answer=Counted,
        body=ToCount,
        errors=(404,),
    ),
    "GET /v1/responses/<response_id>": Operation(
        summary="Show one response", answer=Response, query=Read, errors=(404,)
    ),
    "DELETE /v1/responses/<response_id>": Operation(
        summary="Delete a response; one that runs is cancelled",
        answer=DeletedResponse,
        errors=(404,),
    ),
    "GET /v1/responses/<response_id>/input_items": Operation(
        summary="List the items of a response's input",
        answer=Page[dict[str, Any]],
        query=ListItems,
        errors=(404,),
    ),
    "POST /v1/responses/<response_id>/cancel": Operation(
        summary="Stop a response", answer=Response, errors=(400, 404)
    ),
}
