"""What the routes of webhook endpoints and of deliveries take and answer."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.domain import webhook
from backburner.domain.targets import MOST_CHARACTERS
from backburner.web.openapi.operation import (
    Answer,
    Operation,
    Optional,
    Page,
    PageParams,
    Params,
    Timestamp,
)

EventType = Annotated[str, Meta(pattern=f"^({'|'.join(webhook.EVENT_TYPES)})$")]
EventTypes = Annotated[list[EventType], Meta(min_length=1)]
Name = Annotated[str, Meta(min_length=1, max_length=webhook.MOST_NAME)]
Url = Annotated[
    str,
    Meta(
        max_length=MOST_CHARACTERS,
        description="HTTPS, of a host that is public.",
        examples=["https://hooks.example.com/batches"],
    ),
]
Email = Annotated[str, Meta(description="Address that is told if the endpoint is disabled.")]


class WebhookEndpoint(Answer):
    """A URL that is told of what ends."""

    id: str
    object: Literal["webhook_endpoint"]
    created_at: Timestamp
    updated_at: Timestamp
    name: str
    url: str
    event_types: list[str]
    signing_secret_hint: str
    x_status: Annotated[
        Literal["enabled", "disabled"], Meta(description="An update enables it again.")
    ]
    x_disabled_at: Timestamp | None
    x_disabled_reason: str | None
    x_notify_email: str | None


class WebhookEndpointWithSecret(WebhookEndpoint):
    """The same, with the secret that is shown only once."""

    signing_secret: str


class NewWebhookEndpoint(msgspec.Struct, kw_only=True):
    """What to tell, and where."""

    name: Name
    url: Url
    event_types: EventTypes
    x_notify_email: Email | Optional | None = UNSET


class WebhookEndpointChanges(msgspec.Struct, kw_only=True):
    """What is to be different."""

    name: Name | Optional = UNSET
    url: Url | Optional = UNSET
    event_types: EventTypes | Optional = UNSET
    x_notify_email: Email | Optional | None = UNSET


class Rotation(msgspec.Struct, kw_only=True):
    """Whether the former secret signs too for a day."""

    keep_old_secret_active_for_24_hours: bool | Optional | None = UNSET


class WebhookTest(msgspec.Struct, kw_only=True):
    """Of which type the sample is."""

    event_type: EventType


class WebhookTestResult(Answer):
    """What the endpoint answered to the sample."""

    object: Literal["webhook_endpoint.test"]
    event_type: str
    status_code: int
    success: Literal[True]
    webhook_endpoint_id: str


class DeletedWebhookEndpoint(Answer):
    """What is left of a deleted endpoint."""

    id: str
    object: Literal["webhook_endpoint.deleted"]
    deleted: Literal[True]


class WebhookEventTypes(Answer):
    """What endpoints may ask for."""

    object: Literal["list"]
    data: list[str]


class CallbackSecret(Answer):
    """What deliveries to callback URLs are signed with; shown only once."""

    object: Literal["x_callback_secret"]
    signing_secret: str
    signing_secret_hint: str


class Delivery(Answer):
    """One telling of one end to one target."""

    id: str
    object: Literal["x_delivery"]
    batch_id: str
    channel: Literal["bus", "email", "events", "webhook"]
    endpoint_id: str | None
    target: Annotated[str | None, Meta(description="Mail address, or callback URL.")]
    event_id: str
    event_type: str
    status: Literal["pending", "delivered", "dead"]
    attempts: int
    created_at: Timestamp
    next_attempt_at: Timestamp | None
    last_error: str | None


class ListDeliveries(PageParams):
    """Which deliveries: the dead ones, or those of one batch."""

    status: Literal["pending", "delivered", "dead"] | Optional = UNSET
    batch: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,100}$")] | Optional = UNSET


class ListEndpoints(Params):
    """Where a page begins, and how long it is."""

    after: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,100}$")] | Optional = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] | Optional = UNSET


class ToReplay(msgspec.Struct, kw_only=True):
    """What is to be told again."""

    since: Annotated[
        float, Meta(ge=0, le=253_402_300_799, description="Given up since then; epoch seconds.")
    ]
    endpoint_id: str | Optional | None = UNSET


class Replayed(Answer):
    """How many are told again; there may be more."""

    object: Literal["x_replay"]
    replayed: int
    has_more: bool
    next_since: Annotated[float | None, Meta(description="Go on with this `since`.")]


_ENDPOINT = "/v1/webhook_endpoints/<endpoint_id>"

OPERATIONS: dict[str, Operation] = {
    "POST /v1/webhook_endpoints": Operation(
        summary="Make a webhook endpoint",
        answer=WebhookEndpointWithSecret,
        body=NewWebhookEndpoint,
        is_idempotent=True,
    ),
    "GET /v1/webhook_endpoints": Operation(
        summary="List webhook endpoints, newest first",
        answer=Page[WebhookEndpoint],
        query=ListEndpoints,
    ),
    f"GET {_ENDPOINT}": Operation(
        summary="Show one webhook endpoint", answer=WebhookEndpoint, errors=(404,)
    ),
    f"POST {_ENDPOINT}": Operation(
        summary="Change a webhook endpoint, and enable it",
        answer=WebhookEndpoint,
        body=WebhookEndpointChanges,
        needs_body=False,
        errors=(404,),
    ),
    f"DELETE {_ENDPOINT}": Operation(
        summary="Delete a webhook endpoint", answer=DeletedWebhookEndpoint, errors=(404,)
    ),
    f"POST {_ENDPOINT}/rotate_secret": Operation(
        summary="Give a webhook endpoint a new secret",
        answer=WebhookEndpointWithSecret,
        body=Rotation,
        needs_body=False,
        errors=(404,),
        is_idempotent=True,
    ),
    f"POST {_ENDPOINT}/test": Operation(
        summary="Send a webhook endpoint a sample",
        answer=WebhookTestResult,
        body=WebhookTest,
        errors=(404,),
    ),
    "GET /v1/webhook_event_types": Operation(
        summary="List what webhook endpoints may ask for", answer=WebhookEventTypes
    ),
    "POST /v1/x-callback-secret": Operation(
        summary="Make or replace the secret of callback URLs",
        answer=CallbackSecret,
        body=Rotation,
        needs_body=False,
    ),
    "GET /v1/x-deliveries": Operation(
        summary="List dead deliveries, or those of one batch",
        answer=Page[Delivery],
        query=ListDeliveries,
    ),
    "POST /v1/x-deliveries/replay": Operation(
        summary="Tell again what was given up", answer=Replayed, body=ToReplay
    ),
    "GET /v1/x-deliveries/<delivery_id>": Operation(
        summary="Show one delivery", answer=Delivery, errors=(404,)
    ),
    "POST /v1/x-deliveries/<delivery_id>/replay": Operation(
        summary="Tell one target again", answer=Delivery, errors=(404,)
    ),
}
