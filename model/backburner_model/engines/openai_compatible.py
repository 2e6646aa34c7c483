"""An engine that is any OpenAI-compatible server: vLLM, llama.cpp, Ollama."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import msgspec

from backburner_model.engine import Engine
from backburner_model.settings import InvalidSettingError, Settings
from backburner_model.wire import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    Answer,
    foreign_answer,
    server_error,
    write_json,
)

logger = logging.getLogger(__name__)

#: How often a server that is not there yet is asked again.
RETRY_SECONDS = 1.0

_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class OpenaiCompatibleEngine(Engine):
    """Passes bodies on by HTTP; connection errors are 503, timeouts 504."""

    routes = frozenset({CHAT, COMPLETIONS, EMBEDDINGS, "/v1/messages", "/v1/rerank", "/v1/score"})

    def __init__(self, settings: Settings) -> None:
        if not settings.base_url:
            message = "BACKBURNER_BASE_URL (--base-url) is needed for the engine openai"
            raise InvalidSettingError(message)
        self._base_url = settings.base_url.rstrip("/").removesuffix("/v1")
        self._settings = settings
        self._upstream_model = (
            write_json(settings.upstream_model_name) if settings.upstream_model_name else b""
        )
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Wait for the server: it may still be loading its weights."""
        headers = {"Content-Type": "application/json"}
        if self._settings.api_key:
            headers["Authorization"] = f"Bearer {self._settings.api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.max_concurrency),
            timeout=aiohttp.ClientTimeout(total=self._settings.request_timeout_seconds),
            headers=headers,
        )
        is_told = False
        while not await self._is_there():
            if not is_told:
                logger.warning("upstream.awaited base_url=%s", self._base_url)
                is_told = True
            await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def answer(self, route: str, body: bytes) -> Answer:
        if self._upstream_model:
            body = self._rename_model(body)
        try:
            async with self._open_session().post(self._base_url + route, data=body) as response:
                return foreign_answer(response.status, await response.read())
        except TimeoutError:
            return server_error(
                "The model server took too long.", code="upstream_timeout", status_code=504
            )
        except aiohttp.ClientError as error:
            return server_error(
                f"The model server cannot be reached ({type(error).__name__}).",
                code="upstream_unreachable",
                status_code=503,
            )

    async def model_names(self) -> list[str]:
        if self._settings.served_model_name:
            return [self._settings.served_model_name]
        try:
            async with self._open_session().get(self._base_url + "/v1/models") as response:
                models = msgspec.json.decode(await response.read(), type=_Models)
        except (TimeoutError, aiohttp.ClientError, msgspec.DecodeError):
            return []
        return [model.id for model in models.data]

    async def _is_there(self) -> bool:
        try:
            async with self._open_session().get(self._base_url + "/v1/models") as response:
                return response.status < 500
        except (TimeoutError, aiohttp.ClientError):
            return False

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "the engine is not started"
            raise RuntimeError(message)
        return self._session

    def _rename_model(self, body: bytes) -> bytes:
        members = _read_members(body)
        members["model"] = msgspec.Raw(self._upstream_model)
        return write_json(members)
