"""The port behind which models run."""

from __future__ import annotations

from typing import Protocol

from backburner_model.wire import Answer, RawBody, unsupported_type


class EngineStartError(RuntimeError):
    """The engine could not start; the message and standard error say why."""


class Engine(Protocol):
    """Answers OpenAI requests, as many at once as it is given.

    The container sees to it that a body is a JSON object in UTF-8, is not streamed and goes to
    one of `routes`, and that no more than a settable number of requests is here at once.
    """

    #: The routes that are answered.
    routes: frozenset[str]

    async def start(self) -> None:
        """Return when requests can be answered."""

    async def close(self) -> None:
        """Let go of everything; what is still running may end without an answer."""

    async def answer(self, route: str, body: bytes) -> Answer:
        """Answer one request; when cancelled, stop working on it."""
        ...

    def answer_now(self, route: str, body: bytes) -> Answer | None:  # noqa: ARG002
        """The answer, if it costs no more than microseconds; else None."""
        return None

    async def answer_raw(self, asked: RawBody) -> Answer:
        """Answer a body that is neither JSON nor a shard; most engines take none."""
        return unsupported_type(asked.content_type)

    async def is_healthy(self) -> bool:
        """Whether requests can be answered now."""
        return True

    def metrics(self) -> str | None:
        """What the engine tells of itself in Prometheus's text format; None: nothing."""
        return None

    async def model_names(self) -> list[str]:
        """The names that requests may ask for."""
        return []
