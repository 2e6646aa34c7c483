"""What the route of estimates takes and answers."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta

from backburner.web.openapi.batches import Window
from backburner.web.openapi.operation import Answer, Operation, Optional, Timestamp

_Amount = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class Amounts(msgspec.Struct, kw_only=True):
    """How much there is for one model."""

    requests: Annotated[int, Meta(ge=1, le=2**53 - 1)]
    bytes: Annotated[int, Meta(ge=0, le=2**53 - 1, description="Of their lines.")] | Optional = (
        UNSET
    )
    prompt_bytes: _Amount | Optional = UNSET
    answer_tokens: _Amount | Optional = UNSET
    unlimited_requests: (
        Annotated[
            int,
            Meta(ge=0, le=2**53 - 1, description="Of them, those that name no limit of tokens."),
        ]
        | Optional
    ) = UNSET


class NewEstimate(msgspec.Struct, kw_only=True):
    """A batch that is not submitted yet."""

    models: Annotated[dict[str, Amounts], Meta(min_length=1)]
    completion_window: Window | Optional = UNSET
    endpoint: (
        Annotated[
            str, Meta(description="Route of the requests.", examples=["/v1/chat/completions"])
        ]
        | Optional
    ) = UNSET


class Offer(Answer):
    """One backend, as it looks for these requests now; null wherever that is not known."""

    backend: str
    pool: str
    slots: Annotated[int, Meta(description="Of them, the most that you may hold at once.")]
    free_slots: Annotated[int, Meta(description="That you may take now.")]
    shards: int
    starts_at: Timestamp | None
    ends_at: Timestamp | None
    cost_usd: float | None
    refusal: str | None
    note: str | None


class Choice(Answer):
    """Where the requests for one model would go, and why."""

    model: str
    requests: int
    backend: str | None
    why: str
    options: list[Offer]


class Estimate(Answer):
    """Where all of them would go."""

    object: Literal["estimate"]
    completion_window: str
    data: list[Choice]


OPERATIONS: dict[str, Operation] = {
    "POST /v1/estimates": Operation(
        summary="Say where a batch would run, when it would end and what it would cost",
        answer=Estimate,
        body=NewEstimate,
        errors=(404,),
    ),
}
