"""What a route takes and answers, declared; tests hold routes and declarations to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

T = TypeVar("T")

#: Seconds since the epoch.
Timestamp = Annotated[int, Meta(description="Seconds since the epoch.")]

#: A query parameter that may be left out.
Optional = UnsetType


class Params(msgspec.Struct, kw_only=True):
    """Base of query parameters: one a field, none of them required."""


class Answer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of answers: all fields are there, and no others."""


class Page(Answer, Generic[T]):
    """One page of a list; the next one begins `after` the last id."""

    object: Annotated[str, Meta(pattern="^list$")]
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


class PageParams(Params):
    """Where a page begins, and how long it is."""

    after: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,100}$")] | Optional = UNSET
    limit: Annotated[int, Meta(ge=1, le=100)] | Optional = UNSET


class ErrorDetail(Answer):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(Answer):
    """An error in OpenAI's shape."""

    error: ErrorDetail


class AnthropicErrorDetail(msgspec.Struct, kw_only=True):
    """What went wrong."""

    type: str
    message: str


class AnthropicError(Answer):
    """An error in Anthropic's shape, below `/v1/messages`."""

    type: Annotated[str, Meta(pattern="^error$")]
    error: AnthropicErrorDetail
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What one route does. What all routes have in common is added by the document."""

    summary: str
    #: Type of the answer's body; bytes: a file; None: it only redirects.
    answer: Any
    answer_type: str = "application/json"
    #: Type of the body that it takes; None: none.
    body: Any = None
    needs_body: bool = True
    body_type: str = "application/json"
    query: type[Params] | None = None
    #: Statuses of its own, beside those of all routes.
    errors: tuple[int, ...] = ()
    #: Whether a second request with the same key gets the first one's answer.
    is_idempotent: bool = False
    #: Whether a range of bytes may be asked for.
    takes_ranges: bool = False
    #: Whether a redirect to a signed link may be the answer.
    may_redirect: bool = False
    redirect_status: int = 302
    #: Types of other successes, by status; None: without a body.
    others: Mapping[int, Any] = field(default_factory=dict)
    #: Whether the model's server is heard: its errors are answered with its own statuses.
    relays: bool = False
    #: Whether it tells news, and goes on after what was told last.
    tells_news: bool = False
    #: Whether no key is needed.
    is_public: bool = False
