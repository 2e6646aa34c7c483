"""What a route answers, as API Gateway's HTTP API takes it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from backburner.domain.quota import Rate


class Stream(Protocol):
    """A body that comes piece by piece, for a gateway that can send it so."""

    def read(self) -> bytes | None:
        """What is to be sent now, perhaps nothing; None: that was all. Never waits."""

    def next_pause(self) -> float:
        """Seconds until it is worth reading again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. An object becomes JSON; bytes go out as they are."""

    status: int = 200
    body: Mapping[str, Any] | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Instead of the body; only for a gateway that said that it takes one.
    stream: Stream | None = None

    def to_event(self, request_id: str) -> dict[str, Any]:
        """Payload format 2.0 (API Gateway developer guide, "Lambda proxy integrations").

        Both names of the request's id are in use: OpenAI's clients read the first, Anthropic's
        the second. A stream stands beside the body, as only the gateway of one machine takes it.
        """
        headers = {**self.headers, "x-request-id": request_id, "request-id": request_id}
        is_bytes = isinstance(self.body, bytes)
        if not is_bytes:
            headers["content-type"] = "application/json"
        streamed = {} if self.stream is None else {"stream": self.stream}
        return {
            "statusCode": self.status,
            "headers": headers,
            "cookies": [],
            "isBase64Encoded": is_bytes,
            "body": _text(self.body),
            **streamed,
        }


def rate_headers(rate: Rate) -> dict[str, str]:
    """How the tenant's minute stands, by the names that OpenAI's API has for it."""
    return {
        "x-ratelimit-limit-requests": str(rate.limit),
        "x-ratelimit-remaining-requests": str(rate.remaining),
        "x-ratelimit-reset-requests": f"{rate.reset_seconds}s",
    }


def with_rate(answer: Answer, rate: Rate) -> Answer:
    return replace(answer, headers={**answer.headers, **rate_headers(rate)})


def _text(body: Mapping[str, Any] | bytes) -> str:
    if isinstance(body, bytes):
        return base64.b64encode(body).decode()
    return msgspec.json.encode(body).decode()
