"""What the routes of single requests take and answer: at once, or later."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.web.openapi.batches import Callback
from backburner.web.openapi.operation import (
    Answer,
    Operation,
    Optional,
    Page,
    PageParams,
    Params,
    Timestamp,
)


class RequestError(Answer):
    """Why there is no answer."""

    code: str
    message: str


class RequestUsage(Answer):
    """Tokens that the model read and wrote."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class Urls(Answer):
    """Where to read and stop the request."""

    result: str
    status: str
    cancel: str


class Request(Answer):
    """A single request as it is now, without what came out."""

    id: str
    object: Literal["request"]
    status: Literal["queued", "in_progress", "completed", "failed", "expired", "cancelled"]
    status_code: Annotated[int, Meta(description="Of the model's server.")] | None
    error: RequestError | None
    endpoint: str
    model: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    completed_at: Timestamp | None
    failed_at: Timestamp | None
    expired_at: Timestamp | None
    cancelled_at: Timestamp | None
    completion_window: str
    priority: int
    metadata: dict[str, str] | None
    usage: RequestUsage
    urls: Urls


class DeletedRequest(Answer):
    """What is left of a deleted request."""

    id: str
    object: Literal["request.deleted"]
    deleted: Literal[True]


class Options(Params):
    """How the request is run."""

    completion_window: (
        Annotated[str, Meta(description="Time after which it expires, such as `2h`.")] | Optional
    ) = UNSET
    priority: Annotated[str, Meta(pattern="^[0-9]$")] | Optional = UNSET
    notify_email: Annotated[str, Meta(description="Is told of the end.")] | Optional = UNSET
    callback_url: Callback | Optional = UNSET


class RawOptions(Options):
    """Which model, and what the body is."""

    model: str | Optional = UNSET
    content_type: str | Optional = UNSET
    accept: str | Optional = UNSET
    custom_attributes: str | Optional = UNSET
    upload: (
        Annotated[str, Meta(description="`true`: answers with a link that takes a large body.")]
        | Optional
    ) = UNSET


class Chat(msgspec.Struct, kw_only=True):
    """OpenAI's body of a chat completion; the model's server reads what is not named here."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] | Optional | None = UNSET


class Completion(msgspec.Struct, kw_only=True):
    """OpenAI's body of a completion."""

    model: Annotated[str, Meta(min_length=1)]
    prompt: str | list[Any]


class Embedding(msgspec.Struct, kw_only=True):
    """OpenAI's body of an embedding."""

    model: Annotated[str, Meta(min_length=1)]
    input: str | list[Any]


class Message(msgspec.Struct, kw_only=True):
    """Anthropic's body of a message."""

    model: Annotated[str, Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)]
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]


def _now_or_later(summary: str, body: Any) -> Operation:
    return Operation(
        summary=summary,
        answer=dict[str, Any],
        body=body,
        query=Options,
        others={202: Request},
        errors=(404,),
        is_idempotent=True,
        relays=True,
    )


OPERATIONS: dict[str, Operation] = {
    "POST /v1/chat/completions": _now_or_later("Complete a chat, now or later", Chat),
    "POST /v1/completions": _now_or_later("Complete a text, now or later", Completion),
    "POST /v1/embeddings": _now_or_later("Embed a text, now or later", Embedding),
    "POST /v1/messages": _now_or_later("Answer a message, now or later", Message),
    "GET /v1/requests": Operation(
        summary="List single requests, newest first", answer=Page[Request], query=PageParams
    ),
    "GET /v1/requests/<request_id>": Operation(
        summary="Read what the model answered",
        answer=Any,
        answer_type="*/*",
        may_redirect=True,
        redirect_status=303,
        others={202: Request},
        errors=(404,),
        relays=True,
    ),
    "POST /v1/requests": Operation(
        summary="Pass a body of any kind to a model",
        answer=Any,
        answer_type="*/*",
        body=Any,
        body_type="*/*",
        query=RawOptions,
        others={201: dict[str, Any], 202: Request},
        errors=(404,),
        is_idempotent=True,
        may_redirect=True,
        redirect_status=303,
        relays=True,
    ),
    "POST /v1/requests/<request_id>/start": Operation(
        summary="Start a request whose body was uploaded",
        answer=Any,
        answer_type="*/*",
        query=RawOptions,
        others={202: Request},
        errors=(404, 413),
        relays=True,
        may_redirect=True,
        redirect_status=303,
    ),
    "GET /v1/requests/<request_id>/status": Operation(
        summary="Show how a request goes", answer=Request, errors=(404,)
    ),
    "DELETE /v1/requests/<request_id>": Operation(
        summary="Delete a request; one that runs is cancelled",
        answer=DeletedRequest,
        errors=(404,),
    ),
    "POST /v1/requests/<request_id>/cancel": Operation(
        summary="Stop a request", answer=Request, errors=(400, 404)
    ),
}
