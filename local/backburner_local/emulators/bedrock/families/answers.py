"""What the local model answered, as every family needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backburner_local.emulators.wire import Message

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of OpenAI's API."""

    body: Message
    latency_ms: int
    #: Id of the model that the job asked for.
    model_id: str

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = self.body["choices"][0]["message"]
        return message

    @property
    def text(self) -> str:
        return self.message.get("content") or ""

    @property
    def finish_reason(self) -> str:
        return self.body["choices"][0].get("finish_reason") or "stop"

    @property
    def vectors(self) -> list[list[float]]:
        return [one["embedding"] for one in self.body["data"]]

    @property
    def input_tokens(self) -> int:
        return int((self.body.get("usage") or {}).get("prompt_tokens") or 0)

    @property
    def output_tokens(self) -> int:
        return int((self.body.get("usage") or {}).get("completion_tokens") or 0)
