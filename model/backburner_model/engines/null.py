"""An engine that echoes the last message: for tests and for measuring everything else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re

import msgspec

from backburner_model.engine import Engine
from backburner_model.engines.token_time import Pace, TokenTime
from backburner_model.settings import Settings
from backburner_model.wire import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    UNREADABLE,
    Answer,
    RawBody,
    bad_request,
    invalid_body,
    server_error,
    write_json,
)

#: A prompt that tells this engine how to behave, such as `null:status=429`.
_MARKER = re.compile(r"null:(status=(?P<status>\d{3})|delay=(?P<delay>[\d.]+)|(?P<exit>exit))")


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | list[msgspec.Raw] | None = None


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    messages: list[_Message] | None = None
    prompt: str | None = None
    input: str | list[str] | None = None
    max_tokens: int | None = None


_read = msgspec.json.Decoder(_Body).decode

#: Answers with model, text and tokens left out: making them takes most of the engine's time.
_CHAT_COMPLETION = (
    b'{"id":"chatcmpl-null","object":"chat.completion","created":0,"model":%b,"choices":[{'
    b'"index":0,"logprobs":null,"finish_reason":"stop","message":{"role":"assistant","content":%b}'
    b'}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
)
_COMPLETION = (
    b'{"id":"cmpl-null","object":"text_completion","created":0,"model":%b,"choices":[{'
    b'"index":0,"logprobs":null,"finish_reason":"stop","text":%b'
    b'}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}'
)


class NullEngine(Engine):
    """Answers with what it was asked: at once, after a delay, or as fast as a GPU would."""

    routes = frozenset({CHAT, COMPLETIONS, EMBEDDINGS})

    def __init__(self, settings: Settings) -> None:
        self._model_name = settings.model_name
        self._delay_seconds = settings.null_delay_seconds
        pace = Pace(
            prefill_seconds_per_token=settings.null_prefill_seconds_per_token,
            step_seconds=settings.null_step_seconds,
            batch=settings.null_batch,
        )
        self._time = TokenTime(pace) if settings.null_step_seconds else None

    async def model_names(self) -> list[str]:
        return [self._model_name]

    def metrics(self) -> str | None:
        return self._time.metrics() if self._time is not None else None

    def answer_now(self, route: str, body: bytes) -> Answer | None:
        if self._delay_seconds or self._time is not None:
            return None
        try:
            asked = _read(body)
        except UNREADABLE as error:
            return invalid_body(error)
        text = _text(asked)
        if text is not None and text.startswith("null:"):
            return None
        return self._echo(route, asked, text)

    async def start(self) -> None:
        """There is nothing to load."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def answer(self, route: str, body: bytes) -> Answer:
        try:
            asked = _read(body)
        except UNREADABLE as error:
            return invalid_body(error)
        text = _text(asked)
        marker = _MARKER.match(text or "")
        if marker and marker["status"]:
            return _status(int(marker["status"]))
        if marker and marker["exit"]:
            os._exit(1)
        delay = marker["delay"] if marker else None
        await asyncio.sleep(float(delay) if delay else self._delay_seconds)
        if self._time is not None:
            await self._time.run(_tokens(text or ""), asked.max_tokens or _tokens(text or ""))
        return self._echo(route, asked, text)

    async def answer_raw(self, asked: RawBody) -> Answer:
        """The same bytes, as what they came; a marker may stand at their beginning."""
        marker = _MARKER.match(asked.body[:100].decode(errors="replace"))
        if marker and marker["status"]:
            return _status(int(marker["status"]))
        if marker and marker["exit"]:
            os._exit(1)
        delay = marker["delay"] if marker else None
        await asyncio.sleep(float(delay) if delay else self._delay_seconds)
        return Answer(200, asked.body, asked.content_type)

    def _echo(self, route: str, asked: _Body, text: str | None) -> Answer:
        model = asked.model or self._model_name
        if route == EMBEDDINGS:
            return _embed(model, asked.input)
        if text is None:
            member = "messages" if route == CHAT else "prompt"
            return bad_request(f"Object missing required field `{member}`", param=member)
        tokens = _tokens(text)
        form = _CHAT_COMPLETION if route == CHAT else _COMPLETION
        told = (write_json(model), write_json(text), tokens, tokens, 2 * tokens)
        return Answer(200, form % told)


def _text(asked: _Body) -> str | None:
    if asked.messages:
        content = asked.messages[-1].content
        return content if isinstance(content, str) else ""
    return asked.prompt


def _tokens(text: str) -> int:
    return len(text) // 4 + 1


def _status(status_code: int) -> Answer:
    message = f"The request asked for status {status_code}."
    if status_code >= 500 or status_code == 429:
        return server_error(message, code="asked_for", status_code=status_code)
    return bad_request(message, code="asked_for", status_code=status_code)


def _embed(model: str, texts: str | list[str] | None) -> Answer:
    if texts is None:
        return bad_request("Object missing required field `input`", param="input")
    texts = [texts] if isinstance(texts, str) else texts
    tokens = sum(map(_tokens, texts))
    embeddings = [
        {"object": "embedding", "index": index, "embedding": _vector(text)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    reply = {"object": "list", "data": embeddings, "model": model, "usage": usage}
    return Answer(200, write_json(reply))


def _vector(text: str) -> list[float]:
    """Eight numbers of length 1 that depend on nothing but the text."""
    numbers = [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:8]]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
