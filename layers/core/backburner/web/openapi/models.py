"""What the routes of models answer."""

from typing import Annotated, Literal

from msgspec import Meta

from backburner.web.openapi.operation import Answer, Operation, Page, Timestamp


class Model(Answer):
    """A model of the catalog."""

    id: str
    object: Literal["model"]
    created: Timestamp
    owned_by: str
    x_context_window: int
    x_routes: list[str]


class Backlog(Answer):
    """Work of one tenant for one model on one backend."""

    id: str
    object: Literal["backlog"]
    model: str
    backend: str
    instances: Annotated[
        int | None, Meta(description="Null where nobody knows, or where jobs bring their own.")
    ]
    max_instances: int | None
    waiting_requests: int
    shards_in_flight: Annotated[int, Meta(description="Slots that the tenant holds.")]
    slots: Annotated[int, Meta(description="Of all tenants.")]


OPERATIONS: dict[str, Operation] = {
    "GET /v1/backlog": Operation(
        summary="Show what waits and runs of each model", answer=Page[Backlog]
    ),
    "GET /v1/models": Operation(summary="List the models", answer=Page[Model]),
    "GET /v1/models/<name>": Operation(summary="Show one model", answer=Model, errors=(404,)),
    "GET /v1/models/<owner>/<name>": Operation(
        summary="Show one model whose name has a slash", answer=Model, errors=(404,)
    ),
}
