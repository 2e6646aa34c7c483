"""What needs no key."""

from typing import Annotated, Any

from msgspec import Meta

from backburner.web.openapi.operation import Answer, Operation


class Health(Answer):
    """The function answers."""

    status: Annotated[str, Meta(pattern="^ok$")]


#: By path; all are read with GET.
OPERATIONS: dict[str, Operation] = {
    "/healthz": Operation(summary="Whether the API answers", answer=Health, is_public=True),
    "/openapi.json": Operation(summary="This document", answer=dict[str, Any], is_public=True),
    "/docs": Operation(
        summary="This document as a page", answer=bytes, answer_type="text/html", is_public=True
    ),
}
