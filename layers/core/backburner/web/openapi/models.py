"""What the routes of models answer."""

from typing import Literal

from backburner.web.openapi.operation import Answer, Operation, Page, Timestamp


class Model(Answer):
    """A model of the catalog."""

    id: str
    object: Literal["model"]
    created: Timestamp
    owned_by: str
    x_context_window: int
    x_routes: list[str]


OPERATIONS: dict[str, Operation] = {
    "GET /v1/models": Operation(summary="List the models", answer=Page[Model]),
    "GET /v1/models/<name>": Operation(summary="Show one model", answer=Model, errors=(404,)),
    "GET /v1/models/<owner>/<name>": Operation(
        summary="Show one model whose name has a slash", answer=Model, errors=(404,)
    ),
}
